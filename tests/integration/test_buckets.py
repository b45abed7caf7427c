"""Keys, scripts and callers are those of many buckets, although a plan may ask for one only until they are balanced."""

import httpx
import pytest
from redis.asyncio import Redis

from flashsale import audit, clock, ledger, plan, stock
from flashsale.config import Settings
from flashsale.identity import Identities
from flashsale.keys import bucket_number
from flashsale.operations import Operations
from flashsale.outcomes import Outcome
from flashsale.sale import Sale, Verb
from tests.integration.processes import serving, working
from tests.integration.shop import BASE, plan_text
from tests.support.waiting import soon

pytestmark = pytest.mark.servers

BUCKETS = 4
FANS = [f"fan{number}" for number in range(12)]


async def spread(operations: Operations, name: str) -> Sale:
    """An open sale of 80 units in four buckets. No plan can ask for that yet, so it is put past the plan's check."""
    written = plan.read(plan_text(name, top='entry = "open"', silver=80))
    await operations.create(written.model_copy(update={"buckets": BUCKETS}))
    return await operations.load(name)


async def post(client: httpx.AsyncClient, settings: Settings, fan: str, path: str) -> httpx.Response:
    """A fan's POST, signed in."""
    token = Identities(settings, settings.jwt_key).sign(fan, now_s=clock.now_ms() // 1000)
    return await client.post(f"{BASE}/{path}", headers={"authorization": f"Bearer {token}"})


async def test_a_sale_in_four_buckets(operations: Operations, redis: Redis, settings: Settings, sale_name: str) -> None:
    """Given units shared out to four buckets / When fans buy, cancel and buy again / Then each in their own bucket."""
    sale = await spread(operations, sale_name)
    facts = await stock.facts(redis, sale.all_buckets)
    assert [one.free["silver"] for one in facts] == [20] * BUCKETS
    buy = f"sales/{sale_name}/items/silver/purchase"
    async with serving(settings) as client, working(settings):
        won = {fan: (await post(client, settings, fan, buy)).json() for fan in FANS}
        assert {one["outcome"] for one in won.values()} == {Outcome.WON.name}
        again = [(await post(client, settings, fan, buy)).json() for fan in FANS]
        assert [one["order"] for one in again] == [won[fan]["order"] for fan in FANS]
        assert {one["outcome"] for one in again} == {Outcome.ALREADY_BOUGHT.name}

        async def landed() -> bool:
            return len(await orders(operations, sale_name)) == len(FANS)

        await soon(landed, what="the orders of all buckets have landed")
        for fan, bucket, unit in await orders(operations, sale_name):
            assert bucket == bucket_number(sale=sale_name, fan=fan, buckets=BUCKETS)
            assert unit in range(20 * bucket + 1, 20 * bucket + 21), "its unit is of the bucket's own range"

        assert (await post(client, settings, "fan0", f"orders/{won['fan0']['order']}/cancellation")).is_success

        async def back() -> bool:
            return sum(one.free["silver"] for one in await stock.facts(redis, sale.all_buckets)) == 80 - len(FANS) + 1

        await soon(back, what="the unit is free again")
        resold = (await post(client, settings, "fan0", buy)).json()
        assert resold["unit"] == won["fan0"]["unit"], "returned units go first, in the bucket they came from"
    assert (await audit.audit(redis, operations.postgres, sale_name)).balanced


async def orders(operations: Operations, sale: str) -> list[tuple[str, int, int]]:
    """Fan, bucket and unit of each order."""
    rows = await operations.postgres.fetch("select fan, bucket, unit from orders where sale = $1", sale)
    return [(row["fan"], row["bucket"], row["unit"]) for row in rows]


async def test_ops_reach_every_bucket(operations: Operations, redis: Redis, sale_name: str) -> None:
    """When stock is added and the sale is paused / Then all buckets have their share and all know."""
    sale = await spread(operations, sale_name)
    await operations.add_stock(sale_name, "silver", 6)
    await operations.move(sale_name, Verb.PAUSE)
    facts = await stock.facts(redis, sale.all_buckets)
    assert [one.free["silver"] for one in facts] == [22, 22, 21, 21]
    assert {one.state for one in facts} == {"paused"}
    async with operations.postgres.acquire() as connection:
        assert (await ledger.find(connection, sale_name)).items[0].loaded == 86
    assert (await audit.audit(redis, operations.postgres, sale_name)).balanced
