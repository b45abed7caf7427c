"""add_stock, give_back and trim: each effect once, however often it is asked for."""

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ResponseError

from flashsale import outbox, stock
from flashsale.ledger import StockLoad
from flashsale.outcomes import Effect, Outcome
from flashsale.sale import Sale
from flashsale.settled import Plain
from flashsale.stock import Returned
from tests.support.holdings import check, holdings
from tests.support.samples import Attempts, load_id, order_of, sale
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
Tell = Callable[[Sale], Awaitable[Sale]]


async def test_a_load_is_applied_once(verbs: Verbs, sale_name: str) -> None:
    """Given a load / When it is applied twice / Then its units are there once."""
    load = StockLoad(load_id(), "a", 0, 1, 10)
    settler = Plain(verbs.redis)
    assert await stock.apply_load(settler, sale_name, load) == (Effect.APPLIED, True)
    assert await stock.apply_load(settler, sale_name, load) == (Effect.APPLIED_BEFORE, True)
    held = await holdings(verbs.redis, verbs.bucket)
    check(held, loaded={"a": 10}, limit=1)
    assert await verbs.redis.lrange(verbs.bucket.free_key("a"), 0, -1) == [b"1-10"]


async def test_loads_join_and_items_stay_apart(verbs: Verbs) -> None:
    """Given loads of two items / Then each has its own, in the order in which they came."""
    for item, first, last in (("a", 1, 2), ("b", 1, 5), ("a", 3, 3)):
        assert await verbs.add_stock(item, load_id(), first, last) is Effect.APPLIED
    held = await holdings(verbs.redis, verbs.bucket)
    check(held, loaded={"a": 3, "b": 5}, limit=1)
    assert held.free["a"] == [1, 2, 3]


