"""The audit: where every unit is, by number.

    loaded = free in buckets + on the move + in outboxes + live orders + returns under way + held

Stated here and nowhere else; the command line, the tests and the rehearsal's verdict call this module. A unit may
show up twice while it passes from one place to the next (landed but not trimmed, given back but not noted); those
pairs are known and counted at the later place. The two stores can't be read in the same instant, so the buckets are
read before and after Postgres, and what looks wrong is looked at again; only what stays is reported.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from flashsale import audit_stores, ledger, stock
from flashsale.audit_stores import InBuckets, Recorded
from flashsale.queries import Pool
from flashsale.sale import Sale, UnitPool
from flashsale.stores import Client

LOOKS_MAX: Final = 4
LOOK_AGAIN_S: Final = 0.4
NAMED_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class ItemAudit:
    """The equation for one item and pool, in units. difference: loaded less all the places; 0 when it balances.

    missing, doubled, beyond: numbers of units that are nowhere, in two places, or were never loaded.
    """

    item: str
    pool: UnitPool
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
    held: int = 0

    @property
    def difference(self) -> int:
        """Units that the places don't account for."""
        return self.loaded - (self.free + self.moving + self.outbox + self.live + self.returning + self.held)

    @property
    def balanced(self) -> bool:
        """Whether every unit is in exactly one place."""
        return not (self.difference or self.missing or self.doubled or self.beyond or self.counter_off)


@dataclass(frozen=True, slots=True)
class Audit:
    """The equation for every item of a sale. closed: buckets that are empty or being rebuilt."""

    sale: str
    items: tuple[ItemAudit, ...]
    set_aside: int
    closed: int = 0

    @property
    def balanced(self) -> bool:
        """Whether it holds for every item."""
        return all(item.balanced for item in self.items)


async def audit(redis: Client, postgres: Pool, sale_name: str) -> Audit:
    """Audit one sale; may run while it sells. What is off must be so, for the same units, in every look. Raises
    NotFoundError."""
    result = await look(redis, postgres, sale_name)
    for _ in range(LOOKS_MAX - 1):
        if result.balanced:
            break
        await asyncio.sleep(LOOK_AGAIN_S)
        again = await look(redis, postgres, sale_name)
        pairs = zip(result.items, again.items, strict=True)
        result = replace(again, items=tuple(agreed(earlier, later) for earlier, later in pairs))
    return result


def agreed(earlier: ItemAudit, later: ItemAudit) -> ItemAudit:
    """A later look, in which only what was off in the earlier one too is off.

    A unit that is off in this look alone passed from one place to the next while they were read: it is on the move.
    """
    found = replace(
        later,
        missing=_rising(set(later.missing) & set(earlier.missing)),
        doubled=_rising(set(later.doubled) & set(earlier.doubled)),
        beyond=_rising(set(later.beyond) & set(earlier.beyond)),
        counter_off=later.counter_off if later.counter_off == earlier.counter_off else 0,
    )
    if found.missing or found.doubled or found.beyond:
        return found
    passing = found.difference
    return replace(found, moving=found.moving + max(0, passing), free=found.free + min(0, passing))


async def look(redis: Client, postgres: Pool, sale_name: str) -> Audit:
    """One look: at the buckets, at Postgres, and at the buckets again.

    A unit that moved meanwhile is in different places before and after; only what both looks at the buckets agree on
    can be held against it.
    """
    async with postgres.acquire() as connection:
        sale = await ledger.find(connection, sale_name)
    closed = [not one.loaded for one in await stock.facts(redis, sale.all_buckets)]
    before = await audit_stores.look_at_buckets(redis, sale)
    aside = await _in_fcode_bucket(redis, sale) if sale.takes_fcodes else {}
    async with postgres.acquire() as connection:
        in_outboxes = {order for item in before.values() for orders in item.outbox.values() for order in orders}
        recorded = await audit_stores.look_at_postgres(connection, sale_name, in_outboxes=in_outboxes)
    after = await audit_stores.look_at_buckets(redis, recorded.sale)
    closed_after = [not one.loaded for one in await stock.facts(redis, sale.all_buckets)]
    items: list[ItemAudit] = []
    for item in recorded.sale.items:
        its = recorded.of(item.item)
        found = _places(item.loaded, before[item.item], its, after[item.item])
        items += found.rows(item.item, aside[item.item], its) if sale.takes_fcodes else [found.row(item.item)]
    away = sum(a or b for a, b in zip(closed, closed_after, strict=True)) if sale.in_buckets else 0
    return Audit(sale=sale_name, items=tuple(items), set_aside=recorded.set_aside, closed=away)


async def _in_fcode_bucket(redis: Client, sale: Sale) -> dict[str, set[int]]:
    """By item, the units that are in the F-codes' bucket: free there, leaving it, or in its outbox."""
    buckets = sale.buckets_in(UnitPool.FCODE)
    seen = await audit_stores.look_at_buckets(redis, sale, buckets=buckets)
    return {item: one.free | one.moving | one.outbox.keys() for item, one in seen.items()}


