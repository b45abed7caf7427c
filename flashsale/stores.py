"""Opens the two stores, Valkey and Postgres, and says in one sentence what to do when one doesn't answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import orjson
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as BrokenConnectionError
from redis.exceptions import RedisClusterException, RedisError

from flashsale import embedded, limits, queries
from flashsale.config import Settings
from flashsale.embedded import Addresses
from flashsale.errors import SurroundingsError
from flashsale.queries import Pool, check_schema
from flashsale.router import Router

# Of one server, or of a cluster; what both can do is all that is used.
Client: TypeAlias = Redis | RedisCluster

REDIS_VERSION_MIN: Final = (7, 0)
VALKEY_VERSION_MIN: Final = (8, 0)
POSTGRES_VERSION_MIN: Final = 15

# What a store raises when it is away or goes away; asyncpg has its own words for a connection that ends in mid-talk.
POSTGRES_TROUBLE: Final = (
    asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError,
)  # fmt: skip
# The cluster client's own word for a cluster that serves nobody is no RedisError.
TROUBLE: Final = (RedisError, RedisClusterException, *POSTGRES_TROUBLE)


@dataclass(frozen=True, slots=True)
class Stores:
    """The two open stores of a process."""

    redis: Client
    postgres: Pool


class _Single(Redis):
    """A client of one server that loses no cancellation."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command. Raises what the client raises when a store is away."""
        with _cancelled_in_any_case():
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


class _Cluster(RedisCluster):
    """A client whose connections another task may close under a command, when it finds that the cluster has changed.

    redis-py then stumbles over what it has taken away itself (an AttributeError, or uvloop's RuntimeError for a handle
    that is closed); that is a broken connection.
    """

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Send a command. Raises what the client raises when a store is away."""
        try:
            with _cancelled_in_any_case():
                return await super().execute_command(*args, **kwargs)
        except (AttributeError, RuntimeError) as trouble:
            raise BrokenConnectionError("the connection was closed under a command") from trouble


@contextmanager
def _cancelled_in_any_case() -> Iterator[None]:
    """Cancel again what was cancelled meanwhile and went on: redis-py sends under asyncio.wait_for, and that of Python
    3.11 drops a cancellation which comes just when what it waits for has ended. A loop would then never stop."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    yield
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


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


async def open_redis(url: str) -> Client:
    """A client of a server, or of a cluster, that answers and is new enough.

    url: one address, or several nodes of a cluster with commas between. One retry on a broken connection: scripts
    repeat safely.
    """
    seed, cluster = await _first_that_answers(url.split(","))
    if not cluster:
        return _Single.from_url(seed, **_patience(), retry=Retry(NoBackoff(), 1), retry_on_error=[ConnectionError])
    nodes = [ClusterNode(parts.hostname or "", parts.port or 6379) for parts in map(urlsplit, url.split(","))]
    client = _Cluster.from_url(seed, startup_nodes=nodes, retry=Retry(NoBackoff(), 1), **_patience())
    try:
        await client.initialize()
    except (RedisError, OSError) as trouble:
        await client.aclose()
        raise SurroundingsError(
            f"The cluster at FLASHSALE_REDIS_URL does not serve ({trouble}). Look at: CLUSTER INFO, CLUSTER SHARDS"
        ) from trouble
    return client


def is_cluster(client: Client) -> bool:
    """Whether this is a client of a cluster."""
    return isinstance(client, RedisCluster)


async def open_router(url: str) -> Router:
    """The ordered connections to the primaries, for what fans wait for and what has to be settled."""
    _, cluster = await _first_that_answers(url.split(","))
    return Router(url.split(","), cluster=cluster)


async def _first_that_answers(urls: Sequence[str]) -> tuple[str, bool]:
    """The first of these addresses that answers, and whether it is a node of a cluster. Raises SurroundingsError."""
    trouble: Exception | None = None
    for url in urls:
        try:
            client: Redis = _Single.from_url(url, **_patience())
        except ValueError as fault:
            raise SurroundingsError(f"FLASHSALE_REDIS_URL can't be read: {fault}") from fault
        try:
            facts = await client.info("server")
            cluster = bool((await client.info("cluster")).get("cluster_enabled"))
        except (RedisError, OSError) as away:
            trouble = away
            continue
        finally:
            await client.aclose()
        _refuse_too_old(facts)
        return url, cluster
    raise SurroundingsError(
        f"Valkey does not answer ({trouble}). Start it, or set FLASHSALE_REDIS_URL; to try things out run: flashsale up"
    ) from trouble


def _patience() -> dict[str, Any]:
    return {"socket_timeout": limits.CALL_TIMEOUT_S, "socket_connect_timeout": limits.CALL_TIMEOUT_S}


def _refuse_too_old(facts: Mapping[str, Any]) -> None:
    version = str(facts.get("valkey_version") or facts["redis_version"])
    needed = VALKEY_VERSION_MIN if "valkey_version" in facts else REDIS_VERSION_MIN
    if tuple(int(part) for part in version.split(".")[:2]) < needed:
        raise SurroundingsError(f"The server at FLASHSALE_REDIS_URL is {version}; Redis 7.0 or Valkey 8 is needed.")


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
