"""The report's form, which others read, and its table."""

import io
import json
from typing import Any, Final

from jsonschema import Draft202012Validator
from rich.console import Console

from flashsale.bench import Report, print_table
from flashsale.bench.report import TARGETS, Metric, compared
from flashsale.bench.rounds import Run

# The form as shared with those who read it: {suite: {metric: {...}}}. More may stand in a metric, nothing less.
FORM: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {
            "type": "object",
            "required": ["value", "unit", "reference", "ratio", "rounds"],
            "properties": {
                "value": {"type": "number"},
                "unit": {"type": "string", "minLength": 1},
                "reference": {
                    "type": "object",
                    "required": ["name", "value"],
                    "properties": {"name": {"type": "string", "minLength": 1}, "value": {"type": "number"}},
                    "additionalProperties": False,
                },
                "ratio": {"type": "number"},
                "rounds": {"type": "integer", "minimum": 1},
                "conditions": {"type": "object", "required": ["commit", "versions", "machine"]},
            },
            "additionalProperties": False,
        },
    },
}
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
    memory = Metric("memory", "reservation", 8.4, "bytes", "plain SET", 67.2, 3)
    return Report([*metrics, memory], CONDITIONS)


def valid(data: object) -> bool:
    """Whether the data has the form."""
    return bool(Draft202012Validator(FORM).is_valid(data))


def test_json_has_the_form_that_others_read() -> None:
    """Given a report / When it is written as JSON / Then it has the form, and says conditions with each number."""
    data = json.loads(sample().as_json())

    assert valid(data)
    assert list(data) == ["engine", "memory"]
    assert data["engine"]["wins"]["conditions"]["commit"] == "abc"
    assert data["engine"]["wins"]["conditions"]["generator"] == "none"
    del data["memory"]["reservation"]["ratio"]
    assert not valid(data), "the form must not let a metric without a ratio pass"


def test_the_ratio_is_of_the_medians() -> None:
    """Given three rounds / Then value and reference are medians, and the ratio is one over the other."""
    wins = sample().as_data()["engine"]["wins"]

    assert (wins["value"], wins["reference"]["value"], wins["ratio"]) == (50_000, 5_000, 10)
    assert wins["conditions"]["ratio_by_round"] == [10, 10, 5]
    assert wins["rounds"] == 3


def test_cpu_stands_beside_the_rate() -> None:
    """Given rounds with CPU seconds / Then microseconds per operation are a metric of their own, else there is none."""
    cpu = sample().as_data()["engine"]["wins_cpu"]
    assert (cpu["value"], cpu["unit"], cpu["reference"]["value"]) == (6, "µs of CPU per win", 40)

    without = compared(
        "engine", "wins", ours=[Run(1, 1, None)], reference=[Run(1, 1, 1)], reference_name="x", unit="wins/s",
        conditions={},
    )  # fmt: skip
    assert [metric.name for metric in without] == ["wins"]


def test_the_table_shows_reference_ratio_and_target() -> None:
    """Given a report / When it is printed for people / Then each line has its reference, ratio and target."""
    written = io.StringIO()
    print_table(sample(), Console(file=written, width=160))

    (line,) = [line for line in written.getvalue().splitlines() if "engine.wins " in line]
    assert all(words in line for words in ("50,000", "one call each", "5,000", "10.00 ×", TARGETS["engine.wins"]))
    assert "commit: abc" in written.getvalue()
    assert "generator none" in written.getvalue()
