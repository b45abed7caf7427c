"""set_sale and lease: late and repeated news changes nothing; a bucket without memory stays closed."""

from contextlib import nullcontext

import pytest
from redis.asyncio import Redis
from redis.exceptions import WatchError

from flashsale import stock
from flashsale.outcomes import Effect
from flashsale.sale import State
from tests.support.samples import bucket, sale
from tests.support.verbs import Verbs
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


async def state(redis: Redis, name: str) -> tuple[bool, int, State]:
    """Whether the bucket is there, its version and its state."""
    (facts,) = await stock.facts(redis, [bucket(name)])
    return facts.loaded, facts.version, facts.state


async def test_only_news_changes_anything(redis: Redis, sale_name: str) -> None:
    """Given version 2 / When 2 comes again, then 1, then 3 / Then only 3 changes the bucket."""
    second = sale(sale_name, version=2, state=State.OPEN)
    assert await stock.tell_sale(redis, second, create=True) == [Effect.APPLIED]
    again = sale(sale_name, version=2, state=State.CLOSED)
    assert await stock.tell_sale(redis, again, create=True) == [Effect.APPLIED_BEFORE]
    late = sale(sale_name, version=1, state=State.PAUSED)
    assert await stock.tell_sale(redis, late, create=True) == [Effect.STALE]
    assert await state(redis, sale_name) == (True, 2, State.OPEN)
    third = sale(sale_name, version=3, state=State.CLOSED)
    assert await stock.tell_sale(redis, third, create=False) == [Effect.APPLIED]
    assert await state(redis, sale_name) == (True, 3, State.CLOSED)


@pytest.mark.parametrize("create", [True, False])
async def test_who_makes_a_bucket_again_has_a_write_to_wait_for(redis: Redis, sale_name: str, *, create: bool) -> None:
    """Given a bucket whose making may not be with the replicas yet / When it is made again / Then there is a write
    behind which they have the first one too; news that is known, and makes nothing, writes nothing."""
    verbs = Verbs(redis, bucket(sale_name))
    assert await verbs.set_sale(create=True, generation="one", version=2, state="open") is Effect.APPLIED
    before = await redis.hgetall(verbs.bucket.sale_key)
    async with redis.pipeline() as watching:
        await watching.watch(verbs.bucket.sale_key)
        assert await verbs.set_sale(create=create, generation="one", version=2, state="closed") is Effect.APPLIED_BEFORE
        watching.multi()  # type: ignore[no-untyped-call]
        watching.ping()
        with pytest.raises(WatchError) if create else nullcontext():
            await watching.execute()
    assert await redis.hgetall(verbs.bucket.sale_key) == before


async def test_versions_are_numbers(redis: Redis, sale_name: str) -> None:
    """Given version 9 / When 10 comes / Then it is newer, though "10" sorts before "9"."""
    await stock.tell_sale(redis, sale(sale_name, version=9), create=True)
    assert await stock.tell_sale(redis, sale(sale_name, version=10), create=False) == [Effect.APPLIED]
    assert await stock.tell_sale(redis, sale(sale_name, version=9), create=False) == [Effect.STALE]


async def test_a_bucket_that_is_not_there_stays_so(redis: Redis, sale_name: str) -> None:
    """Given a bucket that lost its memory / When it is told news / Then it is not made, unless that is meant."""
    assert await stock.tell_sale(redis, sale(sale_name), create=False) == [Effect.NOT_LOADED]
    assert await state(redis, sale_name) == (False, 0, State.DRAFT)
    assert await stock.tell_sale(redis, sale(sale_name), create=True) == [Effect.APPLIED]


async def test_a_namesake_does_not_get_in(redis: Redis, sale_name: str) -> None:
    """Given a sale / When another of the same name, however new, is told / Then nothing changes."""
    await stock.tell_sale(redis, sale(sale_name), create=True)
    other = sale(sale_name, version=99, state=State.CLOSED, generation="00000000-0000-0000-0000-000000000002")
    assert await stock.tell_sale(redis, other, create=True) == [Effect.OTHER_GENERATION]
    assert await state(redis, sale_name) == (True, 1, State.OPEN)


async def test_facts_of_a_bucket(redis: Redis, sale_name: str) -> None:
    """Given a told sale with stock / Then its facts are the plan's and the counts', at the server's time."""
    verbs = Verbs(redis, bucket(sale_name))
    await stock.tell_sale(redis, sale(sale_name, opens_ms=5, closes_ms=9), create=True)
    await verbs.add_stock("a", "load", 1, 7)
    (facts,) = await stock.facts(redis, [verbs.bucket])
    assert (facts.opens_ms, facts.closes_ms, facts.free, facts.reserved, facts.outbox) == (5, 9, {"a": 7}, 0, 0)
    assert facts.generation == sale(sale_name).generation
    assert facts.now_ms > 1_700_000_000_000


async def test_one_holds_the_lease(verbs: Verbs) -> None:
    """Given a lease / Then its holder renews it, another doesn't get it, and it ends by itself."""
    assert await verbs.lease("w1")
    assert not await verbs.lease("w2")
    assert await verbs.lease("w1", 30)

    async def taken_over() -> bool:
        return await verbs.lease("w2")

    await soon(taken_over, what="the lease has ended")
    assert not await verbs.lease("w1")
    assert await verbs.redis.pttl(verbs.bucket.lease_key) > 0
