"""Watches the buckets: one older than what Postgres knows is rebuilt at once, an empty one waits for a person.

A server that came back with an older copy, or a replica that took over and lagged, has the right data but the newest:
rebuilding it can only help. An empty one may be the wrong server, or one whose disk will still be found.
"""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flashsale import limits, stock
from flashsale.condition import Condition, Finding
from flashsale.metrics import WorkerMetrics
from flashsale.rebuild import FenceLostError
from flashsale.recovery import Recovery
from flashsale.router import Router
from flashsale.sale import Sale
from flashsale.stock import BucketFacts
from flashsale.stores import Stores

_log = logging.getLogger(__name__)
# What is counted in Postgres costs more the more orders there are; looking takes this share of the time at the most.
_COST_SHARE: Final = 0.05
_SAY_AGAIN_S: Final = 60.0
_CLOSED: Final = (Condition.EMPTY, Condition.FENCED, Condition.STRANGE)


@dataclass(slots=True)
class _Look:
    """The last look at a sale: what its buckets said before it, and when the next one may be.

    lost: what was told of buckets that wait for a person, and until when that is not told again.
    """

    said: Sequence[tuple[object, ...]] = ()
    next_s: float = 0.0
    lost: str = ""
    told_until_s: float = 0.0


class Watch:
    """Looks after the buckets of all sales. Two workers at it do no harm: one recovery of a sale works at a time."""

    def __init__(self, opened: Stores, router: Router, metrics: WorkerMetrics) -> None:
        self._stores = opened
        self._router = router
        self._metrics = metrics
        self._looks: dict[str, _Look] = {}

    async def step(self, sales: Sequence[Sale]) -> None:
        """Look at each sale whose buckets have done something since the last look. Raises what the stores raise."""
        self._looks = {sale.sale: self._looks.get(sale.sale, _Look()) for sale in sales}
        for sale in sales:
            look = self._looks[sale.sale]
            if not sale.in_buckets or time.monotonic() < look.next_s:
                continue
            said = [_signature(one) for one in await stock.facts(self._stores.redis, sale.all_buckets)]
            if said != look.said:
                recovery = Recovery(self._stores.redis, self._router, self._stores.postgres, sale)
                began = time.monotonic()
                found = await recovery.look()
                cost_s = time.monotonic() - began
                _tell_lost(look, sale, found)
                if await self._act(recovery, found):
                    look.said = said
                wait_s = min(cost_s / _COST_SHARE, limits.WATCH_BUCKETS_EVERY_S_MAX)
                look.next_s = time.monotonic() + max(limits.WATCH_BUCKETS_EVERY_S, wait_s)

    async def _act(self, recovery: Recovery, found: Sequence[Finding]) -> bool:
        """Rebuild what is older or was left fenced. False when it must be looked at again in any case."""
        sale = recovery.sale
        conditions = Counter(one.condition for one in found)
        for condition in _CLOSED:
            self._metrics.buckets_closed.labels(sale=sale.sale, condition=condition).set(conditions[condition])
        damaged = [one for one in found if one.condition in {Condition.OLDER, Condition.FENCED}]
        # What an empty bucket had would be taken for free units of the others; it may still be found.
        if damaged and not conditions[Condition.STRANGE] and not conditions[Condition.EMPTY]:
            await self._rebuild(recovery, damaged)
        return conditions[Condition.WHOLE] == len(found)

    async def _rebuild(self, recovery: Recovery, damaged: Sequence[Finding]) -> None:
        for one in damaged:
            _log.warning(
                "bucket.%s sale=%s bucket=%d wins=%d known=%d",
                one.condition, one.bucket.sale, one.bucket.number, one.facts.wins, one.known.wins,
            )  # fmt: skip
        try:
            made = await recovery.rebuild(damaged, actor="worker")
        except FenceLostError as busy:
            _log.warning("bucket.recovery_elsewhere sale=%s: %s", recovery.sale.sale, busy)
            return
        self._metrics.recovered.inc(len(made))
        _log.warning("bucket.recovered sale=%s buckets=%d", recovery.sale.sale, len(made))


def _tell_lost(look: _Look, sale: Sale, found: Sequence[Finding]) -> None:
    """Name the buckets that wait for a person, and the command; again when they change, or after a while."""
    lost = ", ".join(
        f"{one.condition} {one.bucket.number}" for one in found if one.condition in {Condition.EMPTY, Condition.STRANGE}
    )
    now_s = time.monotonic()
    if lost and (lost != look.lost or now_s >= look.told_until_s):
        _log.error("bucket.lost sale=%s buckets=%s: see flashsale recover %s --dry-run", sale.sale, lost, sale.sale)
        look.told_until_s = now_s + _SAY_AGAIN_S
    look.lost = lost


def _signature(said: BucketFacts) -> tuple[object, ...]:
    """All that a look goes by, and the outbox: what was hidden by orders on their way shows when they have landed."""
    return said.generation, said.fenced, said.wins, said.returned, said.loads, said.moves, said.outbox
