"""What an audit reads of the two stores: where each says that the units are."""

import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from flashsale import held, ledger, outbox, stock
from flashsale.keys import Bucket
from flashsale.queries import Connection, query
from flashsale.sale import Sale, UnitPool
from flashsale.stores import Client

_ENTRIES_PER_READ: Final = 200
_NO_ORDERS: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class InBuckets:
    """One item's units as the buckets have them. outbox: unit to the orders that hold it there, 32 hex digits each.

    moving: on their way from one bucket to another.

    counter_off: how far the count of free units is from the free units themselves.
    """

    free: set[int]
    free_twice: set[int]
    moving: set[int]
    outbox: Mapping[int, frozenset[str]]
    counter_off: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """One item's units as Postgres has them. live: unit to its order.

    ended: those of the outboxes' orders that are over, 32 hex digits each. aside: those of orders that are set aside
    and neither landed nor over. by_fcode: those of all these that came from the F-codes' bucket, or are to go there;
    loaded_by_fcode: all that were ever loaded there.
    """

    moving: set[int] = field(default_factory=set)
    live: dict[int, str] = field(default_factory=dict)
    returning: set[int] = field(default_factory=set)
    held: set[int] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    aside: set[int] = field(default_factory=set)
    by_fcode: set[int] = field(default_factory=set)
    loaded_by_fcode: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Records:
    """All that Postgres has of a sale, at one instant."""

    sale: Sale
    items: Mapping[str, Recorded]
    set_aside: int

    def of(self, item: str) -> Recorded:
        """What there is of one item."""
        return self.items.get(item, Recorded())


async def look_at_buckets(
    redis: Client, sale: Sale, *, buckets: Sequence[Bucket] | None = None
) -> dict[str, InBuckets]:
    """Every item's units in these buckets, or all: the free ones first, so that one sold meanwhile is seen twice
    rather than nowhere; two looks tell that from one that really is in two places."""
    buckets = sale.all_buckets if buckets is None else buckets
    free = {item.item: await _free_in_all(redis, buckets, item.item) for item in sale.items}
    on_way: dict[str, dict[int, frozenset[str]]] = defaultdict(dict)
    moving: dict[str, set[int]] = defaultdict(set)
    for bucket in buckets:
        await _look_at_transfer(redis, bucket, moving)
        await _look_at_outbox(redis, bucket, on_way)
    return {
        item: InBuckets(units, twice, moving[item], on_way[item], off) for item, (units, twice, off) in free.items()
    }


async def _free_in_all(redis: Client, buckets: Sequence[Bucket], item: str) -> tuple[set[int], set[int], int]:
    """An item's free units, those that are free twice, and how far the count is off."""
    free: set[int] = set()
    twice: set[int] = set()
    counted = 0
    for bucket in buckets:
        ranges, count = await stock.free_ranges(redis, bucket, item)
        counted += count
        for first, last in ranges:
            units = set(range(first, last + 1))
            twice |= free & units
            free |= units
    return free, twice, counted - len(free)


async def _look_at_transfer(redis: Client, bucket: Bucket, moving: dict[str, set[int]]) -> None:
    item, ranges = cast("list[bytes | None]", await redis.hmget(bucket.transfers_key, ["item", "ranges"]))
    if item is not None and ranges is not None:
        for text in ranges.split(b","):
            first, last = stock.parse_range(text)
            moving[item.decode()].update(range(first, last + 1))


async def _look_at_outbox(redis: Client, bucket: Bucket, on_way: dict[str, dict[int, frozenset[str]]]) -> None:
    after = "0"
    while entries := await outbox.read(redis, bucket, after=after, count=_ENTRIES_PER_READ):
        after = entries[-1].entry_id
        for win in itertools.chain.from_iterable(entry.wins for entry in entries):
            units = on_way[win.item]
            units[win.unit] = units.get(win.unit, _NO_ORDERS) | {win.order}


async def look_at_postgres(connection: Connection, sale_name: str, *, in_outboxes: Collection[str]) -> Records:
    """Loads, live orders, returns and held units of a sale at one instant. Raises NotFoundError.

    in_outboxes: orders that were seen there, 32 hex digits each.
    """
    items: dict[str, Recorded] = defaultdict(Recorded)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        sale = await ledger.find(connection, sale_name)
        for load in await ledger.loads_waiting(connection, sale_name):
            items[load.item].moving.update(range(load.unit_from, load.unit_to + 1))
        if sale.takes_fcodes:
            await _look_at_loads(connection, sale, items)
        await _look_at_orders(connection, sale, items)
        for item, units in (await held.units_of(connection, sale_name)).items():
            items[item].held.update(units)
        for row in await connection.fetch(query("orders", "ended_orders"), list(in_outboxes)):
            items[row["item"]].ended.add(row["order_id"].hex)
        aside = await connection.fetch(query("set_aside", "open_units"), sale_name)
        for row in aside:
            if row["item"] is not None:
                items[row["item"]].aside.add(row["unit"])
    return Records(sale, items, len(aside))


async def _look_at_loads(connection: Connection, sale: Sale, items: Mapping[str, Recorded]) -> None:
    for load in await ledger.loads_of(connection, sale.sale):
        if sale.pool_of(load.bucket) is UnitPool.FCODE:
            items[load.item].loaded_by_fcode.update(range(load.unit_from, load.unit_to + 1))


async def _look_at_orders(connection: Connection, sale: Sale, items: Mapping[str, Recorded]) -> None:
    """Live orders, and returns under way."""
    for row in await connection.fetch(query("orders", "live_units"), sale.sale):
        items[row["item"]].live[row["unit"]] = row["order_id"].hex
        if sale.pool_of(row["bucket"]) is UnitPool.FCODE:
            items[row["item"]].by_fcode.add(row["unit"])
    for row in await connection.fetch(query("orders", "returning_units"), sale.sale):
        items[row["item"]].returning.add(row["unit"])
        if sale.pool_of(row["bucket"]) is UnitPool.FCODE:
            items[row["item"]].by_fcode.add(row["unit"])
