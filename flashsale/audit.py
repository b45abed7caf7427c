"""The audit: where every unit is, by number.

    loaded = free in buckets + on the move + in outboxes + live orders + returns under way

Stated here and nowhere else; the command line, the tests and the rehearsal's verdict call this module. A unit may
show up twice while it passes from one place to the next (landed but not trimmed, given back but not noted); those
pairs are known and counted at the later place. A unit that is in no place, or in two that don't follow each other,
is looked at again, since the two stores can't be read in the same instant; only what stays is reported.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis

from flashsale import ledger, outbox, stock
from flashsale.queries import Pool, query
from flashsale.sale import Sale

POOL_PUBLIC: Final = "public"
LOOKS_MAX: Final = 4
LOOK_AGAIN_S: Final = 0.4
NAMED_MAX: Final = 20
_ENTRIES_PER_READ: Final = 200


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


@dataclass(slots=True)
class _Places:
    """Where the units of one item were seen. Order ids stand beside units that an order holds."""

    free: set[int] = field(default_factory=set)
    free_twice: set[int] = field(default_factory=set)
    moving: set[int] = field(default_factory=set)
    outbox: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    live: dict[int, str] = field(default_factory=dict)
    returning: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    counter: int = 0


async def audit(redis: Redis, postgres: Pool, sale_name: str) -> Audit:
    """Audit one sale; may run while it sells. Raises NotFoundError."""
    result = await _look(redis, postgres, sale_name)
    for _ in range(LOOKS_MAX - 1):
        if result.balanced:
            break
        await asyncio.sleep(LOOK_AGAIN_S)
        result = await _look(redis, postgres, sale_name)
    return result


async def _look(redis: Redis, postgres: Pool, sale_name: str) -> Audit:
    """One look at both stores: the buckets first, so that what leaves them meanwhile is seen where it arrives."""
    async with postgres.acquire() as connection:
        sale = await ledger.find(connection, sale_name)
    places: dict[str, _Places] = defaultdict(_Places)
    await _look_at_buckets(redis, sale, places)
    async with (
        postgres.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        sale = await ledger.find(connection, sale_name)
        for load in await ledger.loads_waiting(connection, sale_name):
            places[load.item].moving.update(range(load.unit_from, load.unit_to + 1))
        for row in await connection.fetch(query("orders", "live_units"), sale_name):
            places[row["item"]].live[row["unit"]] = row["order_id"].hex
        for row in await connection.fetch(query("orders", "returning_units"), sale_name):
            places[row["item"]].returning[row["unit"]].add(row["order_id"].hex)
        set_aside = len(await connection.fetch(query("orders", "set_aside_units"), sale_name))
    items = tuple(_item(item.item, item.loaded, places[item.item]) for item in sale.items)
    return Audit(sale=sale_name, items=items, set_aside=set_aside)


async def _look_at_buckets(redis: Redis, sale: Sale, places: dict[str, _Places]) -> None:
    for bucket, facts in zip(sale.all_buckets, await stock.facts(redis, sale.all_buckets), strict=True):
        after = "0"
        while entries := await outbox.read(redis, bucket, after=after, count=_ENTRIES_PER_READ):
            after = entries[-1].entry_id
            for win in itertools.chain.from_iterable(entry.wins for entry in entries):
                places[win.item].outbox[win.unit].add(win.order)
        for item in sale.items:
            place = places[item.item]
            for first, last in await stock.free_ranges(redis, bucket, item.item):
                units = set(range(first, last + 1))
                place.free_twice |= place.free & units
                place.free |= units
            place.counter += facts.free.get(item.item, 0)


def _item(item: str, loaded: int, places: _Places) -> ItemAudit:
    """Count each unit once, at the furthest place it has reached, and name those that don't fit."""
    live = set(places.live)
    on_way = {unit for unit, orders in places.outbox.items() if places.live.get(unit) not in orders}
    # Landed, ended and coming back, all before the outbox was trimmed: it is in the return.
    on_way = {unit for unit in on_way if not places.outbox[unit] <= places.returning.get(unit, set())}
    returning = {unit for unit in places.returning if unit not in places.free | on_way | live}
    moving = places.moving - places.free - on_way - live
    counted = [places.free, moving, on_way, live, returning]
    everywhere: set[int] = set().union(*counted)
    doubled = places.free_twice | _in_two(counted) | {u for u in on_way if len(places.outbox[u]) > 1}
    return ItemAudit(
        item=item,
        pool=POOL_PUBLIC,
        loaded=loaded,
        free=len(places.free),
        moving=len(moving),
        outbox=len(on_way),
        live=len(live),
        returning=len(returning),
        missing=_named(unit for unit in range(1, loaded + 1) if unit not in everywhere),
        doubled=_named(sorted(doubled)),
        beyond=_named(sorted(unit for unit in everywhere if unit > loaded)),
        counter_off=places.counter - len(places.free),
    )


def _in_two(places: Iterable[set[int]]) -> set[int]:
    seen: set[int] = set()
    twice: set[int] = set()
    for place in places:
        twice |= seen & place
        seen |= place
    return twice


def _named(units: Iterable[int]) -> tuple[int, ...]:
    return tuple(itertools.islice(units, NAMED_MAX))
