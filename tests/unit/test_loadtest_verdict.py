"""The verdict on a rehearsal finds each way to fail, and its figures are what a person would reckon by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from flashsale.audit import Audit, ItemAudit
from flashsale.outcomes import Outcome
from flashsale.sale import Sale, UnitPool
from loadtest import verdict
from loadtest.records import OTHER, Answers, Seen
from loadtest.verdict import Landed
from tests.support import samples

OPENS_MS = 1_000_000
BOUND_S = 60.0


def _sale(*, loaded: int) -> Sale:
    sale = samples.sale("s")
    return replace(sale, items=tuple(replace(item, loaded=loaded) for item in sale.items))


WINS = {f"o{n}": (f"f{n}", "ab"[n // 2], n % 2 + 1) for n in range(4)}


def _seen() -> Seen:
    seen = Seen(wins={order: (*win, "accepted") for order, win in WINS.items()}, offered=7, transport_errors=1)
    for number, item in enumerate((0, 0, 1, 1)):
        seen.purchases.add(Outcome.WON, item, 1000.0 + number, 1000.5 + number)
    seen.purchases.add(Outcome.SOLD_OUT, 0, 1004.0, 1004.1)
    seen.purchases.add(Outcome.SOLD_OUT, 1, 1004.0, 1004.2)
    seen.reservations.add(Outcome.RESERVED, 0, 990.0, 990.01)
    return seen


def _landed() -> Landed:
    return Landed(
        orders=dict(WINS), by_state={"confirmed": 3, "paid": 1}, duplicate=0, oversold=0, set_aside=0, returned=0,
        first_accepted_ms=OPENS_MS + 250, last_accepted_ms={"a": OPENS_MS + 1_250, "b": OPENS_MS + 3_250},
        last_confirmed_ms=OPENS_MS + 4_000,
    )  # fmt: skip


def _audited(*, free: int, live: int, missing: tuple[int, ...] = ()) -> Audit:
    items = tuple(
        ItemAudit(
            item=item, pool=UnitPool.PUBLIC, loaded=2, free=free, moving=0, outbox=0, live=live, returning=0,
            missing=missing, doubled=(), beyond=(), counter_off=0,
        )
        for item in "ab"
    )  # fmt: skip
    return Audit(sale="s", items=items, set_aside=0)


@dataclass(slots=True)
class Day:
    """A day on which all went well: two items, four units, four fans who won, two who heard it was sold out."""

    sale: Sale = field(default_factory=lambda: _sale(loaded=2))
    seen: Seen = field(default_factory=_seen)
    landed: Landed = field(default_factory=_landed)
    audited: Audit = field(default_factory=lambda: _audited(free=0, live=2))

    def figures(self) -> dict[str, Any]:
        """What the verdict measures."""
        return verdict.figures(
            seen=self.seen, landed=self.landed, sale=self.sale, audited=self.audited, opens_ms=OPENS_MS
        )

    def reasons(self) -> list[str]:
        """Why it fails."""
        return verdict.reasons(self.figures(), audited=self.audited, bound_s=BOUND_S)


def test_a_good_day_passes_and_its_figures_are_these() -> None:
    """Given a day without trouble / Then no reason against it, and each figure is what a person would reckon."""
    found = Day().figures()
    assert Day().reasons() == []
    assert found["units"] == {"loaded": 4, "sold": 4, "returned": 0, "free": 0}
    assert found["attempts"] == {
        "offered": 7, "answered": 6, "by_outcome": {"WON": 4, "SOLD_OUT": 2}, "transport_errors": 1,
    }  # fmt: skip
    assert found["orders"] == {
        "accepted": 4, "confirmed": 4, "paid": 1, "expired": 0, "missing": 0, "duplicate": 0, "oversold": 0,
        "set_aside": 0, "lost": 0, "replaced": 0, "refused": 0, "untold": 0,
    }  # fmt: skip
    assert found["seconds"] == {"open_to_first_win": 0.25, "open_to_last_unit": 3.25, "open_to_last_confirmed": 4.0}
    assert found["latency_ms"]["reservation"] == dict.fromkeys(("p50", "p99", "p999", "max"), 10.0)
    assert found["latency_ms"]["purchase"] == {"p50": 500.0, "p99": 500.0, "p999": 500.0, "max": 500.0}
    assert found["rates"] == {"attempts_per_s": 1, "wins_per_s": 1, "confirmed_per_s": 1}
    assert found["peak"] == {"at_s": 4, "requests": 2, "looks": 0, "by_outcome": {"SOLD_OUT": 2}}


def test_the_busiest_second_has_looks_in_it() -> None:
    """Given looks at the page around a press / Then the second with most of both is told, with what was in it."""
    day = Day()
    for at in (1001.1, 1001.2, 1001.9, 1002.0):
        day.seen.looks.add(OTHER, 0, at, at + 0.1)
    assert day.figures()["peak"] == {"at_s": 1, "requests": 4, "looks": 3, "by_outcome": {"WON": 1}}
    assert day.figures()["opening"] == {"at_s": 0, "requests": 1, "looks": 0, "by_outcome": {"WON": 1}}


def _lose(day: Day) -> None:
    day.landed = replace(day.landed, orders={order: WINS[order] for order in ("o0", "o1", "o2")})


def _landed_otherwise(day: Day) -> None:
    day.landed = replace(day.landed, orders=WINS | {"o0": ("somebody else", "a", 1)})


def _refuse(day: Day) -> None:
    """The first fan's order was refused after they were told that they had it."""
    others = frozenset(WINS) - {"o0"}
    day.landed = replace(day.landed, refused=frozenset({"o0"}), live=others)


