"""Opens the two stores, Valkey and Postgres, and says in one sentence what to do when one doesn't answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg
import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from flashsale import embedded, limits, queries
from flashsale.config import Settings
from flashsale.embedded import Addresses
from flashsale.errors import SurroundingsError
from flashsale.queries import Pool, check_schema

REDIS_VERSION_MIN: Final = (7, 0)
POSTGRES_VERSION_MIN: Final = 15

# What a store raises when it is away or goes away; asyncpg has its own words for a connection that ends in mid-talk.
POSTGRES_TROUBLE: Final = (
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError,
)  # fmt: skip
TROUBLE: Final = (RedisError, *POSTGRES_TROUBLE)


@dataclass(frozen=True, slots=True)
class Stores:
    """The two open stores of a process."""

    redis: Redis
    postgres: Pool


def addresses_of(settings: Settings) -> Addresses:
    """Where the two stores are: as configured, or those of the embedded pair that runs in the state folder.

    Raises SurroundingsError when none is configured and none runs.
    """
    if not settings.embedded:
        return Addresses(redis_url=settings.redis_url, postgres_dsn=settings.postgres_dsn)
    pair = embedded.running(settings.state_dir)
    if pair is None:
        raise SurroundingsError(
            "No servers are configured and no embedded pair is running here. Set FLASHSALE_REDIS_URL and "
            f"FLASHSALE_POSTGRES_DSN, or run in another terminal: flashsale up (state folder {settings.state_dir})"
        )
    return pair


@asynccontextmanager
async def opened(
    *, redis_url: str, postgres_dsn: str, connections: int = 8, schema: bool = True
) -> AsyncIterator[Stores]:
    """Both stores, checked and closed again at the end. schema: also refuse a schema that is not this code's.

    Raises SurroundingsError with the setting's name and what to do.
    """
    redis = await open_redis(redis_url)
    try:
        postgres = await open_postgres(postgres_dsn, connections=connections)
        try:
            if schema:
                async with postgres.acquire() as connection:
                    await check_schema(connection)
            yield Stores(redis=redis, postgres=postgres)
        finally:
            await _close(postgres)
    finally:
        await redis.aclose()


async def open_redis(url: str) -> Redis:
    """A client of a server that answers and is new enough. One retry on a broken connection: scripts repeat safely."""
    try:
        client: Redis = Redis.from_url(
            url,
            socket_timeout=limits.CALL_TIMEOUT_S,
            socket_connect_timeout=limits.CALL_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
            retry_on_error=[ConnectionError],
        )
    except ValueError as fault:
        raise SurroundingsError(f"FLASHSALE_REDIS_URL can't be read: {fault}") from fault
    try:
        facts = await client.info("server")
    except (RedisError, OSError) as trouble:
        await client.aclose()
        raise SurroundingsError(
            f"Valkey does not answer ({trouble}). Start it, or set FLASHSALE_REDIS_URL; "
            "to try things out run: flashsale up"
        ) from trouble
    version = str(facts.get("valkey_version") or facts["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < REDIS_VERSION_MIN:
        await client.aclose()
        raise SurroundingsError(f"The server at FLASHSALE_REDIS_URL is {version}; Redis 7.0 or Valkey 8 is needed.")
    return client


async def open_postgres(dsn: str, *, connections: int) -> Pool:
    """A pool of connections to a server that answers and is new enough. JSON columns come as Python values."""
    try:
        pool = await asyncpg.create_pool(
            dsn, min_size=1, max_size=connections, init=_prepare, timeout=10, command_timeout=60
        )
    except ValueError as fault:
        raise SurroundingsError(f"FLASHSALE_POSTGRES_DSN can't be read: {fault}") from fault
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, socket.gaierror) as trouble:
        raise SurroundingsError(
            f"Postgres does not answer ({trouble}). Start it, or set FLASHSALE_POSTGRES_DSN; "
            "to try things out run: flashsale up"
        ) from trouble
    async with pool.acquire() as connection:
        if connection.get_server_version().major < POSTGRES_VERSION_MIN:
            await pool.close()
            raise SurroundingsError("The server at FLASHSALE_POSTGRES_DSN is too old; Postgres 15 or newer is needed.")
    return pool


async def migrate(dsn: str) -> list[str]:
    """Bring the schema at this address to this code's. Returns the names of the steps done now.

    Raises SurroundingsError when Postgres does not answer or is newer than this code.
    """
    pool = await open_postgres(dsn, connections=1)
    try:
        async with pool.acquire() as connection:
            return await queries.migrate(connection)
    finally:
        await _close(pool)


async def _prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind,
            encoder=lambda value: orjson.dumps(value).decode(),
            decoder=orjson.loads,
            schema="pg_catalog",
        )


async def _close(pool: Pool) -> None:
    """Close politely, but not for ever: a server that is away must not keep the process."""
    try:
        await asyncio.wait_for(pool.close(), timeout=5)
    except TimeoutError:
        pool.terminate()
