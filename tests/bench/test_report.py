"""The report's form, which others read, and its table."""

import io
import json
from typing import Any, Final

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from rich.console import Console

from flashsale.bench import Report, print_report
from flashsale.bench.report import TARGETS, Metric, compared
from flashsale.bench.rounds import Run


class Strict(BaseModel):
    """Nothing more and nothing else than what is named."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ReferenceForm(Strict):
    """What a figure is compared with."""

    name: str
    value: float


class ConditionsForm(BaseModel):
    """What is said at least; each suite says more."""

    commit: str
    versions: dict[str, str]
    machine: dict[str, Any]


class MetricForm(Strict):
    """One figure, as shared with those who read it, and the conditions beside it."""

    value: float
    unit: str
    reference: ReferenceForm
    ratio: float
    rounds: int
    conditions: ConditionsForm


FORM: Final = TypeAdapter(dict[str, dict[str, MetricForm]])
CONDITIONS: Final = {"commit": "abc", "versions": {"python": "3.11"}, "machine": {"cores": 2}}


def sample() -> Report:
    """Two suites, three metrics."""
    metrics = compared(
        "engine",
        "wins",
        ours=[Run(1000, 0.01, 0.005), Run(1000, 0.02, 0.006), Run(1000, 0.04, 0.007)],
        reference=[Run(100, 0.01, 0.003), Run(100, 0.02, 0.004), Run(100, 0.02, 0.005)],
        reference_name="one call each",
        unit="wins/s",
        conditions={"generator": "none"},
    )
    memory = Metric("memory", "reservation", 8.4, "bytes", "plain SET", 67.2, 0.125, 3)
    return Report([*metrics, memory], CONDITIONS)


def test_json_has_the_form_that_others_read() -> None:
    """Given a report / When it is written as JSON / Then it has the form, and says conditions with each number."""
    data = json.loads(json.dumps(sample().as_data()))

    FORM.validate_python(data)
    assert list(data) == ["engine", "memory"]
    assert data["engine"]["wins"]["conditions"]["commit"] == "abc"
    assert data["engine"]["wins"]["conditions"]["generator"] == "none"
    del data["memory"]["reservation"]["ratio"]
    with pytest.raises(ValidationError):
        FORM.validate_python(data)


def test_value_reference_and_ratio_are_medians_of_the_rounds() -> None:
    """Given three rounds / Then value and reference are medians, and so is the ratio of each round."""
    wins = sample().as_data()["engine"]["wins"]

    assert (wins["value"], wins["reference"]["value"], wins["ratio"]) == (50_000, 5_000, 10)
    assert wins["conditions"]["ratio_by_round"] == [10, 10, 5]
    assert wins["rounds"] == 3


def test_a_slow_minute_does_not_make_the_ratio() -> None:
    """Given a machine that was slow in another half of the rounds for each / Then the ratio is still the true one."""
    ours = [Run(100, seconds, None) for seconds in (1.0, 1.0, 1.0, 4.0, 4.0)]
    reference = [Run(50, seconds, None) for seconds in (1.0, 1.0, 4.0, 4.0, 4.0)]
    (metric,) = compared(
        "http", "purchase", ours=ours, reference=reference, reference_name="x", unit="requests/s", conditions={}
    )
    assert (metric.value, metric.reference_value) == (100, 12.5)
    assert metric.ratio == 2


def test_cpu_stands_beside_the_rate() -> None:
    """Given rounds with CPU seconds / Then microseconds per operation are a metric of their own, else there is none."""
    cpu = sample().as_data()["engine"]["wins_cpu"]
    assert (cpu["value"], cpu["unit"], cpu["reference"]["value"]) == (6, "µs of CPU per win", 40)
    assert cpu["ratio"] == 0.15

    without = compared(
        "engine", "wins", ours=[Run(1, 1, None)], reference=[Run(1, 1, 1)], reference_name="x", unit="wins/s",
        conditions={},
    )  # fmt: skip
    assert [metric.name for metric in without] == ["wins"]


def test_the_table_shows_reference_ratio_and_target() -> None:
    """Given a report / When it is printed for people / Then each line has its reference, ratio and target."""
    written = io.StringIO()
    print_report(sample(), Console(file=written, width=160))

    (line,) = [line for line in written.getvalue().splitlines() if "engine.wins " in line]
    assert all(words in line for words in ("50,000", "one call each", "5,000", "10.00 ×", TARGETS["engine.wins"]))
    assert "commit: abc" in written.getvalue()
    assert "generator none" in written.getvalue()


def test_the_table_warns_when_something_else_held_the_server_back() -> None:
    """Given a server that had half its core / When the table is printed / Then it says so; else it doesn't."""
    for share, warned in ((0.5, True), (0.95, False)):
        conditions = {"busy": {"purchase": 0.97, "bare ASGI": share}}
        metric = Metric("http", "purchase", 1.0, "requests/s", "bare ASGI", 2.0, 0.5, 5, conditions)
        written = io.StringIO()
        print_report(Report([metric], CONDITIONS), Console(file=written, width=160))
        assert ("Held back" in written.getvalue()) is warned
