"""Named SQL from flashsale/sql/*.sql, and the migrations that make the schema.

A query is a block that begins with `-- name: <name>`. SQL stands nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, TypeAlias

import asyncpg

from flashsale.errors import SurroundingsError

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_MIGRATION: Final = re.compile(r"(\d{4})_\w+\.sql")
_LOCK: Final = 0x666C617368  # "flash": one migrator at a time

# asyncpg's classes take their type argument for the type checker only, so the aliases are text.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@cache
def query(file: str, name: str) -> str:
    """The text of one named query. Raises KeyError when there is none."""
    return _blocks(file)[name]


@cache
def _blocks(file: str) -> dict[str, str]:
    text = (files("flashsale") / "sql" / f"{file}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema. number: its place, from 1."""

    number: int
    name: str
    text: str


@cache
def migrations() -> tuple[Migration, ...]:
    """All steps of the schema, in order."""
    folder = files("flashsale") / "sql" / "migrations"
    found = [(match, step) for step in folder.iterdir() if (match := _MIGRATION.fullmatch(step.name))]
    return tuple(
        Migration(int(match[1]), step.name, step.read_text(encoding="utf-8"))
        for match, step in sorted(found, key=lambda pair: int(pair[0][1]))
    )


async def schema_number(connection: Connection) -> int:
    """The last step that this database has had; 0 for an empty one."""
    if await connection.fetchval("select to_regclass('schema_steps')") is None:
        return 0
    return int(await connection.fetchval("select coalesce(max(number), 0) from schema_steps"))


async def migrate(connection: Connection) -> list[str]:
    """Bring the schema to this code's. Each step is one transaction; safe to repeat and to run twice at once.

    Returns the names of the steps done now. Raises SurroundingsError when the database is newer than the code.
    """
    done = []
    await connection.execute("select pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(
            "create table if not exists schema_steps"
            " (number int primary key, name text not null, at timestamptz not null default now())"
        )
        at = await schema_number(connection)
        _refuse_newer(at)
        for step in migrations()[at:]:
            async with connection.transaction():
                await connection.execute(step.text)
                await connection.execute(
                    "insert into schema_steps (number, name) values ($1, $2)", step.number, step.name
                )
            done.append(step.name)
    finally:
        await connection.execute("select pg_advisory_unlock($1)", _LOCK)
    return done


async def check_schema(connection: Connection) -> None:
    """Raises SurroundingsError when the schema is not the one that this code needs."""
    at = await schema_number(connection)
    _refuse_newer(at)
    if at < len(migrations()):
        raise SurroundingsError(
            f"The database's schema is at step {at}, this flashsale needs {len(migrations())}. Run: flashsale migrate"
        )


def _refuse_newer(at: int) -> None:
    if at > len(migrations()):
        raise SurroundingsError(
            f"The database's schema is at step {at}, newer than this flashsale ({len(migrations())}). "
            "Install the newer flashsale; nothing was changed."
        )
