"""What ops do to a sale, from draft to closed: Postgres first, then the buckets, each step safe to repeat.

A process that dies between the two leaves Postgres knowing more than the buckets; `settle` brings them level, and the
worker calls it all the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from flashsale import clock, held, ledger, limits, plan, stock
from flashsale.clock import from_ms
from flashsale.errors import BadInputError, StateError
from flashsale.ledger import StockLoad
from flashsale.outcomes import Effect
from flashsale.plan import Plan
from flashsale.queries import Connection, Pool
from flashsale.sale import Challenged, Sale, State, UnitPool, Verb
from flashsale.settled import Plain, Settler
from flashsale.stores import Client, is_cluster


@dataclass(frozen=True, slots=True)
class Operations:
    """Ops verbs over the two stores. actor: who is named in the log.

    settler: says what is settled and may be noted as being in the buckets. Without one nothing is waited for: on one
    server all is noted at once, on a cluster the worker notes it, who has one.
    """

    redis: Client
    postgres: Pool
    actor: str
    settler: Settler | None = None

    async def create(self, written: Plan, *, now: datetime | None = None) -> Sale:
        """Write a sale down as a draft; of a weekly plan, its next occurrence. Raises BadInputError."""
        now = now or clock.now()
        occurrence = plan.occurrence(written, now=now)
        times = plan.times(occurrence, now=now)
        if times.closes_ms <= now.timestamp() * 1000:
            raise BadInputError(f"closes: {from_ms(times.closes_ms).isoformat()} is in the past")
        async with self.postgres.acquire() as connection:
            weekly_from = written if written.repeat else None
            return await ledger.create(connection, occurrence, times, weekly_from=weekly_from, actor=self.actor)

    async def load(self, sale: str) -> Sale:
        """Number the units, put them into the buckets, and let the sale wait for its opening. Raises StateError."""
        async with self.postgres.acquire() as connection:
            written, _ = await ledger.plan_of(connection, sale)
            await self._refuse_namesake(await ledger.find(connection, sale))
            async with connection.transaction():
                moved = await ledger.move(connection, sale, Verb.LOAD, actor=self.actor, detail={})
                if moved.closes_ms <= clock.now_ms():
                    raise StateError(f"Sale {sale} should have closed at {from_ms(moved.closes_ms).isoformat()}.")
                for item in written["items"]:
                    for pool, units in ((UnitPool.PUBLIC, item["stock"]), (UnitPool.FCODE, item.get("fcode_stock"))):
                        if units:
                            await ledger.make_units(connection, moved, item["item"], units, pool=pool)
                moved = await ledger.find(connection, sale)
        await self.settle(moved)
        return moved

    async def move(self, sale: str, verb: Verb) -> Sale:
        """Open, pause, resume or close. Raises StateError or NotFoundError; then nothing is changed."""
        await self.note_clock(await self._find(sale))
        async with self.postgres.acquire() as connection:
            moved = await ledger.move(connection, sale, verb, actor=self.actor, detail={})
        await self.settle(moved)
        return moved

    async def add_stock(self, sale: str, item: str, units: int, *, pool: UnitPool = UnitPool.PUBLIC) -> Sale:
        """Number so many more units of an item and put them on sale at once, or set them aside for F-codes.

        Raises BadInputError or StateError.
        """
        if not 1 <= units <= limits.UNITS_PER_ITEM_MAX:
            raise BadInputError(f"units: must be 1 to {limits.UNITS_PER_ITEM_MAX}, not {units}")
        await self.note_clock(await self._find(sale))
        async with self.postgres.acquire() as connection:
            try:
                async with connection.transaction():
                    detail = {"item": item, "units": units} | ({"pool": pool} if pool is UnitPool.FCODE else {})
                    moved = await ledger.move(connection, sale, Verb.ADD_STOCK, actor=self.actor, detail=detail)
                    await ledger.make_units(connection, moved, item, units, pool=pool)
                    moved = await ledger.find(connection, sale)
            except asyncpg.CheckViolationError as fault:
                raise BadInputError(f"units: an item can't have more than {limits.UNITS_PER_ITEM_MAX}") from fault
        await self.settle(moved)
        return moved

    async def release(self, sale: str, item: str, units: int | None) -> Sale:
        """Put so many held units of an item on sale again, oldest first; all of them when units is None.

        In Postgres they are held before and on the move after, in one transaction. Raises BadInputError or StateError.
        """
        await self.note_clock(await self._find(sale))
        async with self.postgres.acquire() as connection, connection.transaction():
            detail = {"item": item, "units": units}
            moved = await ledger.move(connection, sale, Verb.RELEASE, actor=self.actor, detail=detail)
            await held.release(connection, moved, item, units)
        await self.settle(moved)
        return moved

    async def challenge(self, sale: str, challenged: Challenged) -> Sale:
        """Say whose presses have to solve a challenge first. Raises StateError or NotFoundError."""
        await self.note_clock(await self._find(sale))
        async with self.postgres.acquire() as connection, connection.transaction():
            detail = {"challenged": challenged}
            await ledger.move(connection, sale, Verb.CHALLENGE, actor=self.actor, detail=detail)
            await ledger.challenge(connection, sale, challenged)
            moved = await ledger.find(connection, sale)
        if moved.state is not State.DRAFT:
            await self.settle(moved)
        return moved

    async def settle(self, sale: Sale) -> list[Effect]:
        """Bring the buckets level with Postgres; one effect for each bucket. Safe to repeat, whatever died half-way.

        Buckets are made only until they are known to have been made once: after that, one that is not there has lost
        its memory, and stays closed until it is recovered. A bucket of another generation is left alone. What a bucket
        was given is noted when it is settled; until then it is given again at each turn.
        """
        settler = self.settler or Plain(self.redis, settled=not is_cluster(self.redis))
        facts = await stock.facts(self.redis, sale.all_buckets)
        if any(one.loaded and one.generation != sale.generation for one in facts):
            return [Effect.OTHER_GENERATION] * len(facts)
        async with self.postgres.acquire() as connection:
            if not await ledger.is_in_buckets(connection, sale.sale):
                # Stock first, so that a bucket that is there is a full one.
                full = await self._apply(connection, settler, sale, await ledger.loads_of(connection, sale.sale))
                effects, made = await stock.make_buckets(settler, sale)
                if full and made:
                    await ledger.now_in_buckets(connection, sale.sale)
                return effects
            # The state first: it needs no memory, and a sale must be paused and closed whatever its stock does.
            effects = await stock.tell_sale(self.redis, sale, create=False)
            if all(one.loaded for one in facts):
                await self._apply(connection, settler, sale, await ledger.loads_waiting(connection, sale.sale))
        return effects

    async def _apply(self, connection: Connection, settler: Settler, sale: Sale, loads: Sequence[StockLoad]) -> bool:
        """Put loads into their buckets and note those that are settled. Returns whether all are."""
        noted = 0
        for load in loads:
            # Locked until it is noted: a recovery waits for whoever is about to note what a bucket did.
            async with connection.transaction():
                if not await ledger.lock_load(connection, load):
                    continue
                effect, settled = await stock.apply_load(settler, sale.sale, load)
                if settled and effect is not Effect.FENCED:
                    await ledger.load_applied(connection, load)
                    noted += 1
        return noted == len(loads)

    async def note_clock(self, sale: Sale) -> Sale:
        """Write down an opening or closing that the buckets' clock has already decided."""
        facts = await stock.facts(self.redis, sale.all_buckets)
        state = sale.state_at(facts[0].now_ms)
        if state is sale.state or not facts[0].loaded:
            return sale
        async with self.postgres.acquire() as connection:
            return await ledger.settle(connection, sale, state) or await ledger.find(connection, sale.sale)

    async def next_occurrence(self, sale: str) -> Sale | None:
        """The next week's draft of a weekly sale; None when this one is not weekly or the next is there already."""
        async with self.postgres.acquire() as connection:
            _, weekly_from = await ledger.plan_of(connection, sale)
            if weekly_from is None:
                return None
            current = await ledger.find(connection, sale)
            if await ledger.has_newer_occurrence(connection, current, weekly_name=weekly_from["sale"]):
                return None
        written = plan.from_data(weekly_from)
        try:
            return await self.create(written, now=max(from_ms(current.opens_ms), clock.now()))
        except BadInputError:
            return None

    async def _refuse_namesake(self, sale: Sale) -> None:
        """Raises StateError when Valkey still holds another sale of this name."""
        facts = await stock.facts(self.redis, sale.all_buckets)
        if sale.state is State.DRAFT and any(one.loaded and one.generation != sale.generation for one in facts):
            raise StateError(f"Valkey still holds another sale named {sale.sale}; give this one another name.")

    async def _find(self, sale: str) -> Sale:
        async with self.postgres.acquire() as connection:
            return await ledger.find(connection, sale)
