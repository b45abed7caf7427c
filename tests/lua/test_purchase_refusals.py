"""purchase refuses: by state, by the bucket's clock, by missing state, by a full outbox. Nothing is written then."""

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ResponseError

from flashsale import stock
from flashsale.outcomes import Effect, Outcome
from flashsale.sale import Sale, State
from flashsale.scripts import load
from flashsale.stores import Client
from tests.support.holdings import holdings
from tests.support.samples import FAR_MS, Attempts, load_id, order_of, sale
from tests.support.verbs import Verbs
from tests.support.waiting import soon

pytestmark = pytest.mark.servers
Tell = Callable[[Sale], Awaitable[Sale]]


async def server_ms(redis: Client) -> int:
    """The bucket's own clock."""
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


@pytest.mark.parametrize(
    ("state", "opens_ms", "closes_ms", "expected"),
    [
        (State.LOADED, FAR_MS - 1, FAR_MS, Outcome.NOT_OPEN),
        (State.LOADED, 0, FAR_MS, Outcome.WON),
        (State.OPEN, FAR_MS - 1, FAR_MS, Outcome.WON),
        (State.PAUSED, 0, FAR_MS, Outcome.PAUSED),
        (State.CLOSED, 0, FAR_MS, Outcome.CLOSED),
        (State.LOADED, 0, 1, Outcome.CLOSED),
        (State.OPEN, 0, 1, Outcome.CLOSED),
        (State.PAUSED, 0, 1, Outcome.CLOSED),
        (State.DRAFT, 0, FAR_MS, Outcome.UNAVAILABLE),
    ],
)
async def test_state_and_clock(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str,
    state: State, opens_ms: int, closes_ms: int, expected: Outcome,
) -> None:  # fmt: skip
    """Given a state and times / When a fan presses / Then this is the answer, and a refusal writes nothing."""
    await told(sale(sale_name, state=state, opens_ms=opens_ms, closes_ms=closes_ms))
    await verbs.add_stock("a", load_id(), 1, 3)
    before = await holdings(verbs.redis, verbs.bucket)
    assert await verbs.press("a", attempts.line("alice")) == [expected]
    if expected is not Outcome.WON:
        assert await holdings(verbs.redis, verbs.bucket) == before


