"""What the worker does besides landing: expiry, returns, and keeping buckets and plan level."""

import asyncio
import itertools
import logging
from collections.abc import Sequence
from typing import Final

from flashsale import clock, limits, memory, order, stock
from flashsale.keys import Bucket
from flashsale.metrics import WorkerMetrics
from flashsale.operations import Operations
from flashsale.outcomes import Effect
from flashsale.queries import Connection, Pool, query
from flashsale.sale import Sale, State
from flashsale.settled import Settler
from flashsale.stock import BucketFacts, Returned
from flashsale.stores import Client, Stores

_log = logging.getLogger(__name__)
_DONE: Final = {Effect.APPLIED, Effect.APPLIED_BEFORE}


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


async def give_back(postgres: Pool, settler: Settler, sale: Sale, metrics: WorkerMetrics) -> int:
    """Put the units of ended orders back on sale, or hold them, as was decided where the order ended; and note it.

    Only what is settled is noted: a bucket that fails over may have forgotten the rest, which waits for a later turn.
    Safe to repeat. Returns how many were noted.
    """
    given = 0
    async with postgres.acquire() as connection, connection.transaction():
        waiting = await connection.fetch(query("orders", "returns_waiting"), sale.sale, limits.RETURNS_PER_READ)
        for (bucket, item, hold), rows in itertools.groupby(
            waiting, key=lambda row: (row["bucket"], row["item"], row["hold"])
        ):
            returned = [Returned(row["order_id"].hex, row["fan"]) for row in rows]
            for at in range(0, len(returned), limits.RETURNS_PER_CALL):
                part = returned[at : at + limits.RETURNS_PER_CALL]
                place = Bucket(sale.sale, bucket)
                effects, settled = await stock.give_back(settler, bucket=place, item=item, returned=part, hold=hold)
                if settled:
                    given += await _note(connection, place, part, effects, metrics, hold=hold)
    return given


async def _note(
    connection: Connection,
    bucket: Bucket,
    returned: Sequence[Returned],
    effects: Sequence[Effect],
    metrics: WorkerMetrics,
    *,
    hold: bool,
) -> int:
    """Write down what has come back for good, and what the bucket does not know. What is fenced waits."""
    done = [one.order for one, effect in zip(returned, effects, strict=True) if effect in _DONE]
    refused = [one.order for one, effect in zip(returned, effects, strict=True) if effect is Effect.NO_SUCH_ORDER]
    noted = len(await connection.fetch(query("orders", "returns_given_back"), done))
    if refused:
        await connection.execute(query("orders", "returns_refused"), refused)
        metrics.not_given_back.inc(len(refused))
        _log.error("return.unknown_to_bucket sale=%s units=%d", bucket.sale, len(refused))
    (metrics.held if hold else metrics.given_back).inc(noted)
    return noted


async def keep_level(operations: Operations, sale: Sale, facts: Sequence[BucketFacts]) -> Sale:
    """Write down what the clock decided, and tell the buckets what Postgres decided. facts: what the buckets said.

    Returns the sale as it is then.
    """
    current = await operations.note_clock(sale)
    behind = any(one.loaded and one.version < current.version for one in facts)
    if current.state is State.CLOSED and not behind:
        return current
    await operations.settle(current)
    return current


async def watch_memory(redis: Client, sales: Sequence[Sale], metrics: WorkerMetrics) -> None:
    """Let selling pause before a server is full, and go on when there is room; tell how full they are."""
    seen = await memory.look(redis)
    for server, share in seen.shares.items():
        metrics.memory_used_share.labels(server=server).set(share)
    for sale in sales:
        facts = await stock.facts(redis, sale.all_buckets)
        await memory.keep_marks(redis, seen, zip(sale.all_buckets, facts, strict=True))
        metrics.memory_short.labels(sale=sale.sale).set(sum(one.memory_short for one in facts))


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
