"""Lands one bucket's outbox: read in bulk, commit, then trim. One worker a bucket at a time, by lease."""

import asyncio
import logging

from redis.asyncio import Redis

from flashsale import limits, order, outbox, scripts
from flashsale.keys import Bucket
from flashsale.metrics import WorkerMetrics
from flashsale.queries import Pool

_log = logging.getLogger(__name__)


class Lander:
    """Moves one bucket's orders. Every step may be repeated by anybody, so dying anywhere loses nothing."""

    def __init__(self, *, redis: Redis, postgres: Pool, bucket: Bucket, holder: str, metrics: WorkerMetrics) -> None:
        self._redis = redis
        self._postgres = postgres
        self._bucket = bucket
        self._holder = holder
        self._metrics = metrics
        self._lease = scripts.load("lease").at([bucket.lease_key])
        self._after = "0"

    async def step(self) -> None:
        """Hold the lease and land what is there; wait a little when nothing is. Raises when a store is away."""
        if not await self._lease(self._redis, self._holder, limits.LEASE_MS):
            self._after = "0"
            await asyncio.sleep(limits.LEASE_MS / 1000 / 4)
            return
        if not await self.land():
            await outbox.wait(self._redis, self._bucket, after=self._after, block_ms=limits.OUTBOX_BLOCK_MS)

    async def land(self) -> int:
        """Land one read's worth of orders. Returns how many were read."""
        try:
            entries = await outbox.read(
                self._redis, self._bucket, after=self._after, count=limits.OUTBOX_ENTRIES_PER_READ
            )
            if not entries:
                return 0
            async with self._postgres.acquire() as connection:
                landed = await order.land(
                    connection, sale=self._bucket.sale, bucket=self._bucket.number, entries=entries
                )
            await outbox.trim(self._redis, self._bucket, entries)
        except BaseException:
            self._after = "0"  # whatever was not trimmed is read again
            raise
        self._after = entries[-1].entry_id
        self._count(landed)
        return sum(entry.orders for entry in entries)

    def _count(self, landed: order.Landed) -> None:
        self._metrics.landed.inc(landed.new)
        self._metrics.landed_again.inc(landed.known)
        self._metrics.set_aside.inc(len(landed.aside))
        for one in landed.aside:
            _log.error("order.set_aside sale=%s order=%s reason=%s", self._bucket.sale, one.order_id, one.reason)
