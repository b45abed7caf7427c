"""replace_unit and end_line: an order whose unit Postgres refused gets another one, or ends without giving one back."""

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ResponseError

from flashsale import stock
from flashsale.outbox import Win
from flashsale.outcomes import Effect, Outcome
from flashsale.sale import Sale, State
from tests.support.holdings import Holdings, check, holdings
from tests.support.samples import Attempts, order_of, sale
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
Tell = Callable[[Sale], Awaitable[Sale]]
AT_MS = 1_764_000_000_000


async def opened(verbs: Verbs, tell: Tell, name: str, *, units: int = 10, limit: int = 1, buckets: int = 1) -> None:
    """An open sale with units of a."""
    await tell(sale(name, limit=limit))
    if buckets > 1:
        await verbs.redis.hset(verbs.bucket.sale_key, "buckets", buckets)
    if units:
        await verbs.add_stock("a", "load", 1, units)


async def refused(verbs: Verbs, attempts: Attempts, fan: str = "alice") -> str:
    """A win whose entry has been taken out again, since Postgres refused it. The attempt's line."""
    line = attempts.line(fan)
    assert await verbs.press("a", line) == [Outcome.WON]
    entries = (await seen(verbs)).entries
    await verbs.trim(*((entry.entry_id, entry.orders) for entry in entries))
    return line


async def seen(verbs: Verbs) -> Holdings:
    """What the bucket holds."""
    return await holdings(verbs.redis, verbs.bucket)