async def test_a_bucket_whose_server_is_short_of_memory(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given the mark / Then a new press is told to wait and writes nothing, a win is told again, a unit comes back; and
    once the mark is taken away, the press wins. A mark that is there already, and one on a bucket that is away, change
    nothing."""
    assert await verbs.mark_memory(short=True) is Effect.NOT_LOADED
    await told(sale(sale_name))
    await verbs.add_stock("a", load_id(), 1, 3)
    first, second = attempts.line("alice"), attempts.line("bob")
    assert await verbs.press("a", first) == [Outcome.WON]
    assert await verbs.mark_memory(short=True) is Effect.APPLIED
    assert await verbs.mark_memory(short=True) is Effect.APPLIED_BEFORE
    before = await holdings(verbs.redis, verbs.bucket)
    assert await verbs.press("a", second) == [Outcome.WAIT]
    assert await holdings(verbs.redis, verbs.bucket) == before
    assert await verbs.press("a", first) == [Effect.WON_BEFORE]
    assert await verbs.give_back("a", (order_of(first), "alice")) == [Effect.APPLIED]
    assert await verbs.mark_memory(short=False) is Effect.APPLIED
    assert await verbs.mark_memory(short=False) is Effect.APPLIED_BEFORE
    assert await verbs.press("a", second) == [Outcome.WON]


async def test_a_mark_that_is_neither_here_nor_there_is_refused(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """Given a mark that is not 0 or 1 / Then it is refused as malformed, and nothing is written."""
    await told(sale(sale_name))
    before = await holdings(verbs.redis, verbs.bucket)
    script = load("mark_memory").at([verbs.bucket.sale_key, verbs.bucket.counts_key])
    with pytest.raises(ResponseError, match="malformed mark"):
        await script(verbs.redis, 2)
    assert await holdings(verbs.redis, verbs.bucket) == before


async def test_it_opens_by_the_buckets_clock(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given a loaded sale that opens in a moment / Then nobody wins before that time, and somebody after, untold."""
    opens_ms = await server_ms(verbs.redis) + 50
    await told(sale(sale_name, state=State.LOADED, opens_ms=opens_ms))
    await verbs.add_stock("a", load_id(), 1, 3)
    wins = []

    async def won() -> bool:
        now_ms, ((code, _),) = await verbs.purchase("a", [attempts.line("alice")])
        assert (code is Outcome.NOT_OPEN) == (now_ms < opens_ms)
        wins.extend([now_ms] if code is Outcome.WON else [])
        return bool(wins)

    await soon(won, what="the sale opens")
    assert wins[0] >= opens_ms


async def test_without_its_plan_nothing_is_sold(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given stock but no plan, or a plan that lacks a field / Then UNAVAILABLE, never unlimited."""
    await verbs.add_stock("a", load_id(), 1, 3)
    assert await verbs.press("a", attempts.line("alice")) == [Outcome.UNAVAILABLE]
    await told(sale(sale_name))
    for field in ("state", "opens_ms", "closes_ms", "limit", "returned_max", "outbox_max"):
        kept = await verbs.redis.hget(verbs.bucket.sale_key, field)
        await verbs.redis.hdel(verbs.bucket.sale_key, field)
        assert await verbs.press("a", attempts.line("alice")) == [Outcome.UNAVAILABLE], field
        await verbs.redis.hset(verbs.bucket.sale_key, field, kept)
    assert await verbs.press("a", attempts.line("alice")) == [Outcome.WON]
    await verbs.redis.hset(verbs.bucket.sale_key, "closes_ms", 1)
    await verbs.redis.hdel(verbs.bucket.sale_key, "state")
    assert await verbs.press("a", attempts.line("bob")) == [Outcome.UNAVAILABLE], "a part of a plan says nothing"


@pytest.mark.parametrize("state", [State.PAUSED, State.CLOSED])
async def test_a_win_is_told_again_whatever_the_state(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str, state: State
) -> None:
    """Given a win / When the sale is paused or closed / Then its key still finds it, another key is refused."""
    await told(sale(sale_name, limit=2))
    await verbs.add_stock("a", load_id(), 1, 3)
    assert await verbs.press("a", attempts.line("alice")) == [Outcome.WON]
    await stock.tell_sale(verbs.redis, sale(sale_name, state=state, version=2, limit=2), create=False)
    again, other = await verbs.press("a", attempts.line("alice"), attempts.line("alice", key="other"))
    assert again is Effect.WON_BEFORE
    assert other is (Outcome.PAUSED if state is State.PAUSED else Outcome.CLOSED)


async def test_a_full_outbox_says_wait(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given an outbox for two orders / When a batch doesn't fit / Then WAIT, and after a trim it does."""
    await told(sale(sale_name))
    await verbs.redis.hset(verbs.bucket.sale_key, "outbox_max", 2)
    await verbs.add_stock("a", load_id(), 1, 9)
    assert await verbs.press("a", *(attempts.line(fan) for fan in "xyz")) == [Outcome.WAIT] * 3
    assert await verbs.press("a", attempts.line("x"), attempts.line("y")) == [Outcome.WON] * 2
    assert await verbs.press("a", attempts.line("z")) == [Outcome.WAIT]
    assert await verbs.press("a", attempts.line("x")) == [Effect.WON_BEFORE]
    (entry,) = (await holdings(verbs.redis, verbs.bucket)).entries
    assert await verbs.trim((entry.entry_id, entry.orders)) == 2
    assert await verbs.press("a", attempts.line("z")) == [Outcome.WON]


async def test_an_item_without_stock_is_sold_out(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given an item that nobody loaded / Then it is sold out, and no count of it appears."""
    await told(sale(sale_name))
    assert await verbs.press("b", attempts.line("alice")) == [Outcome.SOLD_OUT]
    assert (await holdings(verbs.redis, verbs.bucket)).counts == {}
