"""What the worker and ops do when a part is in trouble: the rest goes on, and nothing is made worse."""

import logging
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from flashsale import clock, ledger, plan
from flashsale.clock import from_ms
from flashsale.errors import StateError
from flashsale.keys import Bucket
from flashsale.operations import Operations
from flashsale.outcomes import Effect
from flashsale.queries import Pool
from flashsale.sale import Sale, State, Verb
from tests.integration.conftest import Shops
from tests.integration.rows import clear, snapshot
from tests.integration.shop import Shop, created, plan_text
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


async def troubled(shop: Shop) -> str:
    """Another sale, opening before the shop's, whose added units can't be put into its bucket."""
    name = await created(shop.operations, plan_text(f"{shop.sale}-other", opens="-1h", closes="+3h"))
    bucket = Bucket(name, 0)
    await shop.operations.redis.delete(bucket.loads_key)
    await shop.operations.redis.set(bucket.loads_key, "no set")
    async with shop.operations.postgres.acquire() as connection:
        await ledger.make_units(connection, await ledger.find(connection, name), "silver", 4)
    return name


async def paused_in_postgres_only(operations: Operations, name: str) -> None:
    """What an operator leaves whose process dies before the bucket hears."""
    async with operations.postgres.acquire() as connection:
        await ledger.settle(connection, await ledger.find(connection, name), State.OPEN)
        await ledger.move(connection, name, Verb.PAUSE, actor="ops", detail={})


async def pause_is_heard(operations: Operations, name: str) -> None:
    """Wait until the bucket knows."""

    async def heard() -> bool:
        return await operations.redis.hget(Bucket(name, 0).sale_key, "state") == b"paused"

    await soon(heard, what="the bucket has heard", deadline_s=3)


async def test_trouble_with_one_sale_is_its_own(shops: Shops) -> None:
    """Given a sale whose load fails each time / When a worker starts / Then it lands and keeps the others."""
    shop = await shops()
    await troubled(shop)
    await shop.buy("alice")
    await paused_in_postgres_only(shop.operations, shop.sale)
    await shop.work()
    await shop.landed(1)
    await pause_is_heard(shop.operations, shop.sale)


async def test_a_sale_that_can_not_be_stocked_can_be_paused(shops: Shops) -> None:
    """Given units that can't be put into the bucket / When the sale is to be paused / Then the bucket hears of it."""
    shop = await shops()
    name = await troubled(shop)
    await paused_in_postgres_only(shop.operations, name)
    await shop.work()
    await pause_is_heard(shop.operations, name)


async def namesake(operations: Operations, postgres: Pool, sale_name: str) -> Sale:
    """A draft whose name another sale has in Valkey, which Postgres has forgotten."""
    await created(operations, plan_text(sale_name))
    await clear(postgres, sale_name)
    return await operations.create(plan.read(plan_text(sale_name)))


async def test_a_namesake_in_valkey_is_not_loaded_over(
    operations: Operations, redis: Redis, postgres: Pool, sale_name: str
) -> None:
    """Given a bucket of another sale of that name / When the new one is loaded / Then that is refused."""
    await namesake(operations, postgres, sale_name)
    before = await snapshot(redis, postgres, sale_name)
    with pytest.raises(StateError, match="another sale named"):
        await operations.load(sale_name)
    assert await snapshot(redis, postgres, sale_name) == before


async def test_a_namesakes_bucket_is_left_alone(
    operations: Operations, redis: Redis, postgres: Pool, sale_name: str
) -> None:
    """Given a sale that was loaded in Postgres only / When the worker settles it / Then the other's bucket stays."""
    draft = await namesake(operations, postgres, sale_name)
    async with postgres.acquire() as connection:
        moved = await ledger.move(connection, sale_name, Verb.LOAD, actor="ops", detail={})
        await ledger.make_units(connection, moved, "silver", 5)
    before = await snapshot(redis, postgres, sale_name)
    assert await operations.settle(moved) == [Effect.OTHER_GENERATION]
    assert await snapshot(redis, postgres, sale_name) == before
    assert draft.generation == moved.generation


async def test_a_return_that_the_bucket_does_not_know_is_set_apart(
    shops: Shops, caplog: pytest.LogCaptureFixture
) -> None:
    """Given two returns, one unknown to the bucket / Then that one is told once and waits; the other comes back."""
    shop = await shops()
    caplog.set_level(logging.ERROR)
    for fan in ("alice", "bob"):
        won = await shop.buy(fan)
        await shop.land()
        await shop.post(fan, f"orders/{won['order']}/cancellation")
    await shop.operations.redis.hdel(shop.bucket.buyers_key, "alice")
    assert await shop.give_back() == 1
    assert await shop.give_back() == 0
    assert caplog.text.count("return.unknown_to_bucket") == 1
    rows = await shop.rows("select fan, given_back_at, refused_at from returns where sale = $1 order by fan")
    assert [(row["fan"], row["given_back_at"] is None, row["refused_at"] is None) for row in rows] == [
        ("alice", True, False), ("bob", False, True),
    ]  # fmt: skip
    assert (await shop.audited()).items[0].returning == 1


async def test_only_the_newest_week_drafts_the_next(operations: Operations, sale_name: str) -> None:
    """Given two weeks of a plan, both open / When a worker looks at the older / Then the old plan drafts nothing."""
    text = plan_text(sale_name, top='repeat = "weekly"\ntime_zone = "Asia/Shanghai"', opens="Tuesday 12:00")
    first = await operations.create(plan.read(text), now=clock.now() - timedelta(days=14))
    second = await operations.create(plan.read(text), now=from_ms(first.opens_ms))
    assert second.opens_ms <= clock.now_ms()
    assert await operations.next_occurrence(first.sale) is None
    third = await operations.next_occurrence(second.sale)
    assert third is not None
    assert third.opens_ms > second.opens_ms > first.opens_ms
