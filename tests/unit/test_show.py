"""What people read in a terminal of 80 columns and in a pipe: no word is broken, and no number cut."""

import io
from collections import defaultdict
from typing import Any

import pytest
from rich.console import Console

from flashsale.audit import Audit, ItemAudit
from flashsale.cli import rehearse, results, show
from flashsale.sale import UnitPool
from loadtest.faults import runs
from loadtest.rehearsal import Options

ORDERS = ("0197a5c0-7b1e-7c3a-9f52-3d1b8e6f4a21", "0197a5c0-7b1e-7c3a-9f52-3d1b8e6f4a22")
OUTBOX = ("order", "state", "fan", "item", "tried", "unit", "since (UTC)", "why")
WHY = "another order has its unit, and there is no other one to be had"
ASIDE = [(order, "compensated", "fan-1", "silver", "1, 2", 2, "2026-11-24 12:00:03", WHY) for order in ORDERS]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is shown in a terminal of 80 columns."""
    return _shown(monkeypatch, terminal=True)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is written to a pipe; rich takes that for 80 columns too."""
    return _shown(monkeypatch, terminal=False)


def _shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=terminal, color_system=None, legacy_windows=False)
    monkeypatch.setattr(show, "_console", console)
    return out


def test_what_does_not_fit_is_shown_as_lists(terminal: io.StringIO) -> None:
    """Given orders with all there is to tell / When they are shown in 80 columns / Then each name stands before its
    value, and the orders' numbers can be copied."""
    show.table(OUTBOX, ASIDE)
    lines = terminal.getvalue().splitlines()
    assert [line.split() for line in lines if line.startswith("order")] == [["order", order] for order in ORDERS]
    assert f"why          {WHY}" in lines


def test_a_long_text_folds_between_words(terminal: io.StringIO) -> None:
    """Given a number and a text / When both don't fit / Then the text folds and the number stands whole."""
    show.table(("order", "why"), [(ORDERS[0], WHY)])
    lines = [line.rstrip() for line in terminal.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines[2].startswith(f"{ORDERS[0]}  another order has")
    assert " ".join(" ".join(lines[2:]).split()) == f"{ORDERS[0]} {WHY}"


def test_a_pipe_has_a_line_for_each_row(pipe: io.StringIO) -> None:
    """Given orders with all there is to tell / When they go into a pipe / Then each is one line, for grep."""
    show.table(OUTBOX, ASIDE)
    for order in ORDERS:
        (line,) = [line for line in pipe.getvalue().splitlines() if order in line]
        assert line.endswith(WHY)


def test_the_audit_fits(terminal: io.StringIO) -> None:
    """Given a large sale / When its audit is shown in 80 columns / Then it is a table with every header whole."""
    item = ItemAudit("silver", UnitPool.PUBLIC, 100_000, 60_000, 0, 120, 39_880, 0, (), (), (), 0)
    show.audit_table(Audit("mi3", (item,), 0))
    lines = terminal.getvalue().splitlines()
    assert lines[1].split() == ["item", "loaded", "free", "moving", "outbox", "live", "returning", "held", "off", "by"]
    assert "silver 100,000 60,000 0 120 39,880 0 0 0" in " ".join(lines[3].split())


def results_of(*items: dict[str, Any]) -> dict[str, Any]:
    """Results of a sale of these items."""
    return {"sale": "mi3", "currency": "CNY", "items": items, "channels": [], "last_accepted_ms": 1_764_000_000_000,
            "payments": {"refund_due": {"payments": 0, "amount_minor": 0}}}  # fmt: skip


def test_the_last_unit_is_the_last_one(terminal: io.StringIO) -> None:
    """Given two items / When one has units left, then none / Then the last order is told, then the last unit."""
    names = ("paid", "fans", "expired", "cancelled", "refunded", "refused", "amount_minor")
    gone, left = ({"item": "a", "loaded": 2, "sold": sold, **dict.fromkeys(names, 0)} for sold in (2, 1))
    results.shown(results_of(gone, left))
    assert "The last order was accepted at 2025-11-24 16:00:00 UTC." in terminal.getvalue()
    assert "The last unit went" not in terminal.getvalue()
    results.shown(results_of(gone, gone))
    assert "The last unit went at 2025-11-24 16:00:00 UTC." in terminal.getvalue()


def test_the_results_fit(terminal: io.StringIO) -> None:
    """Given a large sale / When its results are shown in 80 columns / Then no line is longer, and no header is cut."""
    item = dict.fromkeys(("loaded", "sold", "paid", "fans", "expired", "cancelled", "refunded", "refused"), 100_000)
    results.shown(results_of({"item": "silver", **item, "amount_minor": 10**10}))
    told = terminal.getvalue()
    assert max(map(len, told.splitlines())) <= 80
    for header in ("cancelled", "refunded", "amount (minor)"):
        assert header in told


def test_a_rehearsal_tells_its_faults(terminal: io.StringIO) -> None:
    """Given a rehearsal with a fault, and an order lost in it / When it is shown / Then the fault with its words and
    what was seen, the lost order by its number, and a reason with [brackets] as it is."""
    numbers: defaultdict[str, Any] = defaultdict(int)
    fault = {"name": "F4", "words": "Valkey killed -9", "at_s": 3.0, "healed_at_s": 4.5,
             "observed": {"in_flight": {"presses": 3, "outbox": 4}, "next_win_s": 0.8, "killed": 1}}  # fmt: skip
    rehearse.shown_one({
        "scenario": "faults", "scale": 1.0, "seed": 7, "units": numbers, "orders": numbers, "seconds": numbers,
        "attempts": {"answered": 1, "by_outcome": {}}, "published": {}, "rates": numbers, "peak": numbers,
        "latency_ms": {"purchase": numbers}, "sold_out_bound_ms": numbers, "audit": {"balanced": True},
        "faults": [fault], "lost_tail": [ORDERS[0]], "verdict": "fail", "reasons": ["[/x] broke"],
        "logs": "kept/logs",
    })  # fmt: skip
    told = terminal.getvalue()
    assert ["F4 Valkey killed -9", "3", "3 + 4", "0.8", "killed 1"] in [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in told.splitlines()
    ]
    for words in (f"nowhere: {ORDERS[0]}", "[/x] broke", "kept/logs"):
        assert words in told


def test_many_rehearsals_fit(terminal: io.StringIO) -> None:
    """Given rehearsals with a fault each / When their table is shown in 80 columns / Then no word of it is broken, and
    what is the same in all is said once."""
    lines = []
    for fault, wins in (("F5", 1_234), ("stop-postgres", 2_345_678)):
        observed = {"in_flight": {"presses": 64, "outbox": wins}, "wins_by_level": {"accepted": wins, "confirmed": 1}}
        result = {"verdict": "pass", "faults": [{"observed": observed}], "orders": {"lost": 0}}
        options = Options(scale=1.0, seed=3, ack="accepted", topology="cluster", faults=(fault,))
        lines.append(runs.Line("faults", options, result, took_s=20.0))
    runs.shown(lines, show._console)
    told = terminal.getvalue()
    assert "in all: topology cluster, ack accepted, seed 3, next win s -, lost 0" in told
    for words in ("stop-postgres", "64 + 2345678", "2,345,678", "2 runs, 0 failed"):
        assert words in told


def test_no_rows_and_no_broken_marks(terminal: io.StringIO) -> None:
    """Given no rows, and cells with [brackets] / Then the headers stand alone, and the brackets as they are."""
    show.table(("a", "b"), [])
    show.table(("a", "b"), [("[/x]", "[red]")])
    assert "[/x]  [red]" in terminal.getvalue()
