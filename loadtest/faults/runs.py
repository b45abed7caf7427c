"""Rehearsals with faults, one after the other, as a table: each with servers of its own, and none ends the others."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from flashsale.errors import BadInputError, FlashsaleError
from flashsale.table import print_table
from loadtest import rehearsal, scenario
from loadtest.rehearsal import Options

COLUMNS: Final = (
    "fault", "topology", "ack", "seed", "in flight", "next win s", "wins by level", "lost", "missing", "oversold",
    "took s", "verdict",
)  # fmt: skip
FAULT_COLUMNS: Final = ("fault", "at s", "in flight", "next win s", "seen")
SEEDS_MAX: Final = 100
_TOLD_ELSEWHERE: Final = {"in_flight", "next_win_s", "wins_by_level", "lost_tail", "skipped"}
Rehearse = Callable[[str, Options], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Line:
    """One run and what became of it. result: as a rehearsal gives it; trouble that ended it is a failure too."""

    scenario: str
    options: Options
    result: Mapping[str, Any]
    took_s: float

    @property
    def verdict(self) -> str:
        """pass, fail, or skip where it can't be played here."""
        skipped = any(fault["observed"].get("skipped") for fault in self.result["faults"])
        return "skip" if skipped and self.result["verdict"] == "pass" else str(self.result["verdict"])

    @property
    def cells(self) -> tuple[str, ...]:
        """Its line of the table."""
        observed = self.result["faults"][0]["observed"] if self.result["faults"] else {}
        levels = observed.get("wins_by_level") or {}
        orders = self.result.get("orders", {})
        return (
            "+".join(self.options.faults), self.options.topology, self.options.ack, str(self.options.seed),
            *_around(observed),
            ", ".join(f"{name} {number:,}" for name, number in levels.items()),
            *(str(orders.get(name, "-")) for name in ("lost", "missing", "oversold")),
            f"{self.took_s:.0f}", self.verdict,
        )  # fmt: skip

    @property
    def lost_tail(self) -> Sequence[str]:
        """The orders that were told and are nowhere, by name."""
        return list(self.result.get("lost_tail", ()))

    def as_data(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "fault": "+".join(self.options.faults), "topology": self.options.topology, "ack": self.options.ack,
            "seed": self.options.seed, "took_s": round(self.took_s, 1), "verdict": self.verdict,
            "again": again(self.scenario, self.options), "result": self.result,
        }  # fmt: skip


def fault_cells(fault: Mapping[str, Any]) -> tuple[str, ...]:
    """One fault's line of a table of its own, below FAULT_COLUMNS. fault: as a rehearsal's result has it."""
    observed = fault["observed"]
    return f"{fault['name']} {fault['words']}", f"{fault['at_s']:g}", *_around(observed), _seen(observed)


def _around(observed: Mapping[str, Any]) -> tuple[str, str]:
    """Orders in flight when the fault began (presses, outbox), and seconds from its end to the next win."""
    flight, next_win_s = observed.get("in_flight") or {}, observed.get("next_win_s")
    return f"{flight.get('presses', '?')} + {flight.get('outbox', '?')}", "-" if next_win_s is None else str(next_win_s)


def _seen(observed: Mapping[str, Any]) -> str:
    """In short what the fault was seen to do; what has a column of its own, or many lines, is left out."""
    if observed.get("skipped"):
        return f"skipped: {observed['skipped']}"
    figures = {name: value for name, value in observed.items() if name not in _TOLD_ELSEWHERE}
    figures |= observed.get("answers", {})
    return ", ".join(
        f"{name.replace('_', ' ')} {value}"
        for name, value in figures.items()
        if isinstance(value, int | float | str) and "\n" not in str(value)
    )


def again(name: str, options: Options) -> str:
    """What a person types to have this run once more."""
    words = [f"flashsale rehearse {name}", *(f"--fault {fault}" for fault in options.faults)]
    words += [f"--topology {options.topology} --ack {options.ack} --seed {options.seed}"]
    words += [f"--scale {options.scale:g}"] if options.scale != 1.0 else []
    words += [f"--apis {options.apis}"] if options.apis != 1 else []
    words += [f"--buckets {options.buckets}"] if options.buckets is not None else []
    return " ".join(words)


def once(name: str, options: Options) -> Mapping[str, Any]:
    """One rehearsal in a folder of its own. Raises FlashsaleError."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        return rehearsal.run(scenario.load(name), options, folder=Path(folder), told=lambda phase, now: None)


def play(
    name: str, wanted: Sequence[Options], said: Callable[[str], None], *, rehearse: Rehearse = once
) -> list[Line]:  # fmt: skip
    """Play all of them, whatever becomes of one; unusable arguments alone raise, BadInputError.

    said: gets a line after each, with the reasons of one that failed.
    """
    lines = []
    for number, options in enumerate(wanted, start=1):
        began = time.monotonic()
        try:
            result = rehearse(name, options)
        except BadInputError:
            raise
        except FlashsaleError as trouble:
            result = {"verdict": "fail", "reasons": [str(trouble)], "faults": []}
        line = Line(name, options, result, time.monotonic() - began)
        lines.append(line)
        said(f"{number}/{len(wanted)}  {'  '.join(line.cells)}")
        for reason in line.result["reasons"]:
            said(f"        {reason}")
        if line.verdict == "fail":
            said(f"        again: {again(name, options)}")
        if logs := line.result.get("logs"):
            said(f"        logs: {logs}")
    return lines


def seeds_of(text: str) -> list[int]:
    """The seeds in "1-10" or "3,7,9" or both. Raises BadInputError."""
    found: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            found += range(int(first), int(last if dash else first) + 1)
    except ValueError:
        raise BadInputError(f"--seed: {text!r} must be numbers or ranges, as 1-10 or 3,7,9") from None
    if not found or len(found) > SEEDS_MAX:
        raise BadInputError(f"--seed: {text!r} has {len(found)} seeds; 1 to {SEEDS_MAX} can be played")
    return found


def shown(lines: Sequence[Line], console: Console) -> None:
    """The table, and below it the tails that were lost, by name. What is the same in all of several is said once."""
    columns = [*zip(*(line.cells for line in lines), strict=True)]
    same = {at for at, column in enumerate(columns) if len(lines) > 1 and len(set(column)) == 1}
    if same:
        console.print(
            "in all: " + ", ".join(f"{COLUMNS[at]} {columns[at][0]}" for at in sorted(same)),
            highlight=False,
            soft_wrap=True,
        )
    shown_columns = [name for at, name in enumerate(COLUMNS) if at not in same]
    rows = [[cell for at, cell in enumerate(line.cells) if at not in same] for line in lines]
    print_table(console, shown_columns, rows)
    for line in lines:
        if line.lost_tail:
            where = " ".join(line.cells[:4])
            console.print(
                f"lost in {where}: {', '.join(line.lost_tail)}", highlight=False, markup=False, soft_wrap=True
            )
    failed = sum(line.verdict == "fail" for line in lines)
    minutes = sum(line.took_s for line in lines) / 60
    console.print(f"{len(lines)} runs, {failed} failed, {minutes:.1f} minutes", highlight=False)
