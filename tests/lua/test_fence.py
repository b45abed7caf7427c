"""Behind a fence nothing is sold and no unit comes or goes; only the owner of the fence writes there."""

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ResponseError

from flashsale.keys import COUNT_FENCE
from flashsale.outcomes import Effect, Outcome
from flashsale.sale import Sale
from tests.support.holdings import holdings
from tests.support.samples import Attempts, load_id, order_of, sale
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
Tell = Callable[[Sale], Awaitable[Sale]]
FENCE = "9007199254740993"  # an odd one above 2^53: what is rounded anywhere is found out


@pytest.fixture
async def sold(verbs: Verbs, told: Tell, attempts: Attempts, sale_name: str) -> str:
    """A bucket of ten units, one of them sold to alice; her attempt."""
    await told(sale(sale_name))
    await verbs.add_stock("a", load_id(), 1, 10)
    line = attempts.line("alice")
    assert await verbs.press("a", line) == [Outcome.WON]
    return line


async def test_nothing_passes_a_fence(verbs: Verbs, sold: str, attempts: Attempts) -> None:
    """Given a fence / When each verb that moves a unit is used / Then it is refused, and nothing is changed."""
    assert await verbs.fence(FENCE) is Effect.APPLIED
    before = await holdings(verbs.redis, verbs.bucket)
    counts = await verbs.redis.hgetall(verbs.bucket.counts_key)
    assert await verbs.press("a", attempts.line("bob")) == [Outcome.UNAVAILABLE]
    assert await verbs.give_back("a", (order_of(sold), "alice"), ("0" * 32, "bob")) == [Effect.FENCED] * 2
    assert await verbs.add_stock("a", load_id(), 11, 12) is Effect.FENCED
    assert await verbs.put_units(1, 1, "a", "20-21") is Effect.FENCED
    assert await verbs.take_units("a", 1, 3) == (0, "a", 1, "")
    assert await holdings(verbs.redis, verbs.bucket) == before
    assert await verbs.redis.hgetall(verbs.bucket.counts_key) == counts


async def test_a_win_from_before_is_still_told(verbs: Verbs, sold: str) -> None:
    """Given a fence / When a fan asks again with the same key / Then the same win."""
    await verbs.fence(FENCE)
    assert await verbs.press("a", sold) == [Effect.WON_BEFORE]


async def test_orders_land_behind_a_fence(verbs: Verbs, sold: str) -> None:
    """Given a fence and an order in the outbox / When it is trimmed / Then it goes."""
    await verbs.fence(FENCE)
    entries = (await holdings(verbs.redis, verbs.bucket)).entries
    assert await verbs.trim(*((entry.entry_id, entry.orders) for entry in entries)) == 1


@pytest.mark.parametrize("fence", ["", "-1", "one", "1 2"])
async def test_a_malformed_fence_is_refused(verbs: Verbs, sold: str, fence: str) -> None:
    """When the fence is no number / Then it is refused: the counts hold numbers only."""
    with pytest.raises(ResponseError, match="malformed fence"):
        await verbs.fence(fence)
    assert not await verbs.redis.hexists(verbs.bucket.counts_key, COUNT_FENCE)


async def test_a_fence_is_put_up_once_and_taken_over(verbs: Verbs) -> None:
    """When it is put up again / Then APPLIED_BEFORE; another one takes its place."""
    assert await verbs.fence(FENCE) is Effect.APPLIED
    assert await verbs.fence(FENCE) is Effect.APPLIED_BEFORE
    assert await verbs.fence("5") is Effect.APPLIED
    assert await verbs.redis.hget(verbs.bucket.counts_key, COUNT_FENCE) == b"5"


@pytest.mark.parametrize("fenced", [None, "5"])
async def test_only_the_owner_writes(verbs: Verbs, sold: str, fenced: str | None) -> None:
    """Given no fence, or another's / When a rebuild writes / Then OTHER_FENCE, and nothing is changed."""
    if fenced:
        await verbs.fence(fenced)
    before = await holdings(verbs.redis, verbs.bucket)
    counts = await verbs.redis.hgetall(verbs.bucket.counts_key)
    assert await verbs.empty_bucket(FENCE, ["a"], 1, 4) is Effect.OTHER_FENCE
    assert await verbs.rebuild_buyers(FENCE, "bob", "lines") is Effect.OTHER_FENCE
    assert await verbs.rebuild_loads(FENCE, "load") is Effect.OTHER_FENCE
    assert await verbs.rebuild_free(FENCE, "a", 1, "20-21") is Effect.OTHER_FENCE
    assert await verbs.unfence(FENCE, wins=0) is Effect.OTHER_FENCE
    assert await holdings(verbs.redis, verbs.bucket) == before
    assert await verbs.redis.hgetall(verbs.bucket.counts_key) == counts
    assert not await verbs.redis.exists(verbs.bucket.received_key)


