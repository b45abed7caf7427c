"""What the tests of the ordered connection share: a proxy before the run's Valkey, and connections that are closed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
import uvloop

from flashsale.connection import OrderedConnection
from flashsale.embedded import Addresses
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
