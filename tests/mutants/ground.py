"""The ground under a slot: its Valkey and Postgres, brought back before every try, and what they say of a mutant."""

import os
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from flashsale import scripts
from flashsale.embedded import Addresses, EmbeddedPair
from flashsale.queries import migrate
from tests.mutants.of_schema import READ_DECISIONS, READ_SCHEMA
from tests.mutants.watch import Watch

MUTANT_DATABASE: Final = "mutant"
EMPTY_DATABASE: Final = "as_migrated"
_ANSWER_S_MAX: Final = 10.0
_NAME: Final = re.compile(r"^-- name: \w+$", re.MULTILINE)


class Ground:
    """A pair of a slot's own. state: its folder. schema, decisions: what Postgres's forbids and decides, once made."""

    def __init__(self, pair: EmbeddedPair, addresses: Addresses, state: Path) -> None:
        self.addresses = addresses
        self.schema: list[list[Any]] = []
        self.decisions: list[list[Any]] = []
        self._pair = pair
        self._log = state / "log" / "postgres.log"

    async def make(self) -> None:
        """Bring the database to the schema; from then on it logs every statement. A mutant's database does not, and has
        no rows of tests that ran before: what a mutant forbids must not fail on those."""
        dsn = self.addresses.postgres_dsn
        connection = await asyncpg.connect(dsn)
        await migrate(connection)
        await connection.execute(f"alter database {_database_of(dsn)} set log_statement = 'all'")
        self.schema = [list(row) for row in await connection.fetch(READ_SCHEMA)]
        self.decisions = [list(row) for row in await connection.fetch(READ_DECISIONS)]
        await connection.close()
        await _copy(dsn, _database_of(dsn), EMPTY_DATABASE)

    def watch(self) -> Watch:
        """What watches the tests on this ground."""
        tables = sorted({str(row[0]) for row in self.schema})
        return Watch(redis_url=self.addresses.redis_url, log=self._log, tables=tables)

    def empty_valkey(self) -> None:
        """No key is left. One that a mutant keeps busy without end is killed and started again."""
        try:
            with Redis.from_url(self.addresses.redis_url, socket_timeout=_ANSWER_S_MAX) as redis:
                redis.flushall()
        except RedisError:
            os.kill(self._pair.valkey_pid, signal.SIGKILL)
            self._pair.restart("valkey")
            with Redis.from_url(self.addresses.redis_url, socket_timeout=_ANSWER_S_MAX) as redis:
                redis.flushall()

    async def empty_postgres(self) -> None:
        """No sale is left of a test that a mutant broke off: Valkey has lost its buckets, which api processes see."""
        connection = await asyncpg.connect(self.addresses.postgres_dsn)
        try:
            await connection.execute("truncate sales cascade")
        finally:
            await connection.close()

    async def new_database(self, statements: Sequence[str]) -> str:
        """A database as the migrations make it, changed by these statements. Its address."""
        await _copy(self.addresses.postgres_dsn, EMPTY_DATABASE, MUTANT_DATABASE)
        made = _in(self.addresses.postgres_dsn, MUTANT_DATABASE)
        connection = await asyncpg.connect(made)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()  # one that stays is ended in a later mutant's child, whose test would fail of that
        return made

    async def refused(self, job: Mapping[str, Any]) -> str:
        """Why a server would not even take this mutant, which then is none; "" when it takes it.

        A text that is no Lua or SQL any more would be caught by anything, and proves nothing.
        """
        if str(job["file"]).endswith(".lua"):
            return self._refused_script(Path(job["file"]).stem, str(job["text"]))
        try:
            dsn = await self.new_database(job["statements"])
        except asyncpg.PostgresError as trouble:
            return repr(trouble)
        return await _refused_query(dsn, str(job["text"])) if job["text"] is not None else ""

    def _refused_script(self, name: str, text: str) -> str:
        try:
            with Redis.from_url(self.addresses.redis_url) as redis:
                redis.script_load(scripts.build(name, text).text)
        except (ResponseError, ValueError) as trouble:
            return repr(trouble)
        return ""


async def _copy(dsn: str, name: str, copy: str) -> None:
    """Make a database a copy of another one, whatever it was."""
    admin = await asyncpg.connect(_in(dsn, "postgres"))
    try:
        await admin.execute(f"drop database if exists {copy} with (force)")
        await admin.execute(f"create database {copy} template {name}")
    finally:
        await admin.close()


async def _refused_query(dsn: str, text: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        for query in _NAME.split(text)[1:]:
            await connection.prepare(query)
    except asyncpg.PostgresError as trouble:
        return repr(trouble)
    finally:
        await connection.close()
    return ""


def _database_of(dsn: str) -> str:
    return str(re.findall(r"/(\w+)(?:\?|$)", dsn)[0])


def _in(dsn: str, database: str) -> str:
    """The same server's address, with another database."""
    return re.sub(r"/\w+(\?|$)", rf"/{database}\1", dsn, count=1)
