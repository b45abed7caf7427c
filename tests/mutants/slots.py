"""Slots at work: copies of the project, a process in each, and mutants handed to whichever is free."""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.mutants.choice import Watched
from tests.mutants.mutant import Mutant

FOLDERS: Final = ("tests/lua", "tests/model", "tests/ground", "tests/integration")
# They start pairs, clusters, crowds, browsers or other servers of their own and take long; none is about a guard.
LEFT_OUT: Final = (
    "tests/integration/edge", "tests/integration/test_cli_surroundings", "tests/integration/test_demo",
    "tests/integration/test_deploy_stores", "tests/integration/test_doctor", "tests/integration/test_embedded",
    "tests/integration/test_jwks", "tests/integration/test_locust", "tests/integration/test_openapi",
    "tests/integration/test_rehearse", "tests/integration/test_soak", "tests/integration/test_fault",
    "tests/integration/test_cluster", "tests/integration/test_broken_builds",
    "tests/integration/test_stopping", "tests/integration/test_bad_input_http", "tests/integration/test_cli_errors",
    "tests/ground/test_connection", "tests/ground/test_callers", "tests/ground/test_versions",
)  # fmt: skip


class SlotError(Exception):
    """A slot can't work, with what it said."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant. caught_by: the test that failed, "" when none did; said: what it said.

    trouble: why there is no verdict, where a test came to no end. refused: why no server takes it, since its types
    forbid it; then it is no mutant.
    """

    mutant: Mutant
    caught_by: str
    said: str
    trouble: str
    refused: str
    seconds: float


class RunningSlot:
    """A slot's process, seen from here."""

    def __init__(self, root: Path, folder: Path, seed: int) -> None:
        shutil.copytree(root, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "node_modules"))
        left_out = [f"--ignore-glob={beginning}*" for beginning in LEFT_OUT]
        environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the slot)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutants.slot", str(seed), *FOLDERS, *left_out],
            cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        self.schema: list[list[Any]] = []
        self.decisions: list[list[Any]] = []
        self.tests: list[str] = []

    def await_ready(self) -> None:
        """Return once it has collected its tests and knows the schema. Raises SlotError."""
        told = self._told()
        self.schema, self.decisions, self.tests = told["schema"], told["decisions"], told["tests"]

    def watch(self, tests: Sequence[str]) -> list[Watched]:
        """Run tests on the code as it is, and see what they use. Raises SlotError when one fails: it catches all."""
        told = self._asked({"watch": list(tests)})
        if told["failed"]:
            test, said = told["failed"]
            raise SlotError(f"the code as it is fails {test} ({said}): mend that first")
        return [Watched.of(one) for one in told["watched"]]

    def attempt(self, mutant: Mutant, tests: Sequence[str]) -> Verdict:
        """What becomes of a mutant that meets these tests, in this order."""
        told = self._asked({
            "file": mutant.file, "text": mutant.text, "statements": list(mutant.statements), "tests": list(tests),
            "new_database": not mutant.file.endswith(".lua"),
        })  # fmt: skip
        caught_by, said = told["caught"] or ("", "" if tests else "no test uses it")
        trouble = "" if caught_by else told["trouble"]
        return Verdict(mutant, caught_by, said, trouble, told["refused"], told["seconds"])

    def _asked(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return self._told()

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise SlotError(f"a slot ended: {self._log.read().decode(errors='replace')[-2000:]}")
        told: dict[str, Any] = json.loads(line)
        return told

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


@contextmanager
def slots(root: Path, *, number: int, seed: int) -> Iterator[list[RunningSlot]]:
    """So many slots, started side by side; all end with the block. Raises SlotError."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, ExitStack() as stack:
        found = []
        for place in range(number):
            found.append(RunningSlot(root, Path(folder, f"slot{place}"), seed))
            stack.callback(found[-1].close)
        for slot in found:
            slot.await_ready()
        yield found


Job = TypeVar("Job")
Done = TypeVar("Done")


def share_out(
    running: Sequence[RunningSlot], jobs: Sequence[Job], do: Callable[[RunningSlot, Job], Done],
    on_done: Callable[[Done], None],
) -> None:  # fmt: skip
    """Do all jobs, each in a slot that is free, in their order. Raises what do raises, SlotError for one."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    finished: queue.SimpleQueue[Done | BaseException] = queue.SimpleQueue()

    def work(slot: RunningSlot) -> None:
        try:
            while True:
                finished.put(do(slot, waiting.get_nowait()))
        except queue.Empty:
            return
        except BaseException as trouble:  # noqa: BLE001 (it is raised where it is waited for)
            finished.put(trouble)

    for slot in running:
        threading.Thread(target=work, args=(slot,), daemon=True).start()
    for _ in jobs:
        done = finished.get()
        if isinstance(done, BaseException):
            raise done
        on_done(done)
