"""A slot: one pytest process in a copy of the project, with servers of its own, that forks a child for every mutant.

The tests are collected once; a child has the mutant's files and database and runs the tests that it is given until one
fails. It loads scripts and queries as any process does, so nothing of the engine knows that it is being tried.
"""

import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pytest

from flashsale import queries, scripts
from flashsale.embedded import EmbeddedPair, erase
from tests.mutants import child
from tests.mutants.ground import Ground
from tests.support.seeds import ENV as WALK_SEED
from tests.support.seeds import EXAMPLES_ENV, SHRINK_ENV
from tests.support.servers import POSTGRES_DSN, REDIS_URL

WALK_EXAMPLES: Final = 60
TEST_S_MAX: Final = 90
FAILURES_MAX: Final = 3  # of a test on the code as it is: what fails once or twice was luck
# What says nothing of one mutant: breakages on purpose, the load generators and the pages, whole days and demos.
NOT_RUN: Final = "not breaks and not browser"


class Slot:
    """The pytest plugin that runs mutants instead of tests."""

    def __init__(self, ground: Ground, reports: child.Reports, answers: IO[str]) -> None:
        self._ground = ground
        self._reports = reports
        self._answers = answers
        self._items: dict[str, pytest.Item] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Answer each line of stdin, a job, with a line."""
        asyncio.run(self._ground.make())
        forget()
        self._items = {item.nodeid: item for item in session.items}
        self._answer(tests=list(self._items), schema=self._ground.schema, decisions=self._ground.decisions)
        for line in sys.stdin:
            job = json.loads(line)
            self._answer(**(self._watched(session, job) if "watch" in job else self._tried(session, job)))
        return True

    def _answer(self, **told: object) -> None:
        print(json.dumps(told), file=self._answers, flush=True)

    def _watched(self, session: pytest.Session, job: dict[str, Any]) -> dict[str, object]:
        """Run tests on the code as it is: what each of them uses, and the first that fails."""
        items = [self._items[test] for test in job["watch"]]
        self._prepared(new_database=False, statements=[])
        asyncio.run(self._ground.empty_postgres())
        watch = self._ground.watch()
        forget()
        watched: list[dict[str, Any]] = []
        failed: list[pytest.Item] = []
        while items:
            told = child.run(items, session, self._reports, watch=watch)
            watched += told.watched
            items = items[len(told.watched) :]
            failed += items[:1]
            if items and failed.count(items[0]) >= FAILURES_MAX:
                return {"watched": watched, "failed": [told.began, told.failed or told.trouble]}
        return {"watched": watched, "failed": None}

    def _tried(self, session: pytest.Session, job: dict[str, Any]) -> dict[str, object]:
        """Put a mutant in its place, run its tests, and put all back."""
        began = time.monotonic()
        with _in_place(job):
            try:
                found = {"refused": asyncio.run(self._ground.refused(job))}
                found = found if found["refused"] else self._caught_by(session, job)
            finally:
                forget()
        return {"caught": None, "trouble": "", "refused": ""} | found | {"seconds": round(time.monotonic() - began, 2)}

    def _caught_by(self, session: pytest.Session, job: dict[str, Any]) -> dict[str, Any]:
        """The first test that fails, and fails once more by itself: what fails once was luck, and catches nothing.

        Where a test comes to no end or its process dies, that is told, and the tests after it have their turn.
        """
        items = [self._items[test] for test in job["tests"]]
        troubles: list[str] = []
        while items:
            told = self._child(session, job, items)
            if told.failed is not None:
                one = self._items[told.began]
                again = self._child(session, job, [one])
                if again.failed is not None:
                    return {"caught": [told.began, told.failed]}
                told.trouble = again.trouble
            if told.trouble:
                troubles.append(f"{told.began}: {told.trouble}")
            if not told.began or (told.failed is None and not told.trouble):
                break
            items = items[items.index(self._items[told.began]) + 1 :]
        return {"trouble": "; ".join(troubles)}

    def _child(self, session: pytest.Session, job: dict[str, Any], items: list[pytest.Item]) -> child.Told:
        self._prepared(new_database=job["new_database"], statements=job["statements"])
        return child.run(items, session, self._reports)

    def _prepared(self, *, new_database: bool, statements: list[str]) -> None:
        """Empty servers; a new database where the mutant is one of SQL."""
        self._ground.empty_valkey()
        dsn = (
            asyncio.run(self._ground.new_database(statements)) if new_database else self._ground.addresses.postgres_dsn
        )
        os.environ[POSTGRES_DSN] = dsn


@contextmanager
def _in_place(job: dict[str, Any]) -> Iterator[None]:
    """Meanwhile the mutant's file is changed, if it has one."""
    path, text = Path(job["file"]), job["text"]
    if text is None:
        yield
        return
    kept = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(kept, encoding="utf-8")


def forget() -> None:
    """Forget the scripts and queries that were read while the tests were collected: a child reads the mutant's.

    One that is kept in a module would hide its mutants, so there may be none.
    """
    for reader in (scripts.load, queries.query, queries._blocks, queries.migrations):
        reader.cache_clear()
    gc.collect()
    kept = [one.name for one in gc.get_objects() if isinstance(one, scripts.Script)]
    assert not kept, f"scripts that a module keeps: {kept}"


def main(arguments: list[str]) -> int:
    """Serve until stdin ends. arguments: the seed of the walk, then the test files."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        state = Path(folder, "state")
        pair = EmbeddedPair(state=state, fresh=True)
        addresses = pair.start()
        os.environ |= {
            REDIS_URL: addresses.redis_url, POSTGRES_DSN: addresses.postgres_dsn,
            WALK_SEED: arguments[0], EXAMPLES_ENV: str(WALK_EXAMPLES), SHRINK_ENV: "0", "CI": "true",
        }  # fmt: skip
        reports = child.Reports()
        options = ["-q", "-s", "-p", "no:cacheprovider", "--basetemp", str(Path(folder, "tmp")), "-m", NOT_RUN]
        options += ["--timeout", str(TEST_S_MAX)]
        try:
            slot = Slot(Ground(pair, addresses, state), reports, answers)
            return int(pytest.main([*options, *arguments[1:]], plugins=[slot, reports]))
        finally:
            pair.stop()
            erase(state)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
