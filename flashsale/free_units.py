"""The free units of buckets that are rebuilt: all that were loaded and are nowhere else.

A unit that is seen outside the fenced buckets at any time is outside: nothing goes into those. One that moves between
two places outside while they are read one after the other could be seen in neither, so they are read again until no
transfer began or ended meanwhile, and Postgres is read before and after them.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg

from flashsale import audit_stores, held, ledger, limits, stock
from flashsale.errors import StateError
from flashsale.keys import Bucket
from flashsale.queries import Connection, Pool, query
from flashsale.rebuild import Ranges
from flashsale.sale import Sale, UnitPool
from flashsale.stock import BucketFacts
from flashsale.stores import Client

_LOOKS_MAX: Final = 20


async def of_fenced(redis: Client, postgres: Pool, sale: Sale, fenced: Sequence[Bucket]) -> list[dict[str, Ranges]]:
    """What is free in each of these buckets, by item: all that is nowhere else, dealt out evenly.

    Where buckets of both pools are among them, a unit goes to the pool that it was loaded into. Raises StateError when
    it can't be known, with what to do.
    """
    async with postgres.acquire() as connection:
        await _wait_for_notes(connection, sale.sale, [bucket.number for bucket in fenced])
    outside = await _seen_outside(redis, postgres, sale, fenced)
    public = [bucket for bucket in fenced if sale.pool_of(bucket.number) is UnitPool.PUBLIC]
    fcode = [bucket for bucket in fenced if sale.pool_of(bucket.number) is UnitPool.FCODE]
    aside = await _loaded_aside(postgres, sale) if public and fcode else {}
    shares: dict[Bucket, dict[str, Ranges]] = {bucket: {} for bucket in fenced}
    for item, marked in outside.items():
        of_fcodes, of_public = split(gaps(marked), aside.get(item, ())) if aside else (gaps(marked), gaps(marked))
        for pool, free in ((public, of_public), (fcode, of_fcodes)):
            for bucket, part in zip(pool, dealt(free, len(pool)) if pool else (), strict=True):
                shares[bucket][item] = part
    return [shares[bucket] for bucket in fenced]


async def _loaded_aside(postgres: Pool, sale: Sale) -> dict[str, list[tuple[int, int]]]:
    """By item, the ranges of units that were loaded for F-codes."""
    async with postgres.acquire() as connection:
        loads = await ledger.loads_of(connection, sale.sale)
    found: dict[str, list[tuple[int, int]]] = {item.item: [] for item in sale.items}
    for load in loads:
        if sale.pool_of(load.bucket) is UnitPool.FCODE:
            found[load.item].append((load.unit_from, load.unit_to))
    return found


def split(ranges: Ranges, aside: Ranges) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The units of some ranges that are in others, and those that are not; as rising ranges."""
    those = {unit for first, last in aside for unit in range(first, last + 1)}
    units = [unit for first, last in ranges for unit in range(first, last + 1)]
    inside, outside = [unit for unit in units if unit in those], [unit for unit in units if unit not in those]
    return held.ranges(inside), held.ranges(outside)


async def _wait_for_notes(connection: Connection, sale: str, numbers: Sequence[int]) -> None:
    """Wait until nobody is about to note what a bucket did before it was fenced. Raises StateError."""
    try:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{limits.NOTES_WAIT_S}s'")
            await connection.execute(query("recovery", "returns_unlocked"), sale, numbers)
            await connection.execute(query("recovery", "loads_unlocked"), sale, numbers)
            await connection.execute(query("recovery", "returns_sold_again"), sale, numbers)
            await connection.execute(query("recovery", "returns_again"), sale, numbers)
    except asyncpg.LockNotAvailableError as late:
        raise StateError(
            f"A worker is giving units back to {sale} and does not come to an end. Stop it if it hangs, then again: "
            f"flashsale recover {sale}"
        ) from late


async def _seen_outside(redis: Client, postgres: Pool, sale: Sale, fenced: Sequence[Bucket]) -> Mapping[str, bytearray]:
    """By item, a mark for each unit that is outside."""
    whole = [bucket for bucket in sale.all_buckets if bucket not in set(fenced)]
    for _ in range(_LOOKS_MAX):
        before = await stock.facts(redis, whole)
        marks = await _look_outside(redis, postgres, sale.sale, whole, fenced)
        if nothing_moved(before, await stock.facts(redis, whole)):
            return marks
    raise StateError(
        f"Units of {sale.sale} move between its buckets all the time. Pause the sale, then recover again: "
        f"flashsale sale pause {sale.sale}"
    )


async def _look_outside(
    redis: Client, postgres: Pool, sale_name: str, whole: Sequence[Bucket], fenced: Sequence[Bucket]
) -> dict[str, bytearray]:
    """Look at Postgres, the whole buckets, and Postgres again, with what passed from there into a whole one since."""
    async with postgres.acquire() as connection:
        since: datetime = await connection.fetchval(query("recovery", "now"))
        before = await audit_stores.look_at_postgres(connection, sale_name, in_outboxes=())
    in_buckets = await audit_stores.look_at_buckets(redis, before.sale, buckets=whole)
    async with postgres.acquire() as connection:
        after = await audit_stores.look_at_postgres(connection, sale_name, in_outboxes=())
        numbers = [bucket.number for bucket in fenced]
        passed = await connection.fetch(query("recovery", "moved_since"), sale_name, since, numbers)
        aside = await connection.fetch(query("recovery", "units_aside"), sale_name)
    marks = {item.item: bytearray(item.loaded + 1) for item in after.sale.items}
    for name, marked in marks.items():
        seen, recorded = in_buckets[name], (before.of(name), after.of(name))
        mark(marked, itertools.chain(seen.free, seen.moving, seen.outbox, *map(_places, recorded)))
    for row in passed:
        mark(marks[row["item"]], range(row["unit_from"], row["unit_to"] + 1))
    for row in aside:
        mark(marks.get(row["item"], bytearray()), [row["unit"]])  # of no item of the sale: for a person
    return marks


def _places(recorded: audit_stores.Recorded) -> Iterable[int]:
    return itertools.chain(recorded.moving, recorded.live, recorded.returning, recorded.held)


def nothing_moved(before: Sequence[BucketFacts], after: Sequence[BucketFacts]) -> bool:
    """Whether no transfer began or came to its end between two looks."""
    return all(then.moves == now.moves and then.moving == now.moving for then, now in zip(before, after, strict=True))


def mark(marked: bytearray, units: Iterable[int]) -> None:
    """Mark these units. marked: one byte a unit, from 0. A unit beyond is the audit's to tell."""
    for unit in units:
        if unit < len(marked):
            marked[unit] = 1


def gaps(marked: bytearray) -> list[tuple[int, int]]:
    """The units from 1 on without a mark, as ranges with both ends."""
    found = []
    first = marked.find(0, 1)
    while first > 0:
        end = marked.find(1, first)
        last = (end if end > 0 else len(marked)) - 1
        found.append((first, last))
        first = marked.find(0, last + 1)
    return found


def dealt(ranges: Ranges, parts: int) -> list[list[tuple[int, int]]]:
    """Ranges cut into so many parts of as many units, or one more, as neighbours."""
    units = [unit for first, last in ranges for unit in range(first, last + 1)]
    found = [held.ranges(share) for share in held.shares(units, parts)]
    return found + [[] for _ in range(parts - len(found))]


def units_in(ranges: Ranges) -> int:
    """How many units there are in ranges with both ends."""
    return sum(last - first + 1 for first, last in ranges)