async def test_a_rebuilt_bucket_sells_what_was_put_in(verbs: Verbs, sold: str, attempts: Attempts) -> None:
    """Given a fenced bucket / When it is emptied and filled / Then it holds just that, and sells it."""
    await verbs.fence(FENCE)
    assert await verbs.empty_bucket(FENCE, ["a", "b"], 1, 4) is Effect.APPLIED
    b = verbs.bucket
    assert not await verbs.redis.exists(b.buyers_key, b.loads_key, b.transfers_key, b.free_key("a"))
    assert await verbs.redis.hgetall(b.received_key) == {b"1": b"4"}
    assert await verbs.press("a", attempts.line("bob")) == [Outcome.UNAVAILABLE]
    line = f"{order_of(sold)} {'0' * 16} 1 3 a 5"
    for _ in range(2):
        assert await verbs.rebuild_buyers(FENCE, "alice", line) is Effect.APPLIED
        assert await verbs.rebuild_loads(FENCE, "one", "two") is Effect.APPLIED
    assert await verbs.rebuild_free(FENCE, "a", 0, "1-2", "4-4") is Effect.APPLIED
    assert await verbs.rebuild_free(FENCE, "a", 0, "1-2", "4-4") is Effect.APPLIED_BEFORE, "the reply was lost"
    assert await verbs.rebuild_free(FENCE, "a", 2, "6-6") is Effect.APPLIED
    assert await verbs.unfence(FENCE, wins=1, **{"free:a": 4, "moving:a": 0, "outbox": 0}) is Effect.APPLIED
    assert await verbs.unfence(FENCE, wins=9) is Effect.OTHER_FENCE
    assert (await holdings(verbs.redis, b)).free["a"] == [1, 2, 4, 6]
    _, told = await verbs.purchase("a", [attempts.line(fan) for fan in ("bob", "carol", "dan", "eve", "fay")])
    assert [detail for _, detail in told] == [1, 2, 4, 6, ""]
    assert await verbs.put_units(1, 4, "a", "8-8") is Effect.APPLIED_BEFORE
    assert await verbs.put_units(1, 5, "a", "9-9") is Effect.APPLIED
    assert await verbs.add_stock("a", "two", 30, 31) is Effect.APPLIED_BEFORE
    assert await verbs.redis.hmget(b.counts_key, "wins", "outbox") == [b"5", b"4"]


async def test_a_malformed_rebuild_is_refused_whole(verbs: Verbs, sold: str) -> None:
    """When numbers or ranges can't be read / Then refused, and nothing is changed."""
    await verbs.fence(FENCE)
    before = await holdings(verbs.redis, verbs.bucket)
    with pytest.raises(ResponseError, match="malformed number"):
        await verbs.empty_bucket(FENCE, ["a"], 1, "x4")
    for odd in ("1", "x1-2", "1-2x", "1-2,3-4"):
        with pytest.raises(ResponseError, match="malformed range 2"):
            await verbs.rebuild_free(FENCE, "a", 1, "20-21", odd)
    assert await holdings(verbs.redis, verbs.bucket) == before


async def test_a_number_to_skip_to_only_rises(verbs: Verbs) -> None:
    """When transfers are skipped up to a lower number / Then nothing is changed; what is no number is refused."""
    assert await verbs.skip_transfers(1, 9) is Effect.APPLIED
    assert await verbs.skip_transfers(1, 9) is Effect.APPLIED_BEFORE
    assert await verbs.skip_transfers(1, 10) is Effect.APPLIED
    assert await verbs.skip_transfers(1, 9) is Effect.APPLIED_BEFORE
    assert await verbs.redis.hgetall(verbs.bucket.received_key) == {b"1": b"10"}
    for source, number in ((1, "x"), (1, "-3"), ("x", 3)):
        with pytest.raises(ResponseError, match="malformed transfer"):
            await verbs.skip_transfers(source, number)
