"""Evens out the buckets of one sale: ends the transfers that are open, and moves units to where they are wanted."""

import time
from collections.abc import Sequence

from flashsale import balance, limits, stock
from flashsale.balance import Balancer
from flashsale.metrics import WorkerMetrics
from flashsale.router import Router
from flashsale.sale import Sale
from flashsale.settled import Settler
from flashsale.stock import BucketFacts


class Balance:
    """The balance of one sale. Two workers at it do no harm, only double work."""

    def __init__(self, router: Router, sale: Sale, *, settler: Settler, metrics: WorkerMetrics) -> None:
        self._router = router
        self._sale = sale
        self._balancer = Balancer(router, sale=sale.sale, settler=settler)
        self._metrics = metrics
        self._before: Sequence[BucketFacts] = ()
        self._looked = 0.0
        self._came: dict[tuple[int, str], float] = {}

    async def step(self) -> int:
        """One look and what follows from it. Returns how many units came in. Raises what the client raises."""
        facts = await stock.facts(self._router, self._sale.all_buckets)
        last_units = time.monotonic() - self._looked >= limits.LAST_UNITS_EVERY_S
        before = self._before or facts
        if last_units:
            self._before, self._looked = facts, time.monotonic()
        if not all(one.loaded for one in facts):
            return 0  # a bucket that lost its memory is for the recovery; until then nothing goes in or out
        came_in = await self._finish(facts)
        public = slice(self._sale.buckets)  # what is set aside for F-codes is not evened out
        for item in self._sale.items:
            seen = before if last_units else facts
            for move in balance.moves(item.item, facts[public], seen[public], keep=self._awaited(item.item)):
                self._came[move.to, item.item] = time.monotonic()
                came_in += await self._balancer.carry_out(move)
        self._metrics.moved.inc(came_in)
        return came_in

    def _awaited(self, item: str) -> set[int]:
        """The buckets to which a unit came a moment ago: its fans have not all asked again yet."""
        since = time.monotonic() - limits.LAST_UNITS_STAY_S
        return {bucket for (bucket, its_item), at in self._came.items() if its_item == item and at > since}

    async def _finish(self, facts: Sequence[BucketFacts]) -> int:
        """End the transfers that a worker left behind."""
        leaving = [
            bucket for bucket, one in zip(self._sale.all_buckets, facts, strict=True) if any(one.moving.values())
        ]
        transfers = await self._balancer.open_transfers(leaving) if leaving else []
        return sum([await self._balancer.bring_to_end(transfer) for transfer in transfers])
