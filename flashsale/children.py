"""Processes of ours that this one starts, starts again when they have ended, and ends with itself."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flashsale.embedded import die_with_parent
from flashsale.errors import SurroundingsError

_STOP_S: Final = 15.0
_LOG_LINES: Final = 8
_AGAIN_S: Final = 0.5  # between two starts of one child


@dataclass(slots=True)
class Child:
    """One of them. log: where its output goes, None: where ours goes; killed: somebody has ended it, so its end is no
    trouble."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    process: "subprocess.Popen[bytes]"
    log: Path | None
    killed: bool = False
    started_again: int = 0
    again_at: float = 0.0

    def tail(self) -> str:
        """The last lines that it said, where that is kept."""
        said = self.log.read_text(errors="replace") if self.log else ""
        return "\n".join(said.splitlines()[-_LOG_LINES:])


class Children:
    """All of them, by name. Every one ends when this process ends, however it ends."""

    def __init__(self) -> None:
        self._by_name: dict[str, Child] = {}

    @property
    def names(self) -> list[str]:
        """In the order of their start."""
        return list(self._by_name)

    def find(self, name: str) -> Child | None:
        """The child of that name."""
        return self._by_name.get(name)

    def spawn(self, name: str, *arguments: str, environment: Mapping[str, str], log: Path | None = None) -> Child:
        """Start `flashsale` with these arguments."""
        if log is not None:
            log.unlink(missing_ok=True)
        child = Child(name, arguments, environment, _run(arguments, environment, log), log)
        self._by_name[name] = child
        return child

    def kill(self, name: str) -> None:
        """End one at once, as by kill -9; check() starts it again. Nothing when it has ended already."""
        child = self._by_name[name]
        child.killed = True
        child.process.kill()
        child.process.wait()

    def check(self, *, tolerated: Callable[[Child, int], bool] = lambda child, status: False) -> None:
        """Start again what was killed, and what ended with a status that is tolerated.

        Raises SurroundingsError when one has ended otherwise.
        """
        for child in list(self._by_name.values()):
            status = child.process.poll()
            if status is None:
                continue
            if not child.killed and not tolerated(child, status):
                raise SurroundingsError(f"The {child.name} process ended by itself ({status}):\n{child.tail()}")
            if time.monotonic() >= child.again_at:
                child.process, child.killed = _run(child.arguments, child.environment, child.log), False
                child.started_again += 1
                child.again_at = time.monotonic() + _AGAIN_S

    def stop(self, *, together: bool = False) -> None:
        """Tell each to end, in the reverse order of their start, and wait for it; one that does not end is killed.

        together: all are told before the first is waited for.
        """
        children = list(reversed(self._by_name.values()))
        for child in children if together else ():
            _tell(child)
        for child in children:
            if not together:
                _tell(child)
            try:
                child.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            self._by_name.pop(child.name, None)


def _tell(child: Child) -> None:
    if child.process.poll() is None:
        child.process.send_signal(signal.SIGTERM)
        child.process.send_signal(signal.SIGCONT)  # one that a fault holds could not hear it


def _run(arguments: Sequence[str], environment: Mapping[str, str], log: Path | None) -> "subprocess.Popen[bytes]":
    output = None if log is None else log.open("ab")
    try:
        return subprocess.Popen(  # noqa: S603 -- our own program
            [sys.executable, "-m", "flashsale", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if log is None else subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; we then stop them in order
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 -- no threads of ours hold locks here
        )
    finally:
        if output is not None:
            output.close()
