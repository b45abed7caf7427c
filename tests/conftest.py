"""The servers, and what every test gets afresh: clients, a sale's name, and the check for keys left behind.

The servers are the embedded pair, or those named by FLASHSALE_TEST_REDIS_URL and FLASHSALE_TEST_POSTGRES_DSN (see
tests/support/servers.py). Without servers a test is skipped at home and fails under CI=true.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from redis.asyncio import Redis

from flashsale.embedded import Addresses
from flashsale.errors import SurroundingsError
from flashsale.queries import Pool, migrate
from flashsale.stores import open_postgres, open_redis
from tests.support import leaks, seeds
from tests.support.servers import missing, pair

_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Draw the seed before any process is started that is to have it too."""
    seeds.walk_seed()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left alone with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_report_header() -> list[str]:
    """The seed of this run, to be given back to see the same walk again."""
    return [f"walk: {seeds.ENV}={seeds.walk_seed()}"]


@pytest.fixture(scope="session")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """Where the servers of this run answer."""
    with pair(tmp_path_factory.mktemp("pair") / "state") as found:
        yield found


@pytest.fixture
def sale_name(request: pytest.FixtureRequest) -> str:
    """A sale's name that no other test uses, in this run or one beside it on the same servers."""
    return f"t{os.getpid()}x{next(_numbers)}z"  # no name is the beginning of another


@pytest.fixture
async def redis(addresses: Addresses, sale_name: str) -> AsyncIterator[Redis]:
    """A client. Afterwards every key of the test's sale must be one that keys.py declares; they are deleted."""
    try:
        client = await open_redis(addresses.redis_url)
    except SurroundingsError as trouble:
        missing(str(trouble))
    assert isinstance(client, Redis), "the servers of the run are no cluster"
    try:
        yield client
        leaked = await leaks.leaked(client, sale_name)
    finally:
        await client.aclose()
    assert not leaked, f"keys that flashsale/keys.py does not declare: {leaked}"


@pytest.fixture(scope="session")
def migrated(addresses: Addresses) -> Addresses:
    """The servers, the database with this code's schema."""

    async def bring_to_schema() -> None:
        connection = await asyncpg.connect(addresses.postgres_dsn, timeout=10)
        try:
            await migrate(connection)
        finally:
            await connection.close()

    try:
        asyncio.run(bring_to_schema())
    except OSError as trouble:
        missing(f"Postgres does not answer ({trouble}). Start it, or unset FLASHSALE_TEST_POSTGRES_DSN.")
    return addresses


@pytest.fixture
async def postgres(migrated: Addresses) -> AsyncIterator[Pool]:
    """A pool on a migrated database. It is shared by all tests: a test looks at its own sale only."""
    pool = await open_postgres(migrated.postgres_dsn, connections=4)
    yield pool
    await asyncio.wait_for(pool.close(), timeout=10)
