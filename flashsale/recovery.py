"""Recovery: rebuilds buckets that lost their memory, from Postgres and from what is left in their outboxes.

    free in the rebuilt buckets = loaded - (live + returning + held + on the move + in the whole buckets)

The damaged buckets are fenced first, so that no unit goes into them or comes out; everything else may go on selling.
Every step may be repeated, and a recovery that dies leaves the buckets fenced, for the next one to begin anew.
"""

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from flashsale import batch, condition, free_units, keys, ledger, order, outbox, rebuild, stock
from flashsale.balance import Balancer
from flashsale.batch import Batch
from flashsale.condition import Condition, Finding
from flashsale.errors import StateError
from flashsale.free_units import units_in
from flashsale.keys import Bucket
from flashsale.queries import Connection, Pool, query
from flashsale.rebuild import Fenced, FenceLostError, Ranges
from flashsale.sale import Sale
from flashsale.scripts import Commands
from flashsale.settled import Plain
from flashsale.stores import Client

_ENTRIES_PER_READ: Final = 200
# A recovered bucket's transfers go on far above every number that somebody may still hold from before.
_NUMBERS_SKIPPED: Final = 1_000_000
_LOCK: Final = 0x666C73  # the space of our locks in Postgres

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A bucket that was rebuilt. was: its condition before; landed: orders that were left in its outbox."""

    bucket: Bucket
    was: Condition
    landed: int
    fans: int
    free: dict[str, int]


@dataclass(frozen=True, slots=True)
class Recovery:
    """The recovery of one sale. router: sends nothing twice; told: hears what is being done, a line a step."""

    redis: Client
    router: Commands
    postgres: Pool
    sale: Sale
    told: Told = lambda words: None

    async def examine(self) -> list[Finding]:
        """The condition of each bucket. Raises StateError when there is nothing that a recovery could go by."""
        if not self.sale.in_buckets:
            raise StateError(
                f"Sale {self.sale.sale} is {self.sale.state}; it was never put into buckets. "
                f"Load it: flashsale sale load {self.sale.sale}"
            )
        found = await self.look()
        if any(one.condition is Condition.STRANGE for one in found):
            raise StateError(
                f"Valkey holds another sale named {self.sale.sale}: is FLASHSALE_REDIS_URL the right server, and "
                "FLASHSALE_POSTGRES_DSN the database that belongs to it?"
            )
        return found

    async def look(self) -> list[Finding]:
        """The condition of each bucket, whatever it is."""
        return await condition.examine(self.redis, self.postgres, self.sale)

    async def rebuild(self, damaged: Sequence[Finding], *, actor: str) -> list[Rebuilt]:
        """Rebuild these buckets. Raises FenceLostError when somebody else does so, and what the stores raise."""
        async with self._alone():
            return await self._rebuild(damaged, actor=actor) if damaged else []

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Let no other recovery of the sale work beside this one. One that dies lets go by itself."""
        async with self.postgres.acquire() as connection:
            if not await connection.fetchval(query("recovery", "try_lock"), _LOCK, self.sale.sale):
                raise FenceLostError(f"Another recovery of {self.sale.sale} is at work. Wait for it, then look again.")
            try:
                yield
            finally:
                await connection.execute(query("recovery", "unlock"), _LOCK, self.sale.sale)

    async def _rebuild(self, damaged: Sequence[Finding], *, actor: str) -> list[Rebuilt]:
        fence = rebuild.new_fence()
        behind = [Fenced(self.router, one.bucket, fence) for one in damaged]
        for at in behind:
            await at.close()
        self.told(f"Fenced {_named(damaged)}.")
        landed = [await self._land_what_is_left(one.bucket) for one in damaged]
        self.told(f"Landed {sum(landed):,} orders that were left in the outbox.")
        cut = await self._cut_transfers(damaged)
        free = await free_units.of_fenced(self.redis, self.postgres, self.sale, [one.bucket for one in damaged])
        self.told(f"Found {sum(map(units_in, itertools.chain(*(one.values() for one in free)))):,} free units.")
        made = []
        for one, at, left, its_free in zip(damaged, behind, landed, free, strict=True):
            fans = await self._fill(at, its_free, cut)
            counts = {item: units_in(ranges) for item, ranges in its_free.items()}
            made.append(Rebuilt(one.bucket, one.condition, left, fans, counts))
            self.told(f"Rebuilt bucket {one.bucket.number}: {fans:,} fans, {sum(counts.values()):,} free units.")
        async with self.postgres.acquire() as connection:
            detail = {"buckets": {str(one.bucket.number): one.condition for one in damaged}}
            await ledger.log(connection, actor=actor, verb="recover", sale=self.sale.sale, detail=detail)
        return made

    async def _land_what_is_left(self, bucket: Bucket) -> int:
        """Commit what the outbox still holds. Whoever lands beside us does no harm."""
        landed = 0
        while entries := await outbox.read(self.redis, bucket, after="0", count=_ENTRIES_PER_READ):
            async with self.postgres.acquire() as connection:
                await order.land(connection, sale=bucket.sale, bucket=bucket.number, entries=entries)
            landed += await outbox.trim(self.redis, bucket, entries)
        return landed

    async def _cut_transfers(self, damaged: Sequence[Finding]) -> dict[int, int]:
        """Nothing that is between a damaged bucket and another comes in any more: its units are found nowhere, so that
        they become free. Returns, for each bucket, its last transfer that is cut off; the next ones come in."""
        last = {one.bucket.number: max(one.facts.moves, one.known.sent) + _NUMBERS_SKIPPED for one in damaged}
        whole = [bucket for bucket in self.sale.all_buckets if bucket.number not in last]
        balancer = Balancer(self.router, sale=self.sale.sale, settler=Plain(self.router))
        for bucket in whole:
            for number in [one.bucket.number for one in damaged]:
                await balancer.skip(bucket, source=number, number=last[number])
        moves = [said.moves for said in await stock.facts(self.redis, whole)]
        for transfer in await balancer.open_transfers(whole):
            # One that begins after this look goes to a fenced bucket, waits there, and comes in when that is rebuilt.
            if transfer.to in last and transfer.number <= moves[whole.index(Bucket(self.sale.sale, transfer.source))]:
                await balancer.forget(transfer)
        return last | {bucket.number: number for bucket, number in zip(whole, moves, strict=True)}

    async def _fill(self, at: Fenced, free: dict[str, Ranges], cut: Mapping[int, int]) -> int:
        """Put everything into a fenced bucket and open it. cut: as _cut_transfers returns it. Returns how many fans it
        knows."""
        bucket, items = at.bucket, list(free)
        batches = await self._batches_in(bucket)
        received = {other: last for other, last in cut.items() if other != bucket.number}
        await at.empty(items, [one.batch for one in batches], received=received)
        used = await self._fill_codes(at, batches)
        async with self.postgres.acquire() as connection, connection.transaction():
            fans = await at.add_buyers(_lines_of(connection, bucket))
            rows = await connection.fetch(query("recovery", "loads_applied"), bucket.sale, bucket.number)
        await at.add_loads([str(row["load"]) for row in rows])
        for item, ranges in free.items():
            await at.add_free(item, ranges)
        known = (await condition.known_of(self.redis, self.postgres, self.sale))[bucket.number]
        async with self.postgres.acquire() as connection:
            sale = await ledger.find(connection, bucket.sale)
        await stock.tell_sale(self.router, sale, create=True, buckets=[bucket])
        for one in batches:
            await batch.tell(Plain(self.router), sale, one)  # an older copy would take codes that are over
        await at.open(
            {f"free:{item}": units_in(ranges) for item, ranges in free.items()}
            | {f"moving:{item}": 0 for item in items}
            | used
            | {
                "outbox": 0,
                "moves": cut[bucket.number],
                "wins": known.wins,
                "returned": known.returned,
                "loads": len(rows),
            }
        )
        return fans

    async def _batches_in(self, bucket: Bucket) -> list[Batch]:
        """The batches of F-codes that a bucket has to know."""
        if bucket != self.sale.fcode_bucket:
            return []
        async with self.postgres.acquire() as connection:
            return await batch.of_sales(connection, [self.sale])

    async def _fill_codes(self, at: Fenced, batches: Sequence[Batch]) -> dict[str, int]:
        """Write which codes are spent. Returns the counts of them, those included that are none."""
        async with self.postgres.acquire() as connection:
            spent = await batch.spent_of(connection, self.sale) if batches else {}
        used = {f"{keys.COUNT_USED}{part.item}:{one.batch}": 0 for one in batches for part in one.slices}
        for one in batches:
            serials = spent.get(one.batch, [])
            await at.add_codes(one.batch, serials)
            for item, codes in Counter(map(one.item_of, serials)).items():
                used[f"{keys.COUNT_USED}{item}:{one.batch}"] = codes
        return used


def _named(damaged: Sequence[Finding]) -> str:
    return ", ".join(f"bucket {one.bucket.number}, which is {one.condition}" for one in damaged)


async def _lines_of(connection: Connection, bucket: Bucket) -> AsyncIterator[tuple[str, str]]:
    cursor = connection.cursor(query("recovery", "buyer_lines"), bucket.sale, bucket.number, prefetch=2_000)
    async for row in cursor:
        yield row["fan"], row["lines"]
