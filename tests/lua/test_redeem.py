"""redeem and set_batch: a code is spent once, for one fan, with its unit; all else is refused and writes nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from flashsale import stock
from flashsale.batch import key_of
from flashsale.fcode import Code
from flashsale.outcomes import Effect, Outcome
from flashsale.purchase import attempt_line
from flashsale.sale import Sale, State
from tests.support.holdings import Holdings, check, holdings
from tests.support.samples import FAR_MS, GENERATION, Attempts, load_id, order_of, sale
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
Tell = Callable[[Sale], Awaitable[Sale]]
BATCH = 0xABCDE
HOUR_MS = 3_600_000


class Codes:
    """Attempts by codes of the batch, with orders that count up."""

    def __init__(self) -> None:
        self._attempts = Attempts()

    def line(self, fan: str, serial: int) -> str:
        """One attempt of a fan by the code of that serial."""
        key = key_of(Code(BATCH, serial))
        order = order_of(self._attempts.line(fan))
        return attempt_line(order=order, key=key, fan=fan, channel="web", lane="fcode")


@pytest.fixture
def codes() -> Codes:
    """Attempts by codes."""
    return Codes()


@pytest.fixture
async def ready(verbs: Verbs, told: Tell, sale_name: str) -> Callable[..., Awaitable[None]]:
    """A bucket with three units, and a batch with these terms."""

    async def make(*terms: int, state: State = State.OPEN, **changed: Any) -> None:
        await told(sale(sale_name, state=state, **changed))
        await verbs.add_stock("a", load_id(), 1, 3)
        assert await verbs.set_batch(BATCH, generation=GENERATION, terms=terms or (0, FAR_MS, 0)) is Effect.APPLIED

    return make


Ready = Callable[..., Awaitable[None]]


async def kept(verbs: Verbs) -> tuple[Holdings, bytes | str | None]:
    """All that redeeming may change."""
    return await holdings(verbs.redis, verbs.bucket), await verbs.redis.get(verbs.bucket.spent_key(BATCH))


async def spent(verbs: Verbs, serial: int) -> int:
    """The code's bit."""
    return int(await verbs.redis.getbit(verbs.bucket.spent_key(BATCH), serial))


async def test_a_win_spends_the_code_and_takes_a_unit(verbs: Verbs, codes: Codes, ready: Ready) -> None:
    """Given a batch / When a fan redeems code 70000 / Then its bit is set and no other, and unit, line, entry and
    counts are written."""
    await ready()
    line = codes.line("alice", 70_000)
    assert await verbs.redeem("a", BATCH, line) == [(Outcome.WON, 1)]
    held, bits = await kept(verbs)
    check(held, loaded={"a": 3}, limit=1)
    assert bits is not None
    assert (await verbs.redis.bitcount(verbs.bucket.spent_key(BATCH)), await spent(verbs, 70_000)) == (1, 1)
    ((win,),) = [entry.wins for entry in held.entries]
    assert (win.order, win.unit, win.fan, win.lane) == (order_of(line), 1, "alice", "fcode")
    assert win.key == f"{BATCH:08x}{70_000:08x}"
    assert held.counts == {"free:a": 2, f"used:a:{BATCH}": 1, "outbox": 1, "wins": 1, "loads": 1}
    (facts,) = await stock.facts(verbs.redis, [verbs.bucket])
    assert (facts.used, facts.batches, facts.released) == ({("a", BATCH): 1}, {BATCH: 1}, frozenset())


async def test_a_batch_is_decided_as_it_stands(verbs: Verbs, codes: Codes, ready: Ready) -> None:
    """Given three units / When codes come in one call, some twice / Then each is its first fan's, who is told the same
    again; without a unit nothing is decided, and that code is not spent."""
    await ready()
    asked = [("x", 0), ("y", 0), ("x", 0), ("y", 1), ("y", 2), ("z", 3)]
    lines = [codes.line(*one) for one in asked]
    told = await verbs.redeem("a", BATCH, *lines)
    assert [one for one, _ in told] == [
        Outcome.WON, Outcome.CODE_SPENT, Effect.WON_BEFORE, Outcome.WON, Outcome.WON, Outcome.WAIT,
    ]  # fmt: skip
    assert told[2][1].split(" ")[:2] == [order_of(lines[0]), "1"]  # type: ignore[union-attr]
    assert [told[place][1] for place in (0, 3, 4)] == [1, 2, 3]
    assert [await spent(verbs, serial) for serial in range(4)] == [1, 1, 1, 0]
    held, _ = await kept(verbs)
    check(held, loaded={"a": 3}, limit=2)
    assert (held.counts["free:a"], held.counts["outbox"], len(held.entries)) == (0, 3, 1)


