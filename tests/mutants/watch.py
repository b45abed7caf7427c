"""Which scripts, queries and tables each test uses, so that a mutant meets the tests that could notice it.

The servers say it themselves, so it holds for the processes that a test starts as well: a script that ran is known to
Valkey afterwards, and Postgres logs every statement. A test that ran no script on the slot's server (it has one of its
own, or none) uses those whose text it read.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis import Redis

from flashsale import queries, scripts
from tests.mutants.mutant import query_place, script_place, table_place
from tests.support.lua_text import names


class Watch:
    """Watches one test after the other. log: Postgres's, with every statement in it; tables: the names to look for."""

    def __init__(self, *, redis_url: str, log: Path, tables: Sequence[str]) -> None:
        self._redis_url = redis_url
        self._log = log
        self._tables = tables
        self._shas = {name: scripts.load(name).sha for name in names()}
        self._queries = _queries()
        self._from = 0
        self._read: set[str] = set()

    def attach(self) -> None:
        """See which scripts this process reads. It can't be undone: for a child that ends."""
        sys.addaudithook(self._opened)

    def begin(self) -> None:
        """Before a test: the server and this process forget all scripts."""
        scripts.load.cache_clear()
        with Redis.from_url(self._redis_url) as redis:
            redis.script_flush()
        self._from = self._log.stat().st_size
        self._read.clear()

    def end(self) -> list[str]:
        """After it: the places that it used."""
        ran, logged = self._ran() or self._read, self._logged()
        words = set(re.findall(r"\w+", logged))
        used = {script_place(name) for name in ran}
        used |= {place for place, text in self._queries.items() if text in logged}
        used |= {table_place(table) for table in self._tables if table in words}
        return sorted(used)

    def _ran(self) -> set[str]:
        with Redis.from_url(self._redis_url) as redis:
            known = redis.script_exists(*self._shas.values())
        return {name for name, is_known in zip(self._shas, known, strict=True) if is_known}

    def _logged(self) -> str:
        with self._log.open("rb") as file:
            file.seek(self._from)
            return " ".join(file.read().decode(errors="replace").split())

    def _opened(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(".lua"):
            self._read.add(Path(str(arguments[0])).stem)


def _queries() -> dict[str, str]:
    """The place of each named query, and its text as the log has it, on one line."""
    files = sorted((Path(queries.__file__).parent / "sql").glob("*.sql"))
    return {
        query_place(path.stem, name): " ".join(text.split())
        for path in files
        for name, text in queries._blocks(path.stem).items()
    }
