"""Starts crowd processes, follows how far they are, and gathers what they saw."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import orjson

from flashsale.embedded import die_with_parent
from flashsale.errors import FlashsaleError
from loadtest.job import Job
from loadtest.records import Seen, read

_PHASES: Final = ("reserving", "waiting", "pressing", "paying", "done")


class Crowds:
    """The processes of one crowd. Use as a context: leaving it ends them."""

    def __init__(
        self, job: Job, *, processes: int, jwt_key: str, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._environment = dict(environment or {})
        self._jobs = share_out(job, processes=processes, folder=folder)
        self._jwt_key = jwt_key
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._told: list[dict[str, Any]] = [{} for _ in self._jobs]
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> "Crowds":
        for at, job in enumerate(self._jobs):
            Path(job.out).mkdir(parents=True)
            file = self._folder / f"job-{at}.json"
            job.write(file)
            with (self._folder / f"crowd-{at}.log").open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 -- our own program
                    [sys.executable, "-m", "loadtest.crowd", str(file)],
                    env=os.environ | self._environment | {"CROWD_JWT_KEY": self._jwt_key},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 -- no threads hold locks here
                )
            self._processes.append(process)
        for at, process in enumerate(self._processes):
            reader = threading.Thread(target=self._follow, args=(at, process), daemon=True)
            reader.start()
            self._readers.append(reader)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process, reader in zip(self._processes, self._readers, strict=True):
            process.wait()
            reader.join()
            assert process.stdout is not None
            process.stdout.close()

    @property
    def running(self) -> bool:
        """Whether one still runs. Raises FlashsaleError, with what it said, when one has failed."""
        for at, process in enumerate(self._processes):
            if process.poll():
                log = (self._folder / f"crowd-{at}.log").read_text(errors="replace")
                raise FlashsaleError(f"A crowd process failed:\n{log[-2000:]}")
        return any(process.poll() is None for process in self._processes)

    @property
    def told(self) -> dict[str, Any]:
        """How far all of them are, together."""
        total: Counter[str] = Counter()
        phases = [told.get("phase", _PHASES[0]) for told in self._told]
        for told in self._told:
            total.update({key: value for key, value in told.items() if isinstance(value, int)})
        return {**total, "phase": min(phases, key=_PHASES.index)}

    def leave(self) -> None:
        """Let them go home, once nothing is to be had any more."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGUSR1)

    def seen(self) -> Seen:
        """What they saw, once all have ended."""
        return read(Path(job.out) for job in self._jobs)

    def _follow(self, at: int, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._told[at] = orjson.loads(line)


def share_out(job: Job, *, processes: int, folder: Path) -> Sequence[Job]:
    """The job cut into so many, each with its own fans, connections and seed."""
    return [_share(job, at, processes=processes, folder=folder) for at in range(processes)]


def _share(job: Job, at: int, *, processes: int, folder: Path) -> Job:
    def cut(number: int) -> tuple[int, int]:
        return number * at // processes, number * (at + 1) // processes

    (first, last), (late_first, late_last) = cut(job.last - job.first), cut(job.without_right)
    return replace(
        job,
        first=job.first + first,
        last=job.first + last,
        without_right=late_last - late_first,
        connections=max(1, job.connections // processes),
        seed=job.seed * 1000 + at,
        out=str(folder / f"seen-{at}"),
    )
