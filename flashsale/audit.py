"""The audit: where every unit is, by number.

    loaded = free in buckets + on the move + in outboxes + live orders + returns under way

Stated here and nowhere else; the command line, the tests and the rehearsal's verdict call this module. A unit may
show up twice while it passes from one place to the next (landed but not trimmed, given back but not noted); those
pairs are known and counted at the later place. The two stores can't be read in the same instant, so the buckets are
read before and after Postgres, and what looks wrong is looked at again; only what stays is reported.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from flashsale import audit_stores, ledger
from flashsale.audit_stores import InBuckets, Recorded
from flashsale.queries import Pool

POOL_PUBLIC: Final = "public"
LOOKS_MAX: Final = 4
LOOK_AGAIN_S: Final = 0.4
NAMED_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class ItemAudit:
    """The equation for one item and pool, in units. difference: loaded less all the places; 0 when it balances.

    missing, doubled, beyond: numbers of units that are nowhere, in two places, or were never loaded (the first 20).
    """

    item: str
    pool: str
    loaded: int
    free: int
    moving: int
    outbox: int
    live: int
    returning: int
    missing: tuple[int, ...]
    doubled: tuple[int, ...]
    beyond: tuple[int, ...]
    counter_off: int

    @property
    def difference(self) -> int:
        """Units that the places don't account for."""
        return self.loaded - (self.free + self.moving + self.outbox + self.live + self.returning)

    @property
    def balanced(self) -> bool:
        """Whether every unit is in exactly one place."""
        return not (self.difference or self.missing or self.doubled or self.beyond or self.counter_off)


@dataclass(frozen=True, slots=True)
class Audit:
    """The equation for every item of a sale."""

    sale: str
    items: tuple[ItemAudit, ...]
    set_aside: int

    @property
    def balanced(self) -> bool:
        """Whether it holds for every item."""
        return all(item.balanced for item in self.items)


async def audit(redis: Redis, postgres: Pool, sale_name: str) -> Audit:
    """Audit one sale; may run while it sells. Raises NotFoundError."""
    result = await look(redis, postgres, sale_name)
    for _ in range(LOOKS_MAX - 1):
        if result.balanced:
            break
        await asyncio.sleep(LOOK_AGAIN_S)
        result = await look(redis, postgres, sale_name)
    return result


async def look(redis: Redis, postgres: Pool, sale_name: str) -> Audit:
    """One look: at the buckets, at Postgres, and at the buckets again.

    A unit that moved meanwhile is in different places before and after; only what both looks at the buckets agree on
    can be held against it.
    """
    async with postgres.acquire() as connection:
        sale = await ledger.find(connection, sale_name)
    before = await audit_stores.look_at_buckets(redis, sale)
    async with postgres.acquire() as connection:
        in_outboxes = {order for item in before.values() for orders in item.outbox.values() for order in orders}
        recorded = await audit_stores.look_at_postgres(connection, sale_name, in_outboxes=in_outboxes)
    after = await audit_stores.look_at_buckets(redis, recorded.sale)
    items = tuple(
        _item(item.item, item.loaded, before[item.item], recorded.of(item.item), after[item.item])
        for item in recorded.sale.items
    )
    return Audit(sale=sale_name, items=items, set_aside=recorded.set_aside)


def _item(item: str, loaded: int, before: InBuckets, recorded: Recorded, after: InBuckets) -> ItemAudit:
    """Count each unit at the furthest place it has reached, one that is held twice at both, and name what is off."""
    live = set(recorded.live)
    waiting_before, waiting_after = _waiting(before, recorded), _waiting(after, recorded)
    waiting = {u: waiting_before[u] & waiting_after[u] for u in waiting_before.keys() & waiting_after.keys()}
    waiting = {unit: orders for unit, orders in waiting.items() if orders}
    sold_twice = waiting.keys() & live
    free_too = (before.free & after.free) & (live | waiting.keys())

    outbox = (waiting_before.keys() | waiting_after.keys()) - live
    free = (before.free | after.free) - live - outbox
    returning = recorded.returning - live - outbox - free
    moving = recorded.moving - live - outbox - free - returning
    everywhere = live | outbox | free | returning | moving
    in_two_orders = {unit for unit, orders in waiting.items() if len(orders) > 1}
    return ItemAudit(
        item=item,
        pool=POOL_PUBLIC,
        loaded=loaded,
        free=len(free) + len(free_too),
        moving=len(moving),
        outbox=len(outbox) + len(sold_twice),
        live=len(live),
        returning=len(returning),
        missing=_named(set(range(1, loaded + 1)) - everywhere),
        doubled=_named((before.free_twice & after.free_twice) | sold_twice | free_too | in_two_orders),
        beyond=_named(unit for unit in everywhere if unit > loaded),
        counter_off=before.counter_off if before.counter_off == after.counter_off else 0,
    )


def _waiting(seen: InBuckets, recorded: Recorded) -> dict[int, frozenset[str]]:
    """Unit to the orders in the outbox that hold it and that Postgres does not know yet."""
    known = recorded.ended | set(recorded.live.values())
    waiting = {unit: orders - known for unit, orders in seen.outbox.items()}
    return {unit: orders for unit, orders in waiting.items() if orders}


def _named(units: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(units)[:NAMED_MAX])


def as_data(audited: Audit) -> dict[str, Any]:
    """An audit for scripts, in the form that measure and rehearse share."""
    return {
        "sale": audited.sale,
        "balanced": audited.balanced,
        "set_aside": audited.set_aside,
        "items": [
            {
                "item": item.item,
                "pool": item.pool,
                "loaded": item.loaded,
                "free": item.free,
                "moving": item.moving,
                "outbox": item.outbox,
                "live": item.live,
                "returning": item.returning,
                "difference": item.difference,
                "missing_units": list(item.missing),
                "doubled_units": list(item.doubled),
                "beyond_units": list(item.beyond),
                "counter_off": item.counter_off,
            }
            for item in audited.items
        ],
    }
