"""The memory watermark: selling pauses before Valkey is full, and goes on by itself when there is room again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis, RedisCluster

from flashsale import limits, memory, stock, stores
from flashsale.audit import audit
from flashsale.embedded import Addresses
from flashsale.keys import Bucket
from flashsale.operations import Operations
from flashsale.outcomes import Outcome
from flashsale.purchase import Answer, Presser, Purchases, answer_of, new_order
from flashsale.queries import Pool
from tests.integration.processes import serving, settings_for
from tests.integration.rows import clear
from tests.integration.shop import Shop, created, plan_text
from tests.support.samples import sale
from tests.support.servers import private_valkey
from tests.support.waiting import soon

pytestmark = pytest.mark.servers

MEMORY = 64 << 20
ELSEWHERE = 28 << 20  # what others keep on that server
AT_ONCE = 256
UNITS = 500_000


@pytest.fixture
async def private(tmp_path: Path) -> AsyncIterator[Redis]:
    """A server of this test alone, with little memory, a part of it taken."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    with private_valkey(folder, settings={"maxmemory": str(MEMORY)}) as server:
        async with Redis.from_url(server.url) as client:
            await client.set("elsewhere", b"." * ELSEWHERE)
            yield client


@pytest.fixture
async def shop(
    private: Redis, migrated: Addresses, postgres: Pool, sale_name: str, tmp_path: Path
) -> AsyncIterator[Shop]:
    """A sale with more units than that memory has room for."""
    port = private.connection_pool.connection_kwargs["port"]
    here = Addresses(redis_url=f"redis://127.0.0.1:{port}", postgres_dsn=migrated.postgres_dsn)
    settings = settings_for(here, tmp_path / "state")
    operations = Operations(redis=private, postgres=postgres, actor="ops")
    async with AsyncExitStack() as stack:
        name = await created(operations, plan_text(sale_name, silver=UNITS))
        client = await stack.enter_async_context(serving(settings))
        yield Shop(sale=name, client=client, operations=operations, settings=settings, stack=stack)
    await clear(postgres, sale_name)


class Crowd:
    """Fans with long names, each with a key of their own, who press until they are told to wait."""

    def __init__(self, shop: Shop) -> None:
        self._purchases = Purchases(shop.operations.redis)
        self._bucket = shop.bucket
        self.won: list[Answer] = []
        self.told: set[Outcome] = set()
        self.pressed = 0

    async def until_it_waits(self) -> None:
        """Press on."""
        while Outcome.WAIT not in self.told:
            answers = await asyncio.gather(*(self._press(number) for number in range(AT_ONCE)))
            self.told |= {answer.outcome for answer in answers}
            self.won += [answer for answer in answers if answer.outcome is Outcome.WON]

    async def _press(self, number: int) -> Answer:
        self.pressed += 1
        fan = f"fan-{self.pressed:060d}"
        order = new_order()
        lane = self._purchases.lane(self._bucket, "silver")
        return answer_of(order, await lane.attempt(order, Presser(fan, "web", "public"), key=""))


async def short(shop: Shop) -> bool:
    """Whether the sale's bucket takes nothing in."""
    (facts,) = await stock.facts(shop.operations.redis, [shop.bucket])
    return facts.memory_short


async def refused_for_memory(redis: Redis) -> int:
    """How many commands the server has refused because it was full."""
    return int((await redis.info("errorstats")).get("errorstat_OOM", {"count": 0})["count"])


