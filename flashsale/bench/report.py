"""The report of a bench: its form as JSON, which others read, and as a table for people.

The form is `{suite: {metric: {"value", "unit", "reference": {"name", "value"}, "ratio", "rounds"}}}`; names and
meanings in it don't change. `conditions` stands beside them in each metric, because a number without its conditions
says nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table

from flashsale.bench.rounds import Run, median_cpu_us, median_rate, ratios

# The suites and metrics that have a target, with its words. "≤" where less is better.
TARGETS: Final[Mapping[str, str]] = {
    "http.purchase": "≥ 0.85",
    "http.purchase_usual": "≥ 4",
    "http.refusal": "≥ 0.95",
    "engine.wins": "≥ 5",
    "engine.wins_pipelined": "≥ 2.5",
    "engine.losses": "≥ 8",
    "engine.losses_pipelined": "≥ 4",
    "writer.landed": "≥ 0.8",
    "memory.reservation": "≤ 10 bytes",
}
_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure with the reference that was measured beside it. rounds: how many each of the two had.

    conditions: how it was measured, in plain JSON values.
    """

    suite: str
    name: str
    value: float
    unit: str
    reference_name: str
    reference_value: float
    rounds: int
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """suite.metric"""
        return f"{self.suite}.{self.name}"

    @property
    def ratio(self) -> float:
        """The value over the reference's."""
        return self.value / self.reference_value


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

    def as_json(self) -> str:
        """The form that others read, as text."""
        return orjson.dumps(self.as_data(), option=orjson.OPT_INDENT_2).decode()


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
    rate = Metric(suite, name, median_rate(ours), unit, reference_name, median_rate(reference), len(ours), said)
    cpu, reference_cpu = median_cpu_us(ours), median_cpu_us(reference)
    if cpu is None or reference_cpu is None:
        return [rate]
    cpu_unit = f"µs of CPU per {unit.removesuffix('s/s')}"
    return [
        rate,
        Metric(suite, f"{name}_cpu", cpu, cpu_unit, reference_name, reference_cpu, len(ours), conditions),
    ]


def print_table(report: Report, console: Console) -> None:
    """The report for people: one line a metric, then the conditions."""
    table = Table(title="flashsale bench")
    for heading in ("metric", "value", "unit", "reference", "its value", "ratio", "target", "rounds"):
        table.add_column(
            heading,
            justify="left" if heading in {"metric", "unit", "reference"} else "right",
            overflow="fold",
        )
    for metric in report.metrics:
        table.add_row(
            metric.full_name,
            shown(metric.value),
            metric.unit,
            metric.reference_name,
            shown(metric.reference_value),
            f"{metric.ratio:.2f} ×",
            TARGETS.get(metric.full_name, ""),
            str(metric.rounds),
        )
    console.print(table)
    for name, value in report.conditions.items():
        words = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, Mapping) else str(value)
        console.print(f"{name}: {words}", highlight=False)
    for suite, conditions in _by_suite(report).items():
        console.print(f"{suite}: {conditions}", highlight=False)


def shown(value: float) -> str:
    """A number as people read it: whole above a hundred, else with two digits behind the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def _by_suite(report: Report) -> dict[str, str]:
    """The conditions of each suite's first metric, in words."""
    said: dict[str, str] = {}
    for metric in report.metrics:
        words = ", ".join(
            f"{key} {value}" for key, value in metric.conditions.items() if key not in {"ratio_by_round", "busy"}
        )
        said.setdefault(metric.suite, words)
    return said