async def test_the_largest_unit_keeps_its_digits(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given seven-digit units / Then they are sold under their own numbers."""
    await told(sale(sale_name))
    await verbs.add_stock("a", load_id(), 9_999_998, 9_999_999)
    _, answers = await verbs.purchase("a", [attempts.line("x"), attempts.line("y")])
    assert answers == [(Outcome.WON, 9_999_998), (Outcome.WON, 9_999_999)]


async def won(verbs: Verbs, attempts: Attempts, tell: Tell, name: str, *fans: str, limit: int = 1) -> list[str]:
    """An open sale with ten units, and a win for each of these fans. Their orders."""
    await tell(sale(name, limit=limit))
    await verbs.add_stock("a", load_id(), 1, 10)
    lines = [attempts.line(fan, key=f"k{place}") for place, fan in enumerate(fans)]
    assert await verbs.press("a", *lines) == [Outcome.WON] * len(fans)
    return [order_of(line) for line in lines]


async def test_a_unit_comes_back_once(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given a win / When it is given back twice in one call and once more / Then the unit is free once, first."""
    order, _ = await won(verbs, attempts, told, sale_name, "alice", "bob")
    back = Returned(order, "alice")
    told_back = await stock.give_back(Plain(verbs.redis), bucket=verbs.bucket, item="a", returned=[back, back])
    assert told_back == ([Effect.APPLIED, Effect.APPLIED_BEFORE], True)
    assert await verbs.give_back("a", (order, "alice")) == [Effect.APPLIED_BEFORE]
    held = await holdings(verbs.redis, verbs.bucket)
    check(held, loaded={"a": 10}, limit=1)
    assert held.free["a"][0] == 1
    assert [line.live for line in held.lines["alice"]] == [False]


async def counted(verbs: Verbs) -> tuple[int, int, int]:
    """What the bucket counts: units that came back, loads applied, calls that only repeated."""
    (facts,) = await stock.facts(verbs.redis, [verbs.bucket])
    held = await holdings(verbs.redis, verbs.bucket)
    return facts.returned, facts.loads, held.counts.get("told", 0)


async def test_returns_and_loads_are_counted_and_only_rise(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given wins / When some come back, free and held, and stock is loaded / Then each is counted once, for good; a
    call that only repeats is counted as told, so that there is a write to wait for."""
    first, second, third = await won(verbs, attempts, told, sale_name, "alice", "bob", "carol")
    assert await counted(verbs) == (0, 1, 0)
    assert await verbs.give_back("a", (first, "alice"), (first, "alice")) == [Effect.APPLIED, Effect.APPLIED_BEFORE]
    assert await counted(verbs) == (1, 1, 0), "there is a write to wait for without it"
    await verbs.give_back("a", (second, "bob"), place="hold")
    assert await counted(verbs) == (2, 1, 0)
    await verbs.give_back("a", (first, "alice"), (second, "bob"), ("f" * 32, "dan"))
    assert await counted(verbs) == (2, 1, 2)
    await verbs.give_back("a", ("f" * 32, "dan"))
    assert await counted(verbs) == (2, 1, 2), "what the bucket does not know is no repeat"
    load = load_id()
    await verbs.add_stock("a", load, 11, 20)
    assert await counted(verbs) == (2, 2, 2)
    await verbs.add_stock("a", load, 11, 20)
    assert await counted(verbs) == (2, 2, 3)
    await verbs.give_back("a", (third, "carol"))
    assert await verbs.press("a", attempts.line("dan")) == [Outcome.WON]
    assert await counted(verbs) == (3, 2, 3), "a unit that is sold again has come back all the same"


async def test_a_held_unit_is_free_nowhere(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given a win / When it is taken back to be held, and then asked to be freed / Then it is free in neither case."""
    order, _ = await won(verbs, attempts, told, sale_name, "alice", "bob")
    back = Returned(order, "alice")
    told_back = await stock.give_back(Plain(verbs.redis), bucket=verbs.bucket, item="a", returned=[back], hold=True)
    assert told_back == ([Effect.APPLIED], True)
    assert await verbs.give_back("a", (order, "alice"), place="hold") == [Effect.APPLIED_BEFORE]
    assert await verbs.give_back("a", (order, "alice")) == [Effect.APPLIED_BEFORE]
    held = await holdings(verbs.redis, verbs.bucket)
    check(held, loaded={"a": 10}, limit=1, kept={"a": [1]})
    assert [line.live for line in held.lines["alice"]] == [False]


@pytest.mark.parametrize("place", ["", "keep", "FREE", "free ", "0"])
async def test_a_place_that_is_none_is_refused_whole(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str, place: str
) -> None:
    """Given a return to a place that is neither free nor hold / Then it is refused, nothing is written."""
    order, _ = await won(verbs, attempts, told, sale_name, "alice", "bob")
    before = await holdings(verbs.redis, verbs.bucket)
    with pytest.raises(ResponseError, match="malformed place"):
        await verbs.give_back("a", (order, "alice"), place=place)
    assert await holdings(verbs.redis, verbs.bucket) == before


async def test_each_line_of_a_fan_is_its_own(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given a fan with three orders / When the second goes back / Then only that line ends."""
    orders = await won(verbs, attempts, told, sale_name, "alice", "alice", "alice", limit=3)
    assert await verbs.give_back("a", (orders[1], "alice")) == [Effect.APPLIED]
    (lines,) = await verbs.witness("alice")
    assert [(line.order, line.live) for line in lines] == [(orders[0], True), (orders[1], False), (orders[2], True)]
    check(await holdings(verbs.redis, verbs.bucket), loaded={"a": 10}, limit=3)


async def test_an_order_that_the_bucket_does_not_know(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given an order of nobody, or of another fan / Then NO_SUCH_ORDER; the rest of the batch comes back."""
    order, _ = await won(verbs, attempts, told, sale_name, "alice", "bob")
    strangers = [("f" * 32, "alice"), (order, "bob"), (order, "carol")]
    told_back = await verbs.give_back("a", *strangers, (order, "alice"))
    assert told_back == [Effect.NO_SUCH_ORDER] * 3 + [Effect.APPLIED]
    check(await holdings(verbs.redis, verbs.bucket), loaded={"a": 10}, limit=1)


async def test_the_unit_and_the_item_are_those_of_the_line(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given wins of units 1 and 2 of a / When the second goes back, under b and then under a / Then unit 2 is free.

    A caller who is wrong about the item moves nothing.
    """
    _, order = await won(verbs, attempts, told, sale_name, "alice", "bob")
    before = await holdings(verbs.redis, verbs.bucket)
    assert await verbs.give_back("b", (order, "bob")) == [Effect.NO_SUCH_ORDER]
    assert await holdings(verbs.redis, verbs.bucket) == before
    assert await verbs.give_back("a", (order, "bob")) == [Effect.APPLIED]
    held = await holdings(verbs.redis, verbs.bucket)
    check(held, loaded={"a": 10, "b": 0}, limit=1)
    assert held.free["a"][0] == 2


@pytest.mark.parametrize(
    "bad",
    [
        "", " ", "alice", f"{'f' * 32}", f"{'f' * 32} ", f"{'f' * 31} alice", f"{'f' * 33} alice", f"{'z' * 32} alice",
        f"{'f' * 32}  alice", f"{'f' * 32} 1 alice", f"{'f' * 32} al ice", f" {'f' * 32} alice",
    ],
)  # fmt: skip
async def test_a_malformed_return_is_refused_whole(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str, bad: str
) -> None:
    """Given a good return and then a malformed one in the same call / Then both are refused, nothing is written."""
    order, _ = await won(verbs, attempts, told, sale_name, "alice", "bob")
    at = verbs.script("give_back").at([verbs.bucket.counts_key, verbs.bucket.buyers_key, verbs.bucket.free_key("a")])
    before = await holdings(verbs.redis, verbs.bucket)
    with pytest.raises(ResponseError, match="malformed return 2"):
        await at(verbs.redis, "a", "free", f"{order} alice", bad)
    assert await holdings(verbs.redis, verbs.bucket) == before


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("", ""), ("1", ""), ("", "1"), ("0", "5"), ("-1", "5"), ("5", "4"), ("one", "two"), ("1-2", "3"),
        ("1", "1.5"), ("1.5", "3"),
        ("1", "inf"), ("1", "nan"),
    ],
)  # fmt: skip
async def test_a_malformed_range_is_refused_whole(verbs: Verbs, first: str, last: str) -> None:
    """Given a range that is none / Then it is refused, nothing is written, and its load may come again."""
    at = verbs.script("add_stock").at([verbs.bucket.counts_key, verbs.bucket.loads_key, verbs.bucket.free_key("a")])
    before = await holdings(verbs.redis, verbs.bucket)
    with pytest.raises(ResponseError, match="malformed range"):
        await at(verbs.redis, "a", "load", first, last)
    assert await holdings(verbs.redis, verbs.bucket) == before


@pytest.mark.parametrize(
    "bad",
    [("9-9", ""), ("9-9", "two"), ("9-9", "1.5"), ("9-9", "-1"), ("9-9",), ("nonsense", "1"), ("9", "1"), ("", "1")],
)
async def test_a_malformed_trim_is_refused_whole(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str, bad: tuple[str, ...]
) -> None:
    """Given an entry and then a malformed pair in the same call / Then the entry stays, as its count does."""
    await won(verbs, attempts, told, sale_name, "alice")
    before = await holdings(verbs.redis, verbs.bucket)
    (entry,) = before.entries
    at = verbs.script("trim").at([verbs.bucket.counts_key, verbs.bucket.outbox_key])
    with pytest.raises(ResponseError, match="malformed entry 2"):
        await at(verbs.redis, entry.entry_id, entry.orders, *bad)
    assert await holdings(verbs.redis, verbs.bucket) == before


async def test_entries_are_trimmed_once(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given two entries / When they are read and trimmed twice / Then they are counted down once."""
    await won(verbs, attempts, told, sale_name, "alice", "bob")
    assert await verbs.press("a", attempts.line("carol")) == [Outcome.WON]
    entries = await outbox.read(verbs.redis, verbs.bucket, after="0", count=10)
    assert [entry.orders for entry in entries] == [2, 1]
    assert await outbox.trim(verbs.redis, verbs.bucket, entries[:1]) == 2
    assert await outbox.trim(verbs.redis, verbs.bucket, entries) == 1
    assert await outbox.trim(verbs.redis, verbs.bucket, entries) == 0
    assert await outbox.trim(verbs.redis, verbs.bucket, []) == 0
    check(await holdings(verbs.redis, verbs.bucket), loaded={"a": 10}, limit=1)
    assert await outbox.read(verbs.redis, verbs.bucket, after="0", count=10) == []


async def test_a_trim_of_nothing_writes_nothing(verbs: Verbs) -> None:
    """Given an entry that is not there / When it is trimmed / Then not even a count appears."""
    assert await verbs.trim(("9-9", 1)) == 0
    assert not await verbs.redis.exists(verbs.bucket.counts_key)


async def test_all_free_ranges_are_told_with_their_count(verbs: Verbs) -> None:
    """Given an item with three ranges, and one that was never loaded / Then each has all its ranges, and its count."""
    for number, (first, last) in enumerate(((1, 2), (4, 4), (6, 9))):
        await verbs.add_stock("a", f"load{number}", first, last)
    assert await stock.free_ranges(verbs.redis, verbs.bucket, "a") == ([(1, 2), (4, 4), (6, 9)], 7)
    assert await stock.free_ranges(verbs.redis, verbs.bucket, "b") == ([], 0)
