"""purchase: the only place that says yes. Wins, the order of units, the per-fan limit, and the second time."""

from collections.abc import Awaitable, Callable

import pytest

from flashsale import limits
from flashsale.outcomes import Effect, Outcome
from flashsale.sale import Sale
from tests.support.holdings import check, holdings
from tests.support.samples import Attempts, load_id, order_of, sale
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
Tell = Callable[[Sale], Awaitable[Sale]]


async def stocked(verbs: Verbs, *, a: int = 0, b: int = 0) -> None:
    """So many units of each item, numbered from 1."""
    for item, units in (("a", a), ("b", b)):
        if units:
            assert await verbs.add_stock(item, load_id(), 1, units) is Effect.APPLIED


async def test_a_win_takes_a_unit_and_writes_the_order(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given two units / When one fan presses / Then the lowest is theirs, and line and outbox entry say so."""
    await told(sale(sale_name))
    await stocked(verbs, a=2)
    line = attempts.line("alice", channel="wechat")
    now_ms, answers = await verbs.purchase("a", [line])
    assert answers == [(Outcome.WON, 1)]
    held = await holdings(verbs.redis, verbs.bucket)
    check(held, loaded={"a": 2}, limit=1)
    ((win,),) = [entry.wins for entry in held.entries]
    assert (win.order, win.unit, win.fan, win.channel, win.lane) == (order_of(line), 1, "alice", "wechat", "public")
    assert win.accepted_ms == now_ms == held.lines["alice"][0].accepted_ms
    assert held.counts == {"free:a": 1, "outbox": 1, "wins": 1, "loads": 1}


async def test_a_batch_is_decided_as_it_stands(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given two units / When three fans press in one batch / Then the first two win and the third is told sold out."""
    await told(sale(sale_name))
    await stocked(verbs, a=2)
    _, answers = await verbs.purchase("a", [attempts.line(fan) for fan in ("x", "y", "z")])
    assert answers == [(Outcome.WON, 1), (Outcome.WON, 2), (Outcome.SOLD_OUT, "")]
    held = await holdings(verbs.redis, verbs.bucket)
    check(held, loaded={"a": 2}, limit=1)
    assert len(held.entries) == 1
    assert "z" not in held.lines


async def test_a_batch_across_many_small_ranges(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given ranges of one and two units / When a batch needs several of them / Then the rest of the last one stays."""
    await told(sale(sale_name))
    for first, last in ((1, 1), (2, 3), (4, 6)):
        await verbs.add_stock("a", load_id(), first, last)
    _, answers = await verbs.purchase("a", [attempts.line(f"f{n}") for n in range(4)])
    assert [detail for _, detail in answers] == [1, 2, 3, 4]
    held = await holdings(verbs.redis, verbs.bucket)
    check(held, loaded={"a": 6}, limit=1)
    assert held.free["a"] == [5, 6]


async def test_the_largest_batch(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given as many attempts as a call may carry, each on a range of its own / Then all win in one entry."""
    await told(sale(sale_name))
    for unit in range(1, 513):
        await verbs.add_stock("a", f"load-{unit}", unit, unit)
    _, answers = await verbs.purchase("a", [attempts.line("f" * 60 + f"{n:04}") for n in range(512)])
    assert [detail for _, detail in answers] == list(range(1, 513))
    held = await holdings(verbs.redis, verbs.bucket)
    check(held, loaded={"a": 512}, limit=1)
    assert [entry.orders for entry in held.entries] == [512]


async def test_the_same_key_wins_once(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given a win / When its key comes again, in another batch or the same / Then it is told the same win."""
    await told(sale(sale_name, limit=3))
    await stocked(verbs, a=5)
    first = attempts.line("alice", key="k")
    now_ms, answers = await verbs.purchase("a", [first, attempts.line("alice", key="k")])
    same = (Effect.WON_BEFORE, f"{order_of(first)} 1 {now_ms}")
    assert answers == [(Outcome.WON, 1), same]
    assert (await verbs.purchase("a", [attempts.line("alice", key="k")]))[1] == [same]
    assert (await verbs.purchase("a", [first]))[1] == [same]
    check(await holdings(verbs.redis, verbs.bucket), loaded={"a": 5}, limit=1)


async def test_a_key_for_something_else_is_an_error(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given a win / When its key comes for another item / Then KEY_REUSED; another fan may use the same key."""
    await told(sale(sale_name, limit=2))
    await stocked(verbs, a=2, b=2)
    assert await verbs.press("a", attempts.line("alice")) == [Outcome.WON]
    assert await verbs.press("b", attempts.line("alice"), attempts.line("bob")) == [Outcome.KEY_REUSED, Outcome.WON]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_the_limit_of_a_fan_counts_all_items(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str, limit: int
) -> None:
    """Given a limit / When a fan presses for both items with many keys / Then they get just so many."""
    await told(sale(sale_name, limit=limit))
    await stocked(verbs, a=9, b=9)
    assert await verbs.press("b", attempts.line("alice", key="b")) == [Outcome.WON]
    lines = [attempts.line("alice", key=f"a{n}") for n in range(4)]
    _, answers = await verbs.purchase("a", lines)
    assert [code for code, _ in answers] == [Outcome.WON] * (limit - 1) + [Outcome.ALREADY_BOUGHT] * (5 - limit)
    held = await holdings(verbs.redis, verbs.bucket)
    assert answers[-1][1] in {line.order for line in held.lines["alice"]}
    check(held, loaded={"a": 9, "b": 9}, limit=limit)


async def test_returned_units_go_first_and_count_against_hoarding(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given a fan who lets units go / Then each is sold again first, its key is known, and at last it is enough."""
    await told(sale(sale_name))
    await stocked(verbs, a=5)
    pressed = 0
    while (code := (await verbs.press("a", line := attempts.line("alice", key=f"k{pressed}")))[0]) is Outcome.WON:
        assert await verbs.give_back("a", (order_of(line), "alice")) == [Effect.APPLIED]
        pressed += 1
        assert pressed < 10
    assert code is Outcome.RETURNED_TOO_OFTEN
    assert pressed == limits.RETURNED_PER_FAN_MAX + 1
    assert await verbs.press("a", attempts.line("alice", key="k0")) == [Effect.WON_BEFORE]
    assert (await verbs.purchase("a", [attempts.line("bob")]))[1] == [(Outcome.WON, 1)]
    check(await holdings(verbs.redis, verbs.bucket), loaded={"a": 5}, limit=1)


async def test_a_win_that_is_told_again_writes_that_it_was(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str
) -> None:
    """Given a win / When it is told again, alone, twice in one batch, and beside a new win / Then a batch without
    another write counts it, so that there is one whose replicas can be waited for; a refusal writes nothing."""
    await told(sale(sale_name))
    await stocked(verbs, a=3)
    first, again = attempts.line("alice", key="k"), [attempts.line("alice", key="k") for _ in range(4)]

    async def counted(*lines: str) -> int:
        await verbs.purchase("a", lines)
        return (await holdings(verbs.redis, verbs.bucket)).counts.get("told", 0)

    assert await counted(first) == 0
    assert await counted(again[0]) == 1
    assert await counted(again[1], again[2]) == 3
    assert await counted(again[3], attempts.line("bob")) == 3, "the new win is a write to wait for"
    assert await counted(attempts.line("alice", key="another")) == 3