def _lose_one_that_is_aside(day: Day) -> None:
    _lose(day)
    _with(day, aside=frozenset({"o3"}), set_aside=1)


def _leave_unsold(day: Day) -> None:
    day.audited = _audited(free=1, live=1)
    day.landed = replace(day.landed, by_state={"confirmed": 2})


WAYS_TO_FAIL: dict[str, tuple[Callable[[Day], None], str]] = {
    "a win that is no order": (_lose, "1 orders missing"),
    "a win that is another fan's order": (_landed_otherwise, "1 orders missing"),
    "a win that was refused": (_refuse, "1 orders missing"),
    "a fan over the limit": (lambda day: _with(day, duplicate=2), "2 orders duplicate"),
    "a unit in two orders": (lambda day: _with(day, oversold=1), "1 orders oversold"),
    "an order set aside": (lambda day: _with(day, set_aside=3), "3 orders set aside"),
    "an order set aside is not missing besides": (_lose_one_that_is_aside, "1 orders set aside"),
    "an audit that is off": (
        lambda day: setattr(day, "audited", _audited(free=0, live=2, missing=(2,))), "the audit does not balance",
    ),
    "a unit sold beyond the loaded": (
        lambda day: _with(day, by_state={"confirmed": 5}), "4 loaded, but 5 sold and 0 free",
    ),
    "units that nobody got": (_leave_unsold, "2 units were not sold although the crowd is larger than the stock"),
    "too slow": (
        lambda day: _with(day, last_confirmed_ms=OPENS_MS + 60_001),
        "open to last confirmed took 60.001 s, the bound is 60.0 s",
    ),
    "nothing confirmed at all": (
        lambda day: _with(day, last_confirmed_ms=None), "open to last confirmed took None s, the bound is 60.0 s",
    ),
}  # fmt: skip


def _with(day: Day, **changes: Any) -> None:
    day.landed = replace(day.landed, **changes)


@pytest.mark.parametrize("name", WAYS_TO_FAIL)
def test_each_way_to_fail_fails(name: str) -> None:
    """Given a good day with one thing wrong / Then just that is the reason."""
    spoil, reason = WAYS_TO_FAIL[name]
    day = Day()
    spoil(day)
    assert day.reasons() == [reason]


def test_a_day_on_which_nothing_happened() -> None:
    """Given a crowd that saw nothing and a database without orders / Then figures all the same, and it fails."""
    nothing = Landed({}, {}, 0, 0, 0, 0, None, {}, None)
    day = Day(seen=Seen(), landed=nothing, audited=_audited(free=2, live=0))
    assert day.figures()["rates"] == {"attempts_per_s": 0, "wins_per_s": 0, "confirmed_per_s": 0}
    assert day.figures()["sold_out_bound_ms"] == {"p50": 0.0, "p99": 0.0, "max": 0.0}
    assert len(day.reasons()) == 2


def test_the_sold_out_bound_on_a_handful() -> None:
    """Given the last unit of a at 1001.25 s / Then each loser was kept from knowing so long, from then at the earliest.

    Sent before: from the last unit. Sent after: from its sending. Answered "maybe": always from the last unit.
    Answered before, winners, and those of an item that is not gone don't count.
    """
    day = Day()
    told = day.seen.purchases = Answers()
    told.add(Outcome.SOLD_OUT, 0, 1001.00, 1001.30)  # 50 ms from the last unit
    told.add(Outcome.SOLD_OUT, 0, 1002.00, 1002.02)  # 20 ms from its sending
    told.add(Outcome.WAIT, 0, 1002.00, 1002.05)  # 800 ms: nothing was said, so it counts from the last unit
    told.add(Outcome.UNKNOWN, 0, 1001.20, 1001.26)  # 10 ms
    told.add(Outcome.SOLD_OUT, 0, 1000.00, 1001.20)  # answered before the last unit went
    told.add(Outcome.WON, 0, 1001.00, 1009.00)
    told.add(Outcome.ALREADY_BOUGHT, 0, 1001.00, 1009.00)
    told.add(Outcome.SOLD_OUT, 1, 1001.00, 1009.00)  # of b, which never went
    _with(day, last_accepted_ms={"a": 1_001_250})
    assert day.figures()["sold_out_bound_ms"] == {"p50": 20.0, "p99": 800.0, "max": 800.0}


def test_the_limit_is_counted_by_fan() -> None:
    """Given fans with live orders / Then those beyond the limit are counted, one by one."""
    assert verdict._beyond_limit({"a": 1, "b": 3, "c": 2}, 1) == 3
    assert verdict._beyond_limit({"a": 1, "b": 3, "c": 2}, 3) == 0


def test_a_refusal_that_keeps_a_promise() -> None:
    """Given an order that was refused / When its fan has another of that item, or its level may be lost in this run /
    Then it is not missing; of another item, it is."""
    day = Day()
    _refuse(day)
    seen, landed = day.seen, day.landed
    assert verdict.missing(seen, landed, verdict.Allowed()) == ["o0"]
    assert verdict.missing(seen, landed, verdict.Allowed(lose=frozenset({"accepted"}))) == []
    assert verdict.missing(seen, landed, verdict.Allowed(ack="replicated")) == []
    for item, missing in (("a", []), ("b", ["o0"])):
        other = replace(landed, orders={**landed.orders, "o9": ("f0", item, 2)}, live=landed.live | {"o9"})
        assert verdict.missing(seen, other, verdict.Allowed()) == missing
