"""Settles what was set aside: an order whose unit Postgres refused gets another one, or is refused and its fan is told.

Every step is safe to repeat and to be cut anywhere. An order is given a unit in its bucket and lands as any other; the
row here learns of that afterwards. It is refused in one transaction in Postgres, and its bucket hears of it afterwards.
"""

import logging
import uuid
from collections.abc import Sequence

from flashsale import limits, order, set_aside, stock
from flashsale.keys import Bucket
from flashsale.metrics import WorkerMetrics
from flashsale.outcomes import Effect, Outcome
from flashsale.queries import Connection
from flashsale.sale import Sale, State
from flashsale.set_aside import Waiting
from flashsale.stores import TROUBLE, Stores

_log = logging.getLogger(__name__)
_DRY = {Effect.DRY.value, Outcome.SOLD_OUT.value}
# The bucket takes the order for over, or for one of another item. It should not; it may be mended by a recovery.
_ODD = {Effect.STALE.value, Effect.NO_SUCH_ORDER.value}


async def settle_all(stores: Stores, sales: Sequence[Sale], metrics: WorkerMetrics) -> set[str]:
    """Take all that is set aside as far as it goes now. Returns the names of the sales in which something is open.

    Raises what a store raises, once all sales had their turn.
    """
    async with stores.postgres.acquire() as connection:
        counted = await set_aside.counts(connection)
        still_open = await set_aside.sales_open(connection)
    metrics.aside.clear()
    for (sale_name, state), orders in counted.items():
        metrics.aside.labels(sale=sale_name, state=state).set(orders)
    troubles = []
    for sale in sales:
        if sale.sale in still_open:
            try:
                await settle(stores, sale)
            except TROUBLE as trouble:
                troubles.append(trouble)  # a bucket that is away is no trouble of the other sales
    if troubles:
        raise troubles[0]
    return still_open


async def settle(stores: Stores, sale: Sale) -> None:
    """Take the orders of one sale as far as they go now. Safe to repeat, and for two workers at once."""
    async with stores.postgres.acquire() as connection:
        for order_id in await set_aside.note_landed(connection, sale.sale):
            _log.warning("order.replaced sale=%s order=%s", sale.sale, order_id)
        for order_id, item in await set_aside.to_ask(connection, sale.sale):
            await _settle_one(connection, stores, sale, item, order_id)
        for over in await set_aside.to_tell(connection, sale.sale):
            # A bucket that does not know the order has nothing to end.
            bucket = Bucket(sale.sale, over.bucket)
            if await stock.end_line(stores.redis, bucket=bucket, win=over.win, unit=over.unit) is not Effect.FENCED:
                await set_aside.note_told(connection, over.win.order_id)


async def _settle_one(connection: Connection, stores: Stores, sale: Sale, item: str, order_id: uuid.UUID) -> None:
    """Ask the bucket for another unit, or refuse the order. Its row is locked, so that no other worker does."""
    async with connection.transaction():
        waiting = await set_aside.lock_waiting(connection, sale.sale, item, order_id)
        if waiting is None:
            return
        reason: str | None = waiting.reason
        if reason not in order.HAS_ANOTHER:
            reason = await _ask(connection, stores, sale, waiting)
        if reason is None:
            return
        state = await set_aside.refuse(connection, sale.sale, waiting, reason=reason)
    if state is set_aside.State.REFUSED:
        _log.error("order.refused sale=%s order=%s reason=%s", sale.sale, order_id, reason)


async def _ask(connection: Connection, stores: Stores, sale: Sale, waiting: Waiting) -> str | None:
    """Ask the bucket. Returns why the order is to be refused; None when it got a unit, or is to be asked for again."""
    win, bucket = waiting.win, Bucket(sale.sale, waiting.bucket)
    if len(waiting.tried) >= limits.ASIDE_TRIED_MAX:
        return order.NO_UNIT
    code, unit = await stock.replace_unit(stores.redis, bucket=bucket, win=win, tried=waiting.tried)
    if code == Outcome.ALREADY_BOUGHT:
        return order.OVER_LIMIT
    if code in _DRY and not await _may_get_one(connection, stores, sale, waiting):
        return order.NO_UNIT
    if code in _ODD and waiting.waited_s > limits.ASIDE_WAIT_S:
        return order.NO_UNIT
    await set_aside.note_offered(connection, win.order_id, unit or None)
    return None


async def _may_get_one(connection: Connection, stores: Stores, sale: Sale, waiting: Waiting) -> bool:
    """Whether an order whose bucket is dry is to be asked for again, rather than refused.

    Units that are on their way are waited for, and those of unpaid orders for a while, unless the sale is over. The
    buckets are looked at before and after: one look could miss a unit that moves from one to another.
    """
    if waiting.waited_s > limits.ASIDE_WAIT_S:
        return False
    item, buckets = waiting.win.item, sale.all_buckets
    its_pool = set(sale.buckets_in(sale.pool_of(waiting.bucket)))
    before = await stock.facts(stores.redis, buckets)
    unpaid_too = sale.state is not State.CLOSED and waiting.waited_s < limits.ASIDE_DRY_S
    if await set_aside.units_may_come(connection, sale.sale, item, unpaid_too=unpaid_too):
        return True
    after = await stock.facts(stores.redis, buckets)
    # What is free in its own bucket was passed over by the script: those units were tried.
    looks = zip(buckets * 2, (*before, *after), strict=True)
    others = [one for bucket, one in looks if bucket in its_pool and bucket.number != waiting.bucket]
    return (
        any(one.free.get(item, 0) for one in others)
        or any(one.moving.get(item, 0) for one in (*before, *after))
        or [one.moves for one in before] != [one.moves for one in after]
        or not all(one.loaded for one in after)
    )
