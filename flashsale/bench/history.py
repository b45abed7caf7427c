"""The history of benches: a line of JSON for each, so that figures can be seen to move.

Each line: at (ISO 8601, UTC), commit, machine, and metrics, {full name: {value, unit, reference, ratio}}.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from flashsale import clock
from flashsale.bench.report import Report
from flashsale.errors import BadInputError


@dataclass(frozen=True, slots=True)
class Past:
    """One bench of the past. metrics: by full name, as in the file."""

    at: datetime
    commit: str
    processor: str
    metrics: Mapping[str, Mapping[str, Any]]


def append(file: Path, report: Report, *, now: datetime | None = None) -> None:
    """Add a report. Raises BadInputError when the file can't be written."""
    line = {
        "at": (now or clock.now()).isoformat(timespec="seconds"),
        "commit": report.conditions.get("commit", "unknown"),
        "machine": report.conditions.get("machine", {}),
        "metrics": {
            metric.full_name: {
                "value": metric.value,
                "unit": metric.unit,
                "reference": metric.reference_value,
                "ratio": metric.ratio,
                "rounds": metric.rounds,
            }
            for metric in report.metrics
        },
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as lines:
            lines.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    except OSError as trouble:
        raise BadInputError(f"--history: {file} can't be written: {trouble.strerror}") from trouble


def read(file: Path) -> list[Past]:
    """All benches in a file, oldest first. Raises BadInputError that names the line which is none."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as trouble:
        raise BadInputError(
            f"{file} can't be read: {trouble.strerror}; flashsale bench … --history {file}"
        ) from trouble
    return sorted(_parsed(file, lines), key=lambda one: one.at)


def _parsed(file: Path, lines: list[bytes]) -> Iterator[Past]:
    for number, line in enumerate(lines, start=1):
        try:
            data = orjson.loads(line)
            at = datetime.fromisoformat(data["at"])
            yield Past(at, data["commit"], data["machine"].get("processor", "unknown"), data["metrics"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as fault:
            raise BadInputError(f"{file}, line {number}: not a bench ({fault!r})") from fault