@dataclass(frozen=True, slots=True)
class _Places:
    """One item's units by where they are, each at the furthest place it has reached; and what is off.

    twice: those that are held twice, by the place where they are counted once more.
    """

    loaded: int
    at: Mapping[str, set[int]]
    twice: Mapping[str, set[int]]
    missing: set[int]
    doubled: set[int]
    beyond: set[int]
    counter_off: int

    def row(self, item: str) -> ItemAudit:
        """The equation for all units."""
        count = {place: len(units) + len(self.twice.get(place, ())) for place, units in self.at.items()}
        return ItemAudit(
            item=item,
            pool=UnitPool.PUBLIC,
            loaded=self.loaded,
            missing=_rising(self.missing),
            doubled=_rising(self.doubled),
            beyond=_rising(self.beyond),
            counter_off=self.counter_off,
            **count,
        )

    def rows(self, item: str, in_bucket: set[int], recorded: Recorded) -> list[ItemAudit]:
        """The equation for each pool. in_bucket: the units that are in the bucket of the F-codes. The counters of all
        buckets together are told with everybody's units."""
        coming = self.at["moving"] & recorded.moving & recorded.loaded_by_fcode
        fcode = in_bucket | recorded.by_fcode | coming | (self.missing & recorded.loaded_by_fcode)
        aside = self._of(fcode)
        return [self._less(aside).row(item), replace(aside.row(item), pool=UnitPool.FCODE)]

    def _of(self, units: set[int]) -> "_Places":
        """What there is of these units."""
        at = {place: some & units for place, some in self.at.items()}
        seen = self.missing.union(*at.values()) & units
        return _Places(
            loaded=sum(1 for unit in seen if unit <= self.loaded),
            at=at,
            twice={place: some & units for place, some in self.twice.items()},
            missing=self.missing & units,
            doubled=self.doubled & units,
            beyond=self.beyond & units,
            counter_off=0,
        )

    def _less(self, other: "_Places") -> "_Places":
        """What there is of the others."""
        return _Places(
            loaded=self.loaded - other.loaded,
            at={place: some - other.at[place] for place, some in self.at.items()},
            twice={place: some - other.twice[place] for place, some in self.twice.items()},
            missing=self.missing - other.missing,
            doubled=self.doubled - other.doubled,
            beyond=self.beyond - other.beyond,
            counter_off=self.counter_off,
        )


def _places(loaded: int, before: InBuckets, recorded: Recorded, after: InBuckets) -> _Places:
    """Count each unit at the furthest place it has reached, one that is held twice at both, and name what is off."""
    live = set(recorded.live)
    waiting_before, waiting_after = _waiting(before, recorded), _waiting(after, recorded)
    waiting = {u: waiting_before[u] & waiting_after[u] for u in waiting_before.keys() & waiting_after.keys()}
    waiting = {unit: orders for unit, orders in waiting.items() if orders}
    sold_twice = waiting.keys() & live
    free_too = (before.free & after.free) & (live | waiting.keys())

    # A held unit leaves by Postgres alone: seen once elsewhere, it left after the look at Postgres; seen twice, not.
    held_too = recorded.held & ((before.free & after.free) | waiting.keys() | live)
    held = recorded.held - live

    outbox = (waiting_before.keys() | waiting_after.keys()) - live - held
    free = (before.free | after.free) - live - outbox - held
    returning = recorded.returning - live - outbox - free - held
    moving = (recorded.moving | before.moving | after.moving) - live - outbox - free - returning - held
    # An order that is set aside is on its way still; its unit counts there when it is nowhere else.
    aside = {unit for unit in recorded.aside if unit <= loaded}
    outbox |= aside - live - outbox - free - returning - moving - held
    everywhere = live | outbox | free | returning | moving | held
    in_two_orders = {unit for unit, orders in waiting.items() if len(orders) > 1}
    return _Places(
        loaded=loaded,
        at={"free": free, "moving": moving, "outbox": outbox, "live": live, "returning": returning, "held": held},
        twice={"free": free_too, "outbox": sold_twice, "held": held_too},
        missing=set(range(1, loaded + 1)) - everywhere,
        doubled=(before.free_twice & after.free_twice) | sold_twice | free_too | held_too | in_two_orders,
        beyond={unit for unit in everywhere if unit > loaded},
        counter_off=before.counter_off if before.counter_off == after.counter_off else 0,
    )


def _waiting(seen: InBuckets, recorded: Recorded) -> dict[int, frozenset[str]]:
    """Unit to the orders in the outbox that hold it and that Postgres does not know yet."""
    known = recorded.ended | set(recorded.live.values())
    waiting = {unit: orders - known for unit, orders in seen.outbox.items()}
    return {unit: orders for unit, orders in waiting.items() if orders}


def _rising(units: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(units))


def as_data(audited: Audit) -> dict[str, Any]:
    """An audit for scripts, in the form that measure and rehearse share. Of units that are off, 20 are named."""
    return {
        "sale": audited.sale,
        "balanced": audited.balanced,
        "set_aside": audited.set_aside,
        "closed_buckets": audited.closed,
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
                "held": item.held,
                "difference": item.difference,
                "missing_units": list(item.missing[:NAMED_MAX]),
                "doubled_units": list(item.doubled[:NAMED_MAX]),
                "beyond_units": list(item.beyond[:NAMED_MAX]),
                "counter_off": item.counter_off,
            }
            for item in audited.items
        ],
    }
