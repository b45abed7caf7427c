"""Units that move: malformed calls and a bucket that is not there are refused; the model walk does the rest."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from redis.exceptions import ResponseError

from flashsale import stock
from flashsale.outcomes import Effect
from flashsale.sale import Sale
from tests.support.holdings import holdings
from tests.support.samples import load_id, sale
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
Tell = Callable[[Sale], Awaitable[Sale]]


@pytest.mark.parametrize(
    ("to", "units"), [("one", "1"), ("", "1"), ("-1", "1"), ("1", "0"), ("1", "-1"), ("1", "many")]
)
async def test_a_malformed_taking_is_refused_whole(verbs: Verbs, to: str, units: str) -> None:
    """Given units / When they are to go nowhere, or none of them / Then it is refused and they stay."""
    await verbs.add_stock("a", load_id(), 1, 5)
    before = await holdings(verbs.redis, verbs.bucket)
    b = verbs.bucket
    at = verbs.script("take_units").at([b.counts_key, b.transfers_key, b.free_key("a")])
    with pytest.raises(ResponseError, match="malformed transfer"):
        await at(verbs.redis, "a", to, units, 100, -1)
    assert await holdings(verbs.redis, verbs.bucket) == before


async def test_as_many_units_go_as_were_asked_for(verbs: Verbs) -> None:
    """Given free units in three ranges / When fewer than all are taken / Then so many go, from the end, and of the
    range that is cut the rest stays at its place."""
    for first, last in ((1, 5), (11, 20), (31, 33)):
        await verbs.add_stock("a", load_id(), first, last)
    assert await verbs.take_units("a", 1, 7) == (1, "a", 1, "31-33,17-20")
    assert await verbs.redis.lrange(verbs.bucket.free_key("a"), 0, -1) == [b"1-5", b"11-16"]


async def test_a_taking_has_to_say_what_it_knows(verbs: Verbs) -> None:
    """Given units / When it is not said how many transfers had left / Then it is refused and all stay."""
    await verbs.add_stock("a", load_id(), 1, 5)
    b = verbs.bucket
    at = verbs.script("take_units").at([b.counts_key, b.transfers_key, b.free_key("a")])
    with pytest.raises(ResponseError, match="malformed transfer"):
        await at(verbs.redis, "a", 1, 1, 100, "some")
    assert (await holdings(verbs.redis, b)).free["a"] == [1, 2, 3, 4, 5]


async def test_what_was_reckoned_before_another_transfer_left(verbs: Verbs) -> None:
    """Given units, and a taking that knows of no transfer / When one has left since / Then nothing goes; one that
    knows of it takes, and so does one to whom it does not matter."""
    await verbs.add_stock("a", load_id(), 1, 9)
    assert await verbs.take_units("a", 1, 2, moves=1) == (0, "a", 1, "")
    assert await verbs.take_units("a", 1, 2, moves=0) == (1, "a", 1, "8-9")
    await verbs.end_transfer(1)
    assert await verbs.take_units("a", 1, 2, moves=0) == (0, "a", 1, "")
    assert await verbs.take_units("a", 1, 2, moves=2) == (0, "a", 1, "")
    assert await verbs.take_units("a", 1, 2, moves=1) == (2, "a", 1, "6-7")
    await verbs.end_transfer(2)
    assert await verbs.take_units("a", 1, 2) == (3, "a", 1, "4-5")


async def test_none_goes_of_an_item_that_is_not_there(verbs: Verbs) -> None:
    """Given a bucket without the item / When units are asked for / Then none goes, and nothing is noted."""
    assert await verbs.take_units("a", 1, 9) == (0, "a", 1, "")
    assert not await verbs.redis.exists(verbs.bucket.counts_key, verbs.bucket.transfers_key)


@pytest.mark.parametrize(
    ("number", "ranges"),
    [("one", "1-2"), ("", "1-2"), ("1", ""), ("1", "1"), ("1", "1-2,"), ("1", "1-2 3-4"), ("1", "2-1"), ("1", "x1-2")],
)
async def test_a_malformed_putting_is_refused_whole(
    verbs: Verbs, told: Tell, sale_name: str, number: str, ranges: str
) -> None:
    """Given a bucket / When units come that can't be read / Then they are refused and nothing is noted."""
    await told(sale(sale_name))
    before = await holdings(verbs.redis, verbs.bucket)
    b = verbs.bucket
    at = verbs.script("put_units").at([b.sale_key, b.counts_key, b.received_key, b.free_key("a")])
    with pytest.raises(ResponseError, match="malformed transfer"):
        await at(verbs.redis, 1, number, "a", ranges)
    assert await holdings(verbs.redis, verbs.bucket) == before


async def test_no_unit_goes_into_a_bucket_that_is_not_there(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """Given a bucket that lost its memory / When units come / Then NOT_LOADED, nothing is noted; later they come in."""
    assert await verbs.put_units(1, 1, "a", "1-2,5-6") is Effect.NOT_LOADED
    assert not await verbs.redis.exists(verbs.bucket.free_key("a"), verbs.bucket.received_key, verbs.bucket.counts_key)
    await told(sale(sale_name))
    assert await verbs.put_units(1, 1, "a", "1-2,5-6") is Effect.APPLIED
    assert (await holdings(verbs.redis, verbs.bucket)).free["a"] == [1, 2, 5, 6]


async def test_a_step_told_again_counts_itself(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """Given a transfer / When its taking and its putting are made again / Then each repeat is counted, so that there is
    a write to wait for, and nothing else changes."""
    await told(sale(sale_name))
    await verbs.add_stock("a", load_id(), 1, 5)
    number, item, _, ranges = await verbs.take_units("a", 1, 2)
    assert await verbs.put_units(1, number, item, ranges) is Effect.APPLIED
    before = await holdings(verbs.redis, verbs.bucket)
    assert "told" not in before.counts
    assert await verbs.take_units("a", 1, 2) == (number, item, 1, ranges)
    assert await verbs.put_units(1, number, item, ranges) is Effect.APPLIED_BEFORE
    after = await holdings(verbs.redis, verbs.bucket)
    assert after == replace(before, counts=before.counts | {"told": 2})


async def test_the_facts_bear_the_servers_time(verbs: Verbs) -> None:
    """When a bucket is asked about itself a few times / Then its time lies between the server's before and after."""
    for _ in range(20):
        before = await verbs.redis.time()
        (facts,) = await stock.facts(verbs.redis, [verbs.bucket])
        after = await verbs.redis.time()
        assert before[0] * 1000 + before[1] // 1000 <= facts.now_ms <= after[0] * 1000 + after[1] // 1000
