"""A child of a slot: a forked process that runs tests until one fails, and says how far it is.

Only a test that failed is a failure. A child that dies, or a test that does not end, is trouble, which proves nothing.
"""

import json
import os
import select
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.mutants.watch import Watch

SILENT_S_MAX: Final = 150.0  # longer than a test may take
_TIMED_OUT: Final = "from pytest-timeout"


@dataclass(slots=True)
class Told:
    """What a child said. began: the last test that it began; failed: what that test said; trouble: why there is no
    verdict on it; watched: test, seconds and places of those that passed, where they were watched."""

    began: str = ""
    failed: str | None = None
    trouble: str = ""
    watched: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False

    def take(self, line: dict[str, Any]) -> None:
        """Note one line."""
        self.began = line.get("began", self.began)
        self.watched += [line["watched"]] if "watched" in line else []
        self.ended = self.ended or "ended" in line
        self.failed = line.get("failed", self.failed)
        self.trouble = line.get("trouble", self.trouble)


class Reports:
    """The pytest plugin that keeps what became of a test."""

    def __init__(self) -> None:
        self.failed: str | None = None
        self.seconds = 0.0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the line that says what the first failure was, and how long all took."""
        self.seconds += report.duration
        if report.failed and self.failed is None:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = str(crash.message if crash else report.longrepr).strip()
            self.failed = said.splitlines()[0][:160] if said else ""


def run(items: Sequence[pytest.Item], session: pytest.Session, reports: Reports, *, watch: Watch | None = None) -> Told:
    """Run these tests in a child until one fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _live(items, session, reports, watch, writing)
    os.close(writing)
    try:
        return _listened(reading)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _listened(reading: int) -> Told:
    """All that it says, until it ends or has been silent for too long."""
    told, rest = Told(), b""
    while not told.ended:
        if not select.select([reading], [], [], SILENT_S_MAX)[0]:
            told.trouble = f"it did not end within {SILENT_S_MAX:.0f} s"
            break
        part = os.read(reading, 1 << 16)
        if not part:
            told.trouble = told.trouble or "the tests' process died"
            break
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            told.take(json.loads(line))
    return told


def _live(
    items: Sequence[pytest.Item], session: pytest.Session, reports: Reports, watch: Watch | None, writing: int
) -> None:
    """The child's whole life."""

    def say(**line: object) -> None:
        os.write(writing, (json.dumps(line) + "\n").encode())

    try:
        if watch:
            watch.attach()
        for item, following in zip(items, [*items[1:], None], strict=True):
            say(began=item.nodeid)
            reports.seconds = 0.0
            if watch:
                watch.begin()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if reports.failed is not None:
                session._setupstate.teardown_exact(None)
                say(**{"trouble" if _TIMED_OUT in reports.failed else "failed": reports.failed})
                break
            if watch:
                say(watched={"test": item.nodeid, "seconds": round(reports.seconds, 3), "places": watch.end()})
        say(ended=True)
    except BaseException as trouble:  # noqa: BLE001 (it is told, and is no verdict)
        say(trouble=repr(trouble)[-300:], ended=True)
    os._exit(0)