async def test_a_win_is_told_again_whatever_has_become_of_the_sale(
    verbs: Verbs, codes: Codes, ready: Ready, told: Tell, sale_name: str
) -> None:
    """Given a win / When its fan sends the code again, also after the order ended and when the sale is over / Then it
    is told again and counts itself, and nothing else changes; another fan is told: spent, and then: over."""
    await ready()
    line = codes.line("alice", 5)
    await verbs.redeem("a", BATCH, line)
    before, bits = await kept(verbs)
    (one,) = await verbs.redeem("a", BATCH, codes.line("alice", 5))
    (accepted_ms,) = {entry.wins[0].accepted_ms for entry in before.entries}
    assert one == (Effect.WON_BEFORE, f"{order_of(line)} 1 {accepted_ms}")
    after, bits_after = await kept(verbs)
    assert (after.counts, bits_after) == (before.counts | {"told": 1}, bits)
    assert (after.free, after.lines, after.entries) == (before.free, before.lines, before.entries)
    assert await verbs.redeem("a", BATCH, codes.line("bob", 5)) == [(Outcome.CODE_SPENT, "")]
    await verbs.give_back("a", (order_of(line), "alice"))
    assert await verbs.redeem("a", BATCH, codes.line("bob", 5)) == [(Outcome.CODE_SPENT, "")]
    await told(sale(sale_name, state=State.CLOSED, version=2))
    assert await verbs.redeem("a", BATCH, codes.line("alice", 5)) == [one]
    assert await verbs.redeem("a", BATCH, codes.line("bob", 5)) == [(Outcome.CLOSED, "")]


async def test_the_largest_batch(verbs: Verbs, codes: Codes, ready: Ready) -> None:
    """Given as many attempts as a call may carry, the units in ranges of one / Then all win in one entry."""
    await ready()
    for unit in range(4, 513):
        await verbs.add_stock("a", f"load-{unit}", unit, unit)
    told = await verbs.redeem("a", BATCH, *(codes.line("f" * 60 + f"{n:04}", n) for n in range(512)))
    assert [detail for _, detail in told] == list(range(1, 513))
    held, _ = await kept(verbs)
    check(held, loaded={"a": 512}, limit=1)
    assert held.counts[f"used:a:{BATCH}"] == 512


async def test_units_are_taken_from_the_left(verbs: Verbs, codes: Codes, ready: Ready) -> None:
    """Given units in three ranges / When a call needs two of them / Then what is left of the second stays there."""
    await ready()
    for first, last in ((11, 14), (21, 22)):
        await verbs.add_stock("a", load_id(), first, last)
    told = await verbs.redeem("a", BATCH, *(codes.line(f"f{n}", n) for n in range(5)))
    assert [detail for _, detail in told] == [1, 2, 3, 11, 12]
    assert await verbs.redis.lrange(verbs.bucket.free_key("a"), 0, -1) == [b"13-14", b"21-22"]
    assert await verbs.redeem("a", BATCH, codes.line("g", 9)) == [(Outcome.WON, 13)]
    assert await verbs.redis.lrange(verbs.bucket.free_key("a"), 0, -1) == [b"14-14", b"21-22"]


