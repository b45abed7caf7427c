"""What the tests of the ground share: a proxy before the run's Valkey, connections that are closed, and full sales."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
import uvloop

from flashsale.connection import OrderedConnection
from flashsale.embedded import Addresses
from flashsale.queries import Pool
from tests.ground.full import Full, make
from tests.ground.two import Two
from tests.integration.rows import clear
from tests.support.proxy import Proxy, proxy

Connect = Callable[..., OrderedConnection]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The ordered connection is tried on the loop of the tests and on that of the processes: each has its own way of
    closing sockets."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return loops | ({"uvloop": uvloop.new_event_loop} if "test_connection" in item.nodeid else {})


@pytest.fixture
async def between(addresses: Addresses) -> AsyncIterator[Proxy]:
    """A proxy before the run's Valkey."""
    async with proxy(addresses.redis_url) as made:
        yield made


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes connections; each is closed afterwards."""
    async with AsyncExitStack() as stack:

        def make(url: str, *, timeout_s: float = 10.0) -> OrderedConnection:
            made = OrderedConnection(url, timeout_s=timeout_s)
            stack.push_async_callback(made.aclose)
            return made

        yield make


@pytest.fixture
async def two(postgres: Pool, sale_name: str) -> AsyncIterator[Two]:
    """Two full sales. Nothing of them stays."""
    async with postgres.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        other = await make(connection, f"{sale_name}-2")
        await connection.execute("update items set price_minor = 5 where sale = $1", f"{sale_name}-2")
        try:
            yield Two(connection, await make(connection, sale_name), other)
        finally:
            await transaction.rollback()


@pytest.fixture
async def standing(postgres: Pool, sale_name: str) -> AsyncIterator[Full]:
    """A full sale that other connections see too."""
    async with postgres.acquire() as connection, connection.transaction():
        full = await make(connection, sale_name)
    yield full
    await clear(postgres, sale_name)
