"""Tells watchers of orders when something changes: one look at Postgres for all of them, twice a second.

The cost grows with those who watch, not with what is sold, and a missed notice can't happen: what is told is what is.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from prometheus_client import Gauge

from flashsale import limits, order
from flashsale.order import Order, State
from flashsale.queries import Pool
from flashsale.stores import POSTGRES_TROUBLE

_log = logging.getLogger(__name__)


class TooManyWatchersError(Exception):
    """So many watch already that one more was not taken in."""


class Watchers:
    """Everybody who watches an order in this process. keep() tells them; closing ends every stream."""

    def __init__(self) -> None:
        self._queues: dict[asyncio.Queue[Order | None], Order] = {}
        self._closing = False

    def watch(self, own: Order) -> AbstractAsyncContextManager[AsyncIterator[Order | None]]:
        """The order now and after each change; None as a sign of life. It ends with the news that it is refused.

        Raises TooManyWatchersError.
        """
        if len(self._queues) >= limits.WATCHERS_MAX:
            raise TooManyWatchersError
        return self._watch(own)

    @asynccontextmanager
    async def _watch(self, own: Order) -> AsyncIterator[AsyncIterator[Order | None]]:
        queue: asyncio.Queue[Order | None] = asyncio.Queue(maxsize=16)
        queue.put_nowait(own)
        self._queues[queue] = own
        try:
            yield self._changes(queue)
        finally:
            del self._queues[queue]

    async def _changes(self, queue: asyncio.Queue[Order | None]) -> AsyncIterator[Order | None]:
        quiet_s = 0.0
        while not self._closing:
            try:
                change = await asyncio.wait_for(queue.get(), timeout=limits.WATCH_POLL_S)
                yield change
                if change is not None and change.state is State.REFUSED:
                    return  # nothing comes after it
                quiet_s = 0.0
            except TimeoutError:
                quiet_s += limits.WATCH_POLL_S
                if quiet_s >= limits.WATCH_HEARTBEAT_S:
                    quiet_s = 0.0
                    yield None

    def close(self) -> None:
        """End every stream within half a second; the pages come back by themselves."""
        self._closing = True

    async def keep(self, postgres: Pool, *, gauge: Gauge) -> None:
        """Look and tell, for ever. A Postgres that is away is tried again; nobody is told anything meanwhile."""
        while not self._closing:
            gauge.set(len(self._queues))
            if self._queues:
                try:
                    await self._look(postgres)
                except POSTGRES_TROUBLE as trouble:
                    _log.warning("watchers.trouble trouble=%s: %s", type(trouble).__name__, trouble)
            await asyncio.sleep(limits.WATCH_POLL_S)

    async def _look(self, postgres: Pool) -> None:
        wanted = {uuid.UUID(known.order) for known in self._queues.values()}
        async with postgres.acquire() as connection:
            found = await order.by_id(connection, list(wanted))
        for queue, known in list(self._queues.items()):
            now = found.get(uuid.UUID(known.order))
            if now is not None and now != known and not queue.full():
                queue.put_nowait(now)
                self._queues[queue] = now
