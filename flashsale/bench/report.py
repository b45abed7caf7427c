"""The report of a bench: its form as JSON, which others read, and as a table for people.

The form is `{suite: {metric: {"value", "unit", "reference": {"name", "value"}, "ratio", "rounds"}}}`; names and
meanings in it don't change. `conditions` stands beside them in each metric, because a number without its conditions
says nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from rich.console import Console

from flashsale.bench.rounds import Run, cpu_ratios, median_cpu_us, median_rate, ratios
from flashsale.table import print_table

# The suites and metrics that have a target, with its words. "≤" where less is better.
TARGETS: Final[Mapping[str, str]] = {
    "http.purchase": "≥ 0.85",
    "http.purchase_usual": "≥ 4",
    "http.refusal": "≥ 0.95",
    "edge.sold_out": "≥ 0.85",
    "engine.wins": "≥ 5",
    "engine.wins_pipelined": "≥ 2.5",
    "engine.losses": "≥ 8",
    "engine.losses_pipelined": "≥ 4",
    "writer.landed": "≥ 0.8",
    "memory.reservation": "≤ 10 bytes",
    "scale.buckets": "≤ 1.15",
    "scale.processes": "≤ 1.15",
    "crowded.reservation": "≤ 10 bytes",
    "crowded.wins": "≥ 0.9",
}
COLUMNS: Final = ("metric", "value", "unit", "reference", "its value", "ratio", "target", "rounds")
BUSY_MIN: Final = 0.8
_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure with the reference that was measured beside it. value, reference_value: medians of the rounds.

    ratio: the median of the rounds' own ratios, not the ratio of the medians: the two of one round met the same
    machine, so that a slow minute, which hits whole rounds, moves it least.
    rounds: how many each of the two had. conditions: how it was measured, in plain JSON values.
    """

    suite: str
    name: str
    value: float
    unit: str
    reference_name: str
    reference_value: float
    ratio: float
    rounds: int
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """suite.metric"""
        return f"{self.suite}.{self.name}"


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one bench. conditions: those that hold for all of them."""

    metrics: Sequence[Metric]
    conditions: Mapping[str, Any]

    def as_data(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The form that others read, as plain values."""
        data: dict[str, dict[str, dict[str, Any]]] = {}
        for metric in self.metrics:
            data.setdefault(metric.suite, {})[metric.name] = {
                "value": round(metric.value, _DIGITS),
                "unit": metric.unit,
                "reference": {"name": metric.reference_name, "value": round(metric.reference_value, _DIGITS)},
                "ratio": round(metric.ratio, _DIGITS),
                "rounds": metric.rounds,
                "conditions": {**self.conditions, **metric.conditions},
            }
        return data


def compared(
    suite: str,
    name: str,
    *,
    ours: Sequence[Run],
    reference: Sequence[Run],
    reference_name: str,
    unit: str,
    conditions: Mapping[str, Any],
) -> list[Metric]:
    """The metric of two contenders' rates, and `<name>_cpu` of their CPU where the system tells it."""
    by_round = ratios(ours, reference)
    said = {**conditions, "ratio_by_round": [round(ratio, _DIGITS) for ratio in by_round]}
    rates = (median_rate(ours), unit, reference_name, median_rate(reference), median(by_round))
    rate = Metric(suite, name, *rates, len(ours), said)
    cpu, reference_cpu, cpu_by_round = median_cpu_us(ours), median_cpu_us(reference), cpu_ratios(ours, reference)
    if cpu is None or reference_cpu is None or not cpu_by_round:
        return [rate]
    cpus = (cpu, f"µs of CPU per {unit.removesuffix('s/s')}", reference_name, reference_cpu, median(cpu_by_round))
    return [rate, Metric(suite, f"{name}_cpu", *cpus, len(ours), conditions)]


def print_report(report: Report, console: Console) -> None:
    """The report for people: one line a metric, then the conditions."""
    rows = [
        (one.full_name, shown(one.value), one.unit, one.reference_name, shown(one.reference_value),
         f"{one.ratio:.2f} ×", TARGETS.get(one.full_name, ""), one.rounds)
        for one in report.metrics
    ]  # fmt: skip
    right = ("value", "its value", "ratio", "target")
    print_table(console, COLUMNS, rows, title="flashsale bench", right=right)
    for name, value in report.conditions.items():
        words = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, Mapping) else str(value)
        console.print(f"{name}: {words}", highlight=False, soft_wrap=True)
    for suite, conditions in _by_suite(report).items():
        console.print(f"{suite}: {conditions}", highlight=False, soft_wrap=True)
    if held_back := [metric.full_name for metric in report.metrics if _held_back(metric)]:
        console.print(
            f"Held back by the generator or by others on this machine: {', '.join(held_back)}. "
            "Their CPU figures say more than their rates.",
            highlight=False,
            soft_wrap=True,
        )


def shown(value: float) -> str:
    """A number as people read it: whole above a hundred, else with two digits behind the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def _held_back(metric: Metric) -> bool:
    """Whether one of the two had so little of its core that its rate says more about the machine than about it."""
    shares = metric.conditions.get("busy", {}).values()
    return any(share is not None and share < BUSY_MIN for share in shares)


def _by_suite(report: Report) -> dict[str, str]:
    """The conditions of each suite's first metric, in words."""
    said: dict[str, str] = {}
    for metric in report.metrics:
        words = ", ".join(
            f"{key} {value}" for key, value in metric.conditions.items() if key not in {"ratio_by_round", "busy"}
        )
        said.setdefault(metric.suite, words)
    return said