@pytest.mark.parametrize(
    ("state", "closes_ms", "terms", "expected"),
    [
        (State.OPEN, FAR_MS, (0, FAR_MS, 0), Outcome.WON),
        (State.LOADED, FAR_MS, (0, FAR_MS, 0), Outcome.WON),
        (State.PAUSED, FAR_MS, (0, FAR_MS, 0), Outcome.PAUSED),
        (State.CLOSED, FAR_MS, (0, FAR_MS, 0), Outcome.CLOSED),
        (State.OPEN, 1, (0, FAR_MS, 0), Outcome.CLOSED),
        (State.DRAFT, FAR_MS, (0, FAR_MS, 0), Outcome.UNAVAILABLE),
        (State.OPEN, FAR_MS, (FAR_MS - 1, FAR_MS, 0), Outcome.CODE_NOT_YET),
        (State.OPEN, FAR_MS, (0, 1, 0), Outcome.CODE_EXPIRED),
        (State.OPEN, FAR_MS, (0, FAR_MS, 1), Outcome.CODE_EXPIRED),
    ],
)
async def test_state_terms_and_clock(
    verbs: Verbs, codes: Codes, ready: Ready, state: State, closes_ms: int, terms: tuple[int, ...], expected: Outcome
) -> None:
    """Given a state and terms / When a code comes / Then this is the answer, and a refusal writes nothing."""
    await ready(*terms, state=state, closes_ms=closes_ms, opens_ms=0)
    before = await kept(verbs)
    assert [one for one, _ in await verbs.redeem("a", BATCH, codes.line("alice", 1))] == [expected]
    if expected is not Outcome.WON:
        assert await kept(verbs) == before


async def test_terms_hold_to_the_millisecond(verbs: Verbs, codes: Codes, ready: Ready) -> None:
    """Given terms that begin now, and others that end now / Then the first are good and the second are over."""
    await ready()
    seconds, micros = await verbs.redis.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    await verbs.set_batch(BATCH, generation=GENERATION, version="2", terms=(now_ms, FAR_MS, 0))
    assert [one for one, _ in await verbs.redeem("a", BATCH, codes.line("alice", 1))] == [Outcome.WON]
    await verbs.set_batch(BATCH, generation=GENERATION, version="3", terms=(0, now_ms, 0))
    assert [one for one, _ in await verbs.redeem("a", BATCH, codes.line("alice", 2))] == [Outcome.CODE_EXPIRED]


@pytest.mark.parametrize("field", ["state", "closes_ms", "outbox_max", f"batch:{BATCH}"])
async def test_missing_state_means_no(verbs: Verbs, codes: Codes, ready: Ready, field: str) -> None:
    """Given a bucket that lacks a part of its memory / Then no code is taken."""
    await ready()
    await verbs.redis.hdel(verbs.bucket.sale_key, field)
    before = await kept(verbs)
    assert await verbs.redeem("a", BATCH, codes.line("alice", 1)) == [(Outcome.UNAVAILABLE, "")]
    assert await kept(verbs) == before


async def test_behind_a_fence_and_without_room(verbs: Verbs, codes: Codes, ready: Ready) -> None:
    """Given a fence, a server that is short of memory, or a full outbox / Then nothing is decided."""
    await ready()
    for name, value, expected in (("fence", "4", Outcome.UNAVAILABLE), ("memory_short", "1", Outcome.WAIT)):
        await verbs.redis.hset(verbs.bucket.counts_key, name, value)
        assert await verbs.redeem("a", BATCH, codes.line("alice", 1)) == [(expected, "")]
        await verbs.redis.hdel(verbs.bucket.counts_key, name)
    await verbs.redis.hset(verbs.bucket.sale_key, "outbox_max", 2)
    three = [codes.line(f"f{n}", n) for n in range(3)]
    assert await verbs.redeem("a", BATCH, *three) == [(Outcome.WAIT, "")] * 3
    assert [one for one, _ in await verbs.redeem("a", BATCH, *three[:2])] == [Outcome.WON] * 2
    assert await verbs.redeem("a", BATCH, three[2]) == [(Outcome.WAIT, "")]


async def test_batches_keep_apart(verbs: Verbs, codes: Codes, ready: Ready) -> None:
    """Given a code of one batch that is spent / Then that of another batch with the same serial is not."""
    await ready()
    other = BATCH + 1
    await verbs.set_batch(other, generation=GENERATION)
    await verbs.redeem("a", BATCH, codes.line("alice", 1))
    line = codes.line("bob", 1).replace(f"{BATCH:08x}", f"{other:08x}")
    assert await verbs.redeem("a", other, line) == [(Outcome.WON, 2)]


