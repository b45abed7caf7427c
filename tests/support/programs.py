"""Whole programs as a person runs them, in a folder of the test's own, and what they leave behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

import flashsale
from flashsale.config import ENV_PREFIX
from flashsale.embedded import die_with_parent
from flashsale.embedded_folder import LASTING, StateFolder


@dataclass(slots=True)
class Program:
    """A running command. Its output goes into files, so that nothing it says can block it."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    def wait(self, timeout_s: float = 120) -> int:
        """Its exit status."""
        return self.process.wait(timeout_s)

    @property
    def said(self) -> str:
        """What it has written to standard output so far."""
        return self.out.read_text(encoding="utf-8")


@contextmanager
def running(folder: Path, *arguments: str, **environment: str) -> Iterator[Program]:
    """flashsale with these arguments, in a new process and in this folder; killed at the end if it still runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    ours = {"PYTHONPATH": str(Path(flashsale.__file__).parent.parent), "COLUMNS": "200", "TERM": "dumb"}
    ours["PWD"] = str(folder)  # as a shell would set it; every process of the command inherits it
    follow = die_with_parent(signal.SIGTERM)

    def before() -> None:
        follow()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it, and would pass that on

    out, err = folder / "out.txt", folder / "err.txt"
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "flashsale", *arguments], cwd=folder, env=kept | ours | environment,
            stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file, start_new_session=True,
            preexec_fn=before,  # noqa: PLW1509 (it does little)
        )  # fmt: skip
    try:
        yield Program(process, out, err)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def processes_naming(*folders: Path) -> list[str]:
    """Command lines of the processes whose command line or environment names one of these folders, ours left out.

    Valkey writes its title over both, with its socket's path in it: give folders_of() as well to see it.
    """
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and any(str(folder) in word for word in words for folder in folders):
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def folders_of(state: Path) -> list[Path]:
    """Where a pair with this state folder keeps sockets and data: inside, and outside where it has to."""
    folder = StateFolder(state.resolve())
    outside = [folder._beside(base) for base in (Path(tempfile.gettempdir()), LASTING)]
    return [state, *outside]


def sockets_of(state: Path) -> list[Path]:
    """The sockets, folders of sockets and notes of a running pair that are there now."""
    runs = [folder / "run" for folder in folders_of(state)]
    return [path for path in (*runs, state / "running.json") if path.exists()]
