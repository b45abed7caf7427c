"""The history of benches: what is added is read back, what is none is named, and what is drawn are the targets."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from flashsale.bench import history, plot
from flashsale.bench.report import TARGETS, Metric, Report
from flashsale.errors import BadInputError

NOON: Final = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)


def report(ratio: float, *, processor: str = "a core") -> Report:
    """A bench of three metrics, of which one has no target."""
    metrics = [
        Metric("http", "purchase", 100.0, "requests/s", "bare", 200.0, ratio, 5),
        Metric("http", "purchase_cpu", 30.0, "µs", "bare", 20.0, 1.5, 5),
        Metric("memory", "reservation", 8.5, "bytes", "plain", 53.0, 0.16, 5),
    ]
    return Report(metrics, {"commit": f"c{ratio}", "machine": {"processor": processor}})


def test_what_is_added_is_read_back_in_order(tmp_path: Path) -> None:
    """Given benches that were added, the later one first / Then they are read by time, with their figures."""
    file = tmp_path / "new" / "history.jsonl"
    for ratio, days in ((0.7, 1), (0.6, 0)):
        history.append(file, report(ratio), now=NOON + timedelta(days=days))
    first, second = history.read(file)
    assert (first.at, first.commit, first.processor) == (NOON, "c0.6", "a core")
    assert (second.metrics["http.purchase"]["ratio"], second.metrics["memory.reservation"]["value"]) == (0.7, 8.5)


@pytest.mark.parametrize("line", ["no json", "[]", "{}", '{"at":"noon","commit":"c","machine":{},"metrics":{}}'])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    """Given a history whose second line is no bench / Then the line is named."""
    file = tmp_path / "history.jsonl"
    history.append(file, report(0.6), now=NOON)
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(BadInputError, match="line 2: not a bench"):
        history.read(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """When there is no history / Then it is said how to make one."""
    with pytest.raises(BadInputError, match="--history"):
        history.read(tmp_path / "none.jsonl")


def test_a_file_that_cant_be_written_is_told(tmp_path: Path) -> None:
    """When a folder stands where the history should / Then that is said."""
    with pytest.raises(BadInputError, match="can't be written"):
        history.append(tmp_path, report(0.6))


def test_only_what_has_a_target_is_drawn(tmp_path: Path) -> None:
    """Given benches on two machines / Then each metric with a target has a line for each machine: ratios, and bytes."""
    file = tmp_path / "history.jsonl"
    for processor, ratio in (("one", 0.6), ("other", 0.8), ("one", 0.9)):
        history.append(file, report(ratio, processor=processor), now=NOON)
    drawn = plot.series(history.read(file))
    assert list(drawn) == ["http.purchase", "memory.reservation"]
    assert [ratio for _, ratio in drawn["http.purchase"]["one"]] == [0.6, 0.9]
    assert [bytes_ for _, bytes_ in drawn["memory.reservation"]["other"]] == [8.5]


def test_every_target_is_a_number() -> None:
    """Given the targets / Then each can be drawn as a line."""
    assert plot.target("http.purchase") == 0.85
    assert all(plot.target(name) > 0 for name in TARGETS)


def test_nothing_to_draw_is_told() -> None:
    """Given a history without such a metric / Then that is said."""
    with pytest.raises(BadInputError, match="nothing to draw"):
        plot.series([])