@pytest.mark.timeout(120)
async def test_selling_pauses_before_the_server_is_full_and_goes_on_when_orders_have_landed(
    private: Redis, shop: Shop
) -> None:
    """Given a worker that is away / When a crowd fills the memory / Then all are told to wait while there is room left,
    also who reserves, who won is told so again, and the server has refused nothing. When a worker lands the orders /
    Then it sells again, every win is an order, and the audit balances."""
    crowd, right = Crowd(shop), await shop.reserve("alice")
    won = await shop.press(right, key="k")
    await crowd.until_it_waits()

    assert await refused_for_memory(private) == 0
    assert memory.used_share(await private.info("memory")) < 1
    assert crowd.told <= {Outcome.WON, Outcome.WAIT}

    async def early() -> bool:
        return bool((await shop.press(right, retry=False)).json()["outcome"] == "WAIT")

    await soon(early, what="the process refuses by itself")
    fresh = await shop.client.post(f"/api/v1/sales/{shop.sale}/reservation", headers=shop.bearer("bob"))
    assert (fresh.status_code, fresh.json()["outcome"]) == (503, "WAIT")
    again = await shop.press(right, key="k")
    assert (again.status_code, again.json()["order"]) == (201, won.json()["order"])

    working = await shop.work()
    await shop.landed(len(crowd.won) + 1, deadline_s=60)

    async def goes_on() -> bool:
        return not await short(shop)

    await soon(goes_on, what="there is room again")
    carol = await shop.buy("carol")
    await shop.has_state("carol", carol["order"], "confirmed")
    await working.stop()
    assert len(await shop.rows("select order_id from orders where sale = $1")) == len(crowd.won) + 2
    assert working.counted("orders_set_aside") == 0
    assert (await audit(private, shop.operations.postgres, shop.sale)).balanced


async def test_more_memory_lets_it_go_on(private: Redis, shop: Shop) -> None:
    """Given a limit that is nearly reached / Then no fan buys; given one a little higher, it stays so; given none, a
    fan buys."""
    right = await shop.reserve("alice")

    async def filled(share: float) -> None:
        used = memory.used_bytes(await private.info("memory"))
        await private.config_set("maxmemory", int(used / share))

    async def is_short() -> bool:
        # Each time anew: what others have left there is still being freed.
        await filled(limits.MEMORY_PAUSE_SHARE + 0.05)
        return await short(shop)

    async def says(outcome: str) -> bool:
        answer = await shop.press(right, key="k")
        return bool(answer.json()["outcome"] == outcome)

    await soon(is_short, what="it is short of memory")
    assert await says("WAIT")
    await filled(limits.MEMORY_PAUSE_SHARE - 0.025)
    assert await says("WAIT"), "between the two bounds it stays as it was"
    await private.config_set("maxmemory", 0)
    await soon(lambda: says("WON"), what="it sells")


async def test_the_worker_alone_keeps_the_mark_and_tells_of_it(private: Redis, shop: Shop) -> None:
    """Given no memory left / When only a worker looks / Then the bucket is marked, and the metrics say so."""
    working = await shop.work()
    await private.config_set("maxmemory", "30mb")

    def told(name: str, **labels: str) -> float | None:
        return working.metrics.registry.get_sample_value(f"flashsale_{name}", labels)

    async def is_told() -> bool:
        share = told("memory_used_share", server="") or 0
        return share > limits.MEMORY_PAUSE_SHARE and told("memory_short_buckets", sale=shop.sale) == 1

    await soon(is_told, what="the worker tells of it")
    assert await short(shop)


async def test_each_server_of_a_cluster_is_looked_at(tmp_path: Path) -> None:
    """Given a cluster / When one of its servers is nearly full / Then its buckets are marked, and freed again after."""
    with private_valkey(tmp_path, cluster=True) as server:
        async with Redis.from_url(server.url) as node:
            await cast("Any", node).execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        client = await stores.open_redis(server.url)
        assert isinstance(client, RedisCluster)
        bucket = Bucket("short", 0)
        await stock.tell_sale(client, sale(bucket.sale), create=True)

        async def looked() -> bool:
            facts = await stock.facts(client, [bucket])
            await memory.keep_marks(client, await memory.look(client), zip([bucket], facts, strict=True))
            return (await stock.facts(client, [bucket]))[0].memory_short

        assert not await looked()
        await client.config_set("maxmemory", "1mb")
        assert await looked()
        await client.config_set("maxmemory", "0")
        assert not await looked()
        await client.aclose()
