"""Processes: which core they may use, and how much CPU they have used by their own clock.

Both are Linux's; elsewhere nothing is pinned and no CPU figure is given.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_STOP_S_MAX = 10.0
_CLOCK_OF_PROCESS = 2  # Linux: the clock that counts the CPU time of all threads of a process


@dataclass(frozen=True, slots=True)
class Cores:
    """Two cores: one for what is measured, one for what loads it. Both None where nothing is pinned."""

    measured: int | None
    loading: int | None

    @property
    def pinned(self) -> bool:
        """Whether there are two cores to pin to."""
        return self.measured is not None


def two_cores() -> Cores:
    """The first two cores that this process may use, when there are two."""
    if sys.platform != "linux":
        return Cores(None, None)
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else Cores(None, None)


def pin(pid: int, core: int | None) -> None:
    """Keep a process, with all its threads and the children it makes later, on one core. None: leave it alone."""
    if core is None or sys.platform != "linux":
        return
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # a thread may end while we look
            os.sched_setaffinity(int(thread.name), {core})


def end(process: "subprocess.Popen[bytes]") -> None:
    """Tell a process to end and wait for it; one that does not is killed."""
    process.terminate()
    try:
        process.wait(_STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def children_of(pid: int) -> list[int]:
    """The processes that this one has started and that are still there. Linux only; elsewhere none are known."""
    if sys.platform != "linux":
        return []
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def pinned_here(core: int | None) -> Iterator[None]:
    """Keep this process on one core, and let it go again at the end."""
    if core is None or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    pin(os.getpid(), core)
    try:
        yield
    finally:
        for thread in Path(f"/proc/{os.getpid()}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), before)


def cpu_s(pids: Sequence[int]) -> float | None:
    """CPU seconds that these processes have used so far, all threads, user and system. None where it isn't told."""
    if sys.platform != "linux":
        return None
    return sum(time.clock_gettime_ns((~pid << 3) | _CLOCK_OF_PROCESS) for pid in pids) / 1e9
