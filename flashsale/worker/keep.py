"""What the worker does besides landing: expiry, returns, and keeping buckets and plan level."""

import asyncio
import itertools
import logging
from collections.abc import Sequence

from flashsale import clock, limits, order, stock
from flashsale.keys import Bucket
from flashsale.metrics import WorkerMetrics
from flashsale.operations import Operations
from flashsale.outcomes import Effect
from flashsale.queries import query
from flashsale.sale import Sale, State
from flashsale.stock import BucketFacts, Returned
from flashsale.stores import Stores

_log = logging.getLogger(__name__)


async def expire(stores: Stores, metrics: WorkerMetrics) -> int:
    """End every order that is past its payment window now. Returns how many."""
    ended = 0
    while True:
        async with stores.postgres.acquire() as connection:
            some = await order.expire(connection, now_ms=clock.now_ms())
        metrics.expired.inc(some)
        ended += some
        if some < limits.EXPIRED_PER_TRANSACTION:
            return ended


async def give_back(stores: Stores, sale: Sale, metrics: WorkerMetrics) -> int:
    """Put the units of ended orders back on sale, and note it. Safe to repeat. Returns how many came back."""
    async with stores.postgres.acquire() as connection:
        waiting = await connection.fetch(query("orders", "returns_waiting"), sale.sale, limits.RETURNS_PER_READ)
    given = 0
    for (bucket, item), rows in itertools.groupby(waiting, key=lambda row: (row["bucket"], row["item"])):
        returned = [Returned(row["order_id"].hex, row["fan"]) for row in rows]
        for at in range(0, len(returned), limits.RETURNS_PER_CALL):
            part = returned[at : at + limits.RETURNS_PER_CALL]
            given += await _give_back(stores, Bucket(sale.sale, bucket), item, part, metrics)
    return given


async def _give_back(
    stores: Stores, bucket: Bucket, item: str, returned: Sequence[Returned], metrics: WorkerMetrics
) -> int:
    effects = await stock.give_back(stores.redis, bucket=bucket, item=item, returned=returned)
    done = [one.order for one, effect in zip(returned, effects, strict=True) if effect is not Effect.NO_SUCH_ORDER]
    refused = [one.order for one, effect in zip(returned, effects, strict=True) if effect is Effect.NO_SUCH_ORDER]
    async with stores.postgres.acquire() as connection:
        await connection.execute(query("orders", "returns_given_back"), done)
        if refused:
            await connection.execute(query("orders", "returns_refused"), refused)
            metrics.not_given_back.inc(len(refused))
            _log.error("return.unknown_to_bucket sale=%s units=%d", bucket.sale, len(refused))
    metrics.given_back.inc(effects.count(Effect.APPLIED))
    return len(done)


async def keep_level(operations: Operations, sale: Sale, facts: Sequence[BucketFacts]) -> Sale:
    """Write down what the clock decided, and tell the buckets what Postgres decided. facts: what the buckets said.

    Returns the sale as it is then.
    """
    current = await operations.note_clock(sale)
    behind = any(one.loaded and one.version < current.version for one in facts)
    if current.state is State.CLOSED and not behind:
        return current
    effects = await operations.settle(current)
    odd = [effect for effect in effects if effect in (Effect.NOT_LOADED, Effect.OTHER_GENERATION)]
    if odd:
        _log.error("sale.bucket_lost sale=%s effect=%s", sale.sale, odd[0].name)
    return current


async def plan_next_week(operations: Operations, sale: Sale) -> None:
    """Draft the next occurrence of a weekly sale that is over. Safe to repeat."""
    following = await operations.next_occurrence(sale.sale)
    if following:
        _log.info("sale.next_occurrence sale=%s next=%s", sale.sale, following.sale)


async def pause_between(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the process is to stop."""
    try:
        await asyncio.wait_for(stop.wait(), timeout=seconds)
    except TimeoutError:
        return
