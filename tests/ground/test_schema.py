"""The schema and the named queries: migrating twice, at once, from nothing; a database that is newer than the code."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from flashsale.embedded import Addresses
from flashsale.errors import SurroundingsError
from flashsale.queries import check_schema, migrate, migrations, query, schema_number
from flashsale.stores import open_postgres, open_redis
from tests.unit.test_house import ROOT

SQL = ROOT / "flashsale" / "sql"


@pytest.fixture
async def empty(addresses: Addresses) -> AsyncIterator[str]:
    """The address of an empty database of the test's own; skipped where we may not make one."""
    name = f"t{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(addresses.postgres_dsn)
    try:
        try:
            await admin.execute(f"create database {name}")
        except asyncpg.InsufficientPrivilegeError:
            pytest.skip("the configured Postgres user may not make databases")
        yield re.sub(r"/\w+(\?|$)", rf"/{name}\1", addresses.postgres_dsn, count=1)
        await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()


async def test_from_nothing_and_again(empty: str) -> None:
    """Given an empty database / When migrated twice / Then every step is done once, and the schema is this code's."""
    connection = await asyncpg.connect(empty)
    with pytest.raises(SurroundingsError, match="flashsale migrate"):
        await check_schema(connection)
    assert await migrate(connection) == [step.name for step in migrations()]
    assert await migrate(connection) == []
    await check_schema(connection)
    await connection.close()


async def test_two_migrators_at_once(empty: str) -> None:
    """When four migrate at once / Then one does each step, and none fails."""
    connections = [await asyncpg.connect(empty) for _ in range(4)]
    done = await asyncio.gather(*(migrate(connection) for connection in connections))
    assert sorted(name for names in done for name in names) == [step.name for step in migrations()]
    for connection in connections:
        await connection.close()


async def test_a_newer_database_is_left_alone(empty: str) -> None:
    """Given a database with a step that we don't know / Then migrating and starting are refused, nothing is changed."""
    connection = await asyncpg.connect(empty)
    await migrate(connection)
    await connection.execute("insert into schema_steps (number, name) values (9999, 'of tomorrow')")
    for refused in (migrate, check_schema):
        with pytest.raises(SurroundingsError, match="newer than this flashsale"):
            await refused(connection)
    assert await schema_number(connection) == 9999
    await connection.close()


def test_steps_are_numbered_without_gaps() -> None:
    """Given all steps / Then their numbers are 1, 2, 3 …, as schema_number counts on."""
    assert [step.number for step in migrations()] == list(range(1, len(migrations()) + 1))


@pytest.mark.parametrize("file", sorted(path.stem for path in SQL.glob("*.sql")))
async def test_every_query_is_sql_that_fits_the_schema(migrated: Addresses, file: str) -> None:
    """Given every named query / When Postgres prepares it / Then tables, columns and types are there."""
    names = re.findall(r"^-- name: (\w+)$", (SQL / f"{file}.sql").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(set(names)) == len(names) > 0
    connection = await asyncpg.connect(migrated.postgres_dsn)
    try:
        for name in names:
            await connection.prepare(query(file, name))
    finally:
        await connection.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///nonexistent/valkey.sock", "redis://127.0.0.1:port"])
async def test_valkey_that_is_away(url: str) -> None:
    """Given nobody at the address, or an address that is none / Then the setting is named, with what to do."""
    with pytest.raises(SurroundingsError, match="FLASHSALE_REDIS_URL"):
        await open_redis(url)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://nobody@127.0.0.1:1/none", "postgresql://x@/none?host=/nonexistent",
        "postgresql://127.0.0.1:port/none", "postgresql://x@127.0.0.1:1/none?sslmode=perhaps",
    ],
)  # fmt: skip
async def test_postgres_that_is_away(dsn: str) -> None:
    """Given nobody at the address, or an address that is none / Then the setting is named, with what to do."""
    with pytest.raises(SurroundingsError, match="FLASHSALE_POSTGRES_DSN"):
        await open_postgres(dsn, connections=1)


async def test_both_answer(migrated: Addresses) -> None:
    """Given the servers of this run / Then both open, and JSON comes as Python values."""
    redis = await open_redis(migrated.redis_url)
    assert await redis.ping()
    await redis.aclose()
    pool = await open_postgres(migrated.postgres_dsn, connections=1)
    assert await pool.fetchval("""select '{"a": [1]}'::jsonb""") == {"a": [1]}
    await pool.close()