async def test_gets_the_next_free_unit(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given an order with unit 1, which Postgres refused / When it gets another / Then its line has unit 2, the same
    order is on its way with it as it was won, and it is not won once more."""
    await opened(verbs, told, sale_name)
    line = await refused(verbs, attempts)
    before = await seen(verbs)
    assert await verbs.replace_unit("a", line, 1, accepted_ms=AT_MS) == (Effect.APPLIED, 2)
    held = await seen(verbs)
    check(held, loaded={"a": 10}, limit=1, kept={"a": [1]})
    (was,), (now,) = before.lines["alice"], held.lines["alice"]
    assert (now.unit, now.live, now.order, now.key, now.accepted_ms) == (2, True, was.order, was.key, was.accepted_ms)
    assert [entry.wins for entry in held.entries] == [
        (Win(order_of(line), "a", 2, "alice", "web", "public", AT_MS, line.split(" ")[1]),)
    ]
    assert held.counts["wins"] == before.counts["wins"] == 1


async def test_a_repeat_is_told_the_same_and_writes_nothing(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given a reply that was lost / When it is asked again / Then the same unit, and nothing has changed;
    with that unit tried too, it is another one."""
    await opened(verbs, told, sale_name)
    line = await refused(verbs, attempts)
    assert await verbs.replace_unit("a", line, 1) == (Effect.APPLIED, 2)
    before = await seen(verbs)
    assert await verbs.replace_unit("a", line, 1) == (Effect.APPLIED_BEFORE, 2)
    after = await seen(verbs)
    assert after.counts == before.counts
    assert (after.free, after.lines, after.entries) == (before.free, before.lines, before.entries)
    await verbs.trim(*((entry.entry_id, entry.orders) for entry in after.entries))
    assert await verbs.replace_unit("a", line, 1, 2) == (Effect.APPLIED, 3)
    check(await seen(verbs), loaded={"a": 10}, limit=1, kept={"a": [1, 2]})


async def test_a_repeat_when_nothing_is_free(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given an order that got the last unit / When it is asked again / Then it is told that one, not that there is
    none."""
    await opened(verbs, told, sale_name, units=2)
    line = await refused(verbs, attempts)
    assert await verbs.replace_unit("a", line, 1) == (Effect.APPLIED, 2)
    assert await verbs.replace_unit("a", line, 1) == (Effect.APPLIED_BEFORE, 2)


@pytest.mark.parametrize(
    ("ranges", "tried", "unit", "left"),
    [
        (["5-9"], [1], 5, ["6-9"]),
        (["5-9"], [1, 5], 6, ["5-5", "7-9"]),
        (["5-9"], [1, 5, 6, 7, 8], 9, ["5-8"]),
        (["2-2", "4-4", "6-9"], [1, 2, 4], 6, ["2-2", "4-4", "7-9"]),
        (["2-2", "4-4", "6-9"], [1, 2, 4, 6], 7, ["2-2", "4-4", "6-6", "8-9"]),
        (["2-2", "4-4", "6-9"], [1, 2, 6], 4, ["2-2", "6-9"]),
        (["2-2", "4-4"], [1, 2], 4, ["2-2"]),
        (["7-7"], [1, 9], 7, []),
    ],
)
async def test_passes_over_the_tried_ones_and_leaves_them(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str,
    ranges: list[str], tried: list[int], unit: int, left: list[str],
) -> None:  # fmt: skip
    """Given tried units among the free ones / Then the first that was not tried is taken, the others stay in order."""
    await opened(verbs, told, sale_name)
    line = await refused(verbs, attempts)
    free = verbs.bucket.free_key("a")
    await verbs.redis.delete(free)
    await verbs.redis.rpush(free, *ranges)
    assert await verbs.replace_unit("a", line, *tried) == (Effect.APPLIED, unit)
    assert await verbs.redis.lrange(free, 0, -1) == [text.encode() for text in left]


@pytest.mark.parametrize(("buckets", "code"), [(1, Outcome.SOLD_OUT), (4, Effect.DRY)])
async def test_without_a_unit(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str, buckets: int, code: Outcome | Effect
) -> None:
    """Given no free unit but a tried one / Then SOLD_OUT, or in one of several buckets DRY, which the balancer sees;
    nothing else is written."""
    await opened(verbs, told, sale_name, units=2, buckets=buckets)
    line = await refused(verbs, attempts)
    before = await seen(verbs)
    assert await verbs.replace_unit("a", line, 1, 2) == (code, 0)
    assert await verbs.replace_unit("a", line, 2, 1) == (code, 0)
    after = await seen(verbs)
    lost = {"lost:a": 2} if buckets > 1 else {}
    assert after.counts == before.counts | lost
    assert (after.free, after.lines, after.entries) == (before.free, before.lines, before.entries)


@pytest.mark.parametrize("state", [State.PAUSED, State.CLOSED])
async def test_works_while_the_sale_is_paused_or_closed(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str, state: State
) -> None:
    """Given a sale that sells no more / When an order that was won in time asks / Then it gets a unit."""
    await opened(verbs, told, sale_name)
    line = await refused(verbs, attempts)
    await told(sale(sale_name, state=state, version=2))
    assert await verbs.replace_unit("a", line, 1) == (Effect.APPLIED, 2)


async def test_a_forgotten_line_is_made_again(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given a bucket that has forgotten the order / When it gets a unit / Then the fan has a live line with the key,
    beside those that they have; the same key is told this win."""
    await opened(verbs, told, sale_name, limit=2)
    other = attempts.line("alice", key="other")
    assert await verbs.press("a", other) == [Outcome.WON]
    line = attempts.line("alice")
    assert await verbs.replace_unit("a", line, 9) == (Effect.APPLIED, 2)
    held = await seen(verbs)
    check(held, loaded={"a": 10}, limit=2)
    assert [(one.order, one.unit, one.live) for one in held.lines["alice"]] == [
        (order_of(other), 1, True), (order_of(line), 2, True),
    ]  # fmt: skip
    (_, answer), *_ = (await verbs.purchase("a", [line]))[1]
    assert str(answer).split(" ")[:2] == [order_of(line), "2"]


async def test_a_fan_of_whom_nothing_is_known(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given a bucket that has forgotten all of a fan / When their order gets a unit / Then that is their only line."""
    await opened(verbs, told, sale_name)
    line = attempts.line("alice")
    assert await verbs.replace_unit("a", line, 9) == (Effect.APPLIED, 1)
    held = await seen(verbs)
    check(held, loaded={"a": 10}, limit=1)
    assert [one.order for one in held.lines["alice"]] == [order_of(line)]


@pytest.mark.parametrize("key", ["k", "other"])
async def test_a_forgotten_order_of_a_fan_who_has_another(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str, key: str
) -> None:
    """Given a fan at the limit, or whose key has won again / When their forgotten order asks / Then ALREADY_BOUGHT."""
    await opened(verbs, told, sale_name, limit=1 if key == "other" else 2)
    assert await verbs.press("a", attempts.line("alice", key=key)) == [Outcome.WON]
    before = await seen(verbs)
    assert await verbs.replace_unit("a", attempts.line("alice"), 9) == (Outcome.ALREADY_BOUGHT, 0)
    assert await seen(verbs) == before


async def test_a_fan_at_the_limit_keeps_the_line_that_is_there(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given the order's own line / Then it does not count against itself; other fans' lines don't count at all."""
    await opened(verbs, told, sale_name)
    assert await verbs.press("a", attempts.line("bob")) == [Outcome.WON]
    line = await refused(verbs, attempts)
    assert await verbs.replace_unit("a", line, 2) == (Effect.APPLIED, 3)


async def test_an_order_that_is_over_stays_over(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given a line that was ended / When a late call asks for a unit / Then STALE; of another item, NO_SUCH_ORDER."""
    await opened(verbs, told, sale_name)
    line = await refused(verbs, attempts)
    await verbs.add_stock("b", "load-b", 1, 3)
    before = await seen(verbs)
    assert await verbs.replace_unit("b", line, 1) == (Effect.NO_SUCH_ORDER, 0)
    assert await seen(verbs) == before
    assert await verbs.end_line("a", order_of(line), "alice", 1) is Effect.APPLIED
    before = await seen(verbs)
    for tried in ([1], [1, 2], []):
        assert await verbs.replace_unit("a", line, *tried) == (Effect.STALE, 0)
    assert await seen(verbs) == before


@pytest.mark.parametrize("gone", ["limit", "buckets", None])
async def test_is_refused_whole_while_the_sale_is_missing(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str, gone: str | None
) -> None:
    """Given a bucket that has lost the sale, or a part of it / Then UNAVAILABLE, and nothing is written."""
    await opened(verbs, told, sale_name)
    line = await refused(verbs, attempts)
    sale_key = verbs.bucket.sale_key
    await (verbs.redis.hdel(sale_key, gone) if gone else verbs.redis.delete(sale_key))
    before = await seen(verbs)
    assert await verbs.replace_unit("a", line, 1) == (Outcome.UNAVAILABLE, 0)
    assert await verbs.replace_unit("a", attempts.line("bob"), 1) == (Outcome.UNAVAILABLE, 0)
    assert await seen(verbs) == before


ORDER, KEY = "f" * 32, "e" * 16


@pytest.mark.parametrize(
    "bad",
    [
        (ORDER[1:], KEY, "alice", "web", "public", "1", "1"),
        (ORDER[1:] + "z", KEY, "alice", "web", "public", "1", "1"),
        (ORDER, KEY[1:], "alice", "web", "public", "1", "1"),
        (ORDER, KEY[1:] + "z", "alice", "web", "public", "1", "1"),
        (ORDER, KEY, "al ice", "web", "public", "1", "1"),
        (ORDER, KEY, "", "web", "public", "1", "1"),
        (ORDER, KEY, "alice", "", "public", "1", "1"),
        (ORDER, KEY, "alice", "web", "", "1", "1"),
        (ORDER, KEY, "alice", "web", "public", "noon", "1"),
        (ORDER, KEY, "alice", "web", "public", "", "1"),
        (ORDER, KEY, "alice", "web", "public", "1", "1", "two"),
        (ORDER, KEY, "alice", "web", "public", "1", "-1"),
        (ORDER, KEY, "alice", "web", "public", "1", ""),
    ],
)
async def test_what_is_malformed_is_refused_whole(
    verbs: Verbs, told: Tell, sale_name: str, bad: tuple[str, ...]
) -> None:
    """Given a malformed order or unit / Then it is refused, and nothing is written."""
    await opened(verbs, told, sale_name)
    before = await seen(verbs)
    b = verbs.bucket
    keys = [b.sale_key, b.counts_key, b.buyers_key, b.outbox_key, b.free_key("a")]
    with pytest.raises(ResponseError, match=r"malformed (order|unit)"):
        await verbs.script("replace_unit").at(keys)(verbs.redis, "a", *bad)
    assert await seen(verbs) == before


async def test_as_the_worker_calls_it(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given a win / When it is called by the win / Then it is the same, and ended the same."""
    await opened(verbs, told, sale_name)
    line = await refused(verbs, attempts)
    order, key, fan, channel, lane = line.split(" ")
    win = Win(order, "a", 1, fan, channel, lane, AT_MS, key)
    assert await stock.replace_unit(verbs.redis, bucket=verbs.bucket, win=win, tried=[1]) == (Effect.APPLIED, 2)
    assert await stock.end_line(verbs.redis, bucket=verbs.bucket, win=win, unit=2) is Effect.APPLIED
    assert await stock.end_line(verbs.redis, bucket=verbs.bucket, win=win, unit=2) is Effect.APPLIED_BEFORE


async def test_a_line_ends_and_gives_nothing_back(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given an order whose unit is another's / When its line ends, twice / Then the unit is free nowhere, and the fan
    may buy again."""
    await opened(verbs, told, sale_name)
    line = await refused(verbs, attempts)
    assert await verbs.end_line("a", order_of(line), "alice", 1) is Effect.APPLIED
    assert await verbs.end_line("a", order_of(line), "alice", 1) is Effect.APPLIED_BEFORE
    check(await seen(verbs), loaded={"a": 10}, limit=1, kept={"a": [1]})
    assert await verbs.press("a", attempts.line("alice", key="new")) == [Outcome.WON]


async def test_a_line_that_got_a_unit_meanwhile_gives_that_one_back(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given a refused order that a late call gave unit 2 / When its line ends for unit 1 / Then 2 is free, first."""
    await opened(verbs, told, sale_name)
    line = await refused(verbs, attempts)
    assert await verbs.replace_unit("a", line, 1) == (Effect.APPLIED, 2)
    entries = (await seen(verbs)).entries
    await verbs.trim(*((entry.entry_id, entry.orders) for entry in entries))
    assert await verbs.end_line("a", order_of(line), "alice", 1) is Effect.APPLIED
    held = await seen(verbs)
    check(held, loaded={"a": 10}, limit=1, kept={"a": [1]})
    assert held.free["a"][0] == 2


async def test_a_line_that_is_not_there_ends_nothing(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given another's order, another item, or a malformed order / Then nothing is written."""
    await opened(verbs, told, sale_name)
    line = await refused(verbs, attempts)
    before = await seen(verbs)
    for item, order, fan in (("a", order_of(line), "bob"), ("b", order_of(line), "alice"), ("a", "f" * 32, "alice")):
        assert await verbs.end_line(item, order, fan, 1) is Effect.NO_SUCH_ORDER
    at = verbs.script("end_line").at([verbs.bucket.counts_key, verbs.bucket.buyers_key, verbs.bucket.free_key("a")])
    for order, unit in (("f" * 31, "1"), ("z" * 32, "1"), (order_of(line), "one"), (order_of(line), "")):
        with pytest.raises(ResponseError, match="malformed order"):
            await at(verbs.redis, "a", order, "alice", unit)
    assert await seen(verbs) == before
    assert [one.live for one in before.lines["alice"]] == [True]


async def test_a_fenced_bucket_gives_no_unit(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given a bucket that is being rebuilt / When an order is to have another unit, or has one already / Then the
    bucket can't say, and nothing is changed; when the fence falls, it can."""
    await opened(verbs, told, sale_name)
    line = await refused(verbs, attempts)
    await verbs.fence("7")
    before = await seen(verbs)
    for tried in ([1], [2]):
        assert await verbs.replace_unit("a", line, *tried, accepted_ms=AT_MS) == (Outcome.UNAVAILABLE, 0)
    stranger = attempts.line("bob")
    assert await verbs.replace_unit("a", stranger, 1, accepted_ms=AT_MS) == (Outcome.UNAVAILABLE, 0)
    assert await seen(verbs) == before
    await verbs.unfence("7", wins=1)
    assert await verbs.replace_unit("a", line, 1, accepted_ms=AT_MS) == (Effect.APPLIED, 2)