async def test_no_press_is_taken_where_codes_are(
    verbs: Verbs, attempts: Attempts, ready: Ready, sale_name: str
) -> None:
    """Given the bucket of the codes as it is told the sale / When a press for everybody's units gets there / Then it
    buys nothing."""
    await ready()
    made = Sale(**{**_fields(sale(sale_name, version=2)), "buckets": 1, "takes_fcodes": True})
    bucket = made.fcode_bucket
    assert bucket is not None
    await stock.tell_sale(verbs.redis, made, create=True)
    there = Verbs(verbs.redis, bucket)
    await there.add_stock("a", load_id(), 4, 4)
    assert await there.press("a", attempts.line("alice")) == [Outcome.UNAVAILABLE]


def _fields(one: Sale) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Sale.__dataclass_fields__}


async def test_only_news_changes_the_terms(verbs: Verbs, ready: Ready) -> None:
    """Given version 9 / When 10 comes, then 9 late, then 10 again / Then 10 stays, and its repeat says so."""
    await ready()
    key = verbs.bucket.sale_key

    async def tell(version: str, *terms: int) -> Any:
        return await verbs.set_batch(BATCH, generation=GENERATION, version=version, terms=terms)

    assert await tell("9", 1, 2, 0) is Effect.APPLIED
    assert await tell("10", 3, 4, 1) is Effect.APPLIED
    assert await tell("9", 5, 6, 0) is Effect.STALE
    assert await tell("10", 3, 4, 1) is Effect.APPLIED_BEFORE
    assert await verbs.redis.hget(key, f"batch:{BATCH}") == b"10 3 4 1"
    (facts,) = await stock.facts(verbs.redis, [verbs.bucket])
    assert (facts.batches, facts.released) == ({BATCH: 10}, frozenset({BATCH}))


async def test_terms_where_they_do_not_belong(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """Given no bucket, or another sale's / Then the terms are not taken; behind a fence they are."""
    assert await verbs.set_batch(BATCH, generation=GENERATION) is Effect.NOT_LOADED
    assert not await verbs.redis.exists(verbs.bucket.sale_key)
    await told(sale(sale_name))
    assert await verbs.set_batch(BATCH, generation="another") is Effect.OTHER_GENERATION
    assert not await verbs.redis.hexists(verbs.bucket.sale_key, f"batch:{BATCH}")
    await verbs.fence("4")
    assert await verbs.set_batch(BATCH, generation=GENERATION) is Effect.APPLIED


@pytest.mark.parametrize(
    ("version", "terms"),
    [("x", (1, 2, 0)), ("1", ("x", 2, 0)), ("1", (1, "", 0)), ("1", (1, 2, 2)), ("", (1, 2, 0)), ("1", (1, 2, "1 1"))],
)
async def test_malformed_terms(verbs: Verbs, ready: Ready, version: str, terms: tuple[int | str, ...]) -> None:
    """Given terms that can't be read / Then they are refused and the old ones stay."""
    await ready()
    before = await verbs.redis.hgetall(verbs.bucket.sale_key)
    with pytest.raises(ResponseError, match="malformed terms"):
        await verbs.set_batch(BATCH, generation=GENERATION, version=version, terms=terms)
    assert await verbs.redis.hgetall(verbs.bucket.sale_key) == before


async def test_spent_codes_are_written_behind_the_fence_alone(verbs: Verbs, ready: Ready) -> None:
    """Given a fenced bucket / When its owner writes which codes are spent / Then these are; nobody else may, and what
    can't be read is refused whole."""
    await ready()
    assert await verbs.rebuild_codes("4", BATCH, 1) is Effect.OTHER_FENCE
    await verbs.fence("4")
    assert await verbs.rebuild_codes("5", BATCH, 1) is Effect.OTHER_FENCE
    with pytest.raises(ResponseError, match="malformed serial 2"):
        await verbs.rebuild_codes("4", BATCH, 1, "x")
    assert not await verbs.redis.exists(verbs.bucket.spent_key(BATCH))
    assert await verbs.rebuild_codes("4", BATCH, 1, 9) is Effect.APPLIED
    assert [await spent(verbs, serial) for serial in (0, 1, 9, 10)] == [0, 1, 1, 0]
