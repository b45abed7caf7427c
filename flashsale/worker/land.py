"""Lands one bucket's outbox: read in bulk, commit, then trim. One worker a bucket at a time, by lease."""

import asyncio
import logging
from collections import deque

from flashsale import limits, order, outbox, scripts
from flashsale.keys import Bucket
from flashsale.metrics import WorkerMetrics
from flashsale.outbox import Entry
from flashsale.queries import Pool
from flashsale.stores import Client

_log = logging.getLogger(__name__)


class Lander:
    """Moves one bucket's orders. Every step may be repeated by anybody, so dying anywhere loses nothing."""

    def __init__(self, *, redis: Client, postgres: Pool, bucket: Bucket, holder: str, metrics: WorkerMetrics) -> None:
        self._redis = redis
        self._postgres = postgres
        self._bucket = bucket
        self._holder = holder
        self._metrics = metrics
        self._lease = scripts.load("lease").at([bucket.lease_key])
        self._after = "0"
        self._landings: deque[tuple[list[Entry], asyncio.Task[order.Landed]]] = deque()

    async def step(self) -> None:
        """Hold the lease and land what is there; wait a little when nothing is. Raises when a store is away."""
        if not await self._lease(self._redis, self._holder, limits.LEASE_MS):
            await self._begin_again()
            await asyncio.sleep(limits.LEASE_MS / 1000 / 4)
            return
        if not await self.land():
            # All is landed and trimmed. What is there all the same, before the place we are at, was trimmed in a
            # primary that died before its replica heard of it.
            self._after = "0"
            await outbox.wait(self._redis, self._bucket, after=self._after, block_ms=limits.OUTBOX_BLOCK_MS)

    async def land(self) -> int:
        """Land one read's worth of orders, while the next is already under way. Returns how many were landed."""
        try:
            while len(self._landings) < limits.LANDINGS_IN_FLIGHT_MAX and (entries := await self._read()):
                self._after = entries[-1].entry_id
                self._landings.append((entries, asyncio.create_task(self._commit(entries))))
            if not self._landings:
                return 0
            entries, landing = self._landings[0]
            landed = await landing
            await outbox.trim(self._redis, self._bucket, entries)
        except BaseException:
            await self._begin_again()
            raise
        self._landings.popleft()
        self._count(landed)
        return sum(entry.orders for entry in entries)

    async def _read(self) -> list[Entry]:
        return await outbox.read(self._redis, self._bucket, after=self._after, count=limits.OUTBOX_ENTRIES_PER_READ)

    async def _commit(self, entries: list[Entry]) -> order.Landed:
        async with self._postgres.acquire() as connection:
            return await order.land(connection, sale=self._bucket.sale, bucket=self._bucket.number, entries=entries)

    async def _begin_again(self) -> None:
        """Whatever was not trimmed is read again, once what is under way has ended."""
        landings = [landing for _, landing in self._landings]
        self._after, self._landings = "0", deque()
        for landing in landings:
            landing.cancel()
        await asyncio.gather(*landings, return_exceptions=True)

    def _count(self, landed: order.Landed) -> None:
        self._metrics.landed.inc(landed.new)
        self._metrics.landed_again.inc(landed.known)
        self._metrics.set_aside.inc(len(landed.aside))
        for one in landed.aside:
            _log.error("order.set_aside sale=%s order=%s reason=%s", self._bucket.sale, one.order_id, one.reason)
