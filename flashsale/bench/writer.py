"""Suite writer: orders landed by one worker, against two bare loops of inserts.

The worker reads the outbox, inserts with all its guards, commits and trims. A bare loop has its rows ready in memory,
inserts them in batches of the same size, and commits too: into a bare table with the same two unique indexes (landed);
or by the worker's own statement into the table of orders, with its guards and its two more indexes (landed_own), which
says how much of the way is Postgres and how much the worker. Postgres keeps its default fsync on all sides.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from importlib.resources import files
from typing import Any, Final

from flashsale import limits, order, outbox
from flashsale.bench.ground import BATCH, ITEM, SEED, Ground, attempts, cut, purchase_at
from flashsale.bench.processes import cpu_s, pin, pinned_here, two_cores
from flashsale.bench.report import Metric, compared
from flashsale.bench.rounds import Contender, Run, interleaved, timed
from flashsale.errors import InvariantError
from flashsale.keys import Bucket
from flashsale.metrics import worker_metrics
from flashsale.outbox import Entry
from flashsale.queries import Pool
from flashsale.sale import Sale
from flashsale.stores import open_postgres
from flashsale.worker.land import Lander

ORDERS: Final = 40_000
_LANDED: Final = "worker"
_BARE: Final = "bare INSERT … SELECT unnest"
_OWN: Final = "the worker's own INSERT, bare"


class Landings:
    """Makes ready and does the work of both contenders, on connections whose server processes are known."""

    def __init__(self, ground: Ground, postgres: Pool, *, backend_pids: Sequence[int], orders: int) -> None:
        self._ground = ground
        self._postgres = postgres
        self._pids = (os.getpid(), *backend_pids)
        self._lines = attempts(orders)
        self._sales = 0

    async def landed(self) -> Run:
        """The worker's own way, from a full outbox to an empty one."""
        sale = await self._won()
        lander = Lander(
            redis=self._ground.redis,
            postgres=self._postgres,
            bucket=sale.all_buckets[0],
            holder="bench",
            metrics=worker_metrics(),
        )

        async def all_of_it() -> int:
            landed = 0
            while read := await lander.land():
                landed += read
            return landed

        run = await timed(all_of_it, cpu_s=lambda: cpu_s(self._pids))
        await self._check("orders", run)
        return run

    async def own(self) -> Run:
        """The same orders into the table of orders by the statement that lands them, with nothing around it."""
        sale = await self._won()
        batches = await _batches(self._ground, sale.all_buckets[0])

        async def all_of_it() -> int:
            landed = 0
            for entries in batches:
                async with self._postgres.acquire() as connection:
                    landed += (await order.land(connection, sale=sale.sale, bucket=0, entries=entries)).new
            return landed

        run = await timed(all_of_it, cpu_s=lambda: cpu_s(self._pids))
        await self._check("orders", run)
        return run

    async def bare(self) -> Run:
        """The same orders, read and taken apart before the clock runs."""
        sale = await self._won()
        batches = [_columns(entries) for entries in await _batches(self._ground, sale.all_buckets[0])]
        insert = _sql("bare_insert")

        async def all_of_it() -> int:
            for columns in batches:
                async with self._postgres.acquire() as connection:
                    await connection.execute(insert, sale.sale, *columns)
            return sum(len(columns[0]) for columns in batches)

        run = await timed(all_of_it, cpu_s=lambda: cpu_s(self._pids))
        await self._check("bare", run)
        return run

    async def _won(self) -> Sale:
        """A sale whose orders are all in the outbox, and empty tables."""
        self._sales += 1
        sale = await self._ground.open_sale(f"writer-{self._sales}", units=len(self._lines))
        script = purchase_at(sale.all_buckets[0])
        for batch in cut(self._lines, BATCH):
            await script(self._ground.redis, ITEM, *batch)
        async with self._postgres.acquire() as connection:
            await connection.execute(_sql("fresh"))
        return sale

    async def _check(self, side: str, run: Run) -> None:
        """A fast landing that lost something is not measured. side: a column of landed_rows.sql."""
        async with self._postgres.acquire() as connection:
            counted = await connection.fetchrow(_sql("landed_rows"))
        rows = counted[side] if counted else 0
        if not rows == run.operations == len(self._lines):
            raise InvariantError(f"{side}: {rows} rows of {len(self._lines)} orders after {run.operations} were landed")


async def run(ground: Ground, *, rounds: int, on_progress: Callable[[str], None], orders: int = ORDERS) -> list[Metric]:
    """Orders landed and committed per second by one worker."""
    cores = two_cores()
    pin(ground.valkey_pid, cores.measured)
    pin(ground.postgres_pid, cores.loading)
    # Opened after pinning: Postgres makes the process of a connection from its first one, and it inherits the core.
    postgres = await open_postgres(ground.addresses.postgres_dsn, connections=limits.LANDINGS_IN_FLIGHT_MAX)
    try:
        landings = Landings(ground, postgres, backend_pids=await _backends(postgres), orders=orders)
        contenders = [
            Contender(_LANDED, landings.landed),
            Contender(_BARE, landings.bare),
            Contender(_OWN, landings.own),
        ]
        with pinned_here(cores.measured):
            runs = await interleaved(
                contenders, rounds=rounds, on_progress=lambda what: on_progress(f"writer.landed, {what}")
            )
    finally:
        await postgres.close()
    return [
        metric
        for name, reference in (("landed", _BARE), ("landed_own", _OWN))
        for metric in compared(
            "writer", name, ours=runs[_LANDED], reference=runs[reference], reference_name=reference, unit="orders/s",
            conditions=_conditions(orders, pinned=cores.pinned),
        )
    ]  # fmt: skip


async def _backends(postgres: Pool) -> list[int]:
    """The server processes of the pool's connections, all of them opened now."""
    async with AsyncExitStack() as held:
        connections = [await held.enter_async_context(postgres.acquire()) for _ in range(postgres.get_max_size())]
        return [connection.get_server_pid() for connection in connections]


async def _batches(ground: Ground, bucket: Bucket) -> list[Sequence[Entry]]:
    """What is in the outbox, in batches as the worker reads them."""
    batches: list[Sequence[Entry]] = []
    after = "0"
    while entries := await outbox.read(ground.redis, bucket, after=after, count=limits.OUTBOX_ENTRIES_PER_READ):
        after = entries[-1].entry_id
        batches.append(entries)
    return batches


def _columns(entries: Sequence[Entry]) -> tuple[list[Any], ...]:
    """Their orders, column by column."""
    wins = [win for entry in entries for win in entry.wins]
    rows = [(w.order, w.item, w.unit, w.fan, w.channel, w.lane, w.accepted_ms) for w in wins]
    return tuple(list(column) for column in zip(*rows, strict=True))


def _sql(name: str) -> str:
    return (files(__package__ or "") / f"{name}.sql").read_text(encoding="utf-8")


def _conditions(orders: int, *, pinned: bool) -> dict[str, Any]:
    return {
        "orders": orders,
        "rows_per_transaction": limits.OUTBOX_ENTRIES_PER_READ * BATCH,
        "connections": f"{limits.LANDINGS_IN_FLIGHT_MAX} for the worker, 1 for the reference",
        "loop": "closed",
        "cores": "worker and Valkey on one, Postgres on another" if pinned else f"not pinned, {os.cpu_count()} there",
        "cpu": "the worker's and its Postgres processes'",
        "seed": SEED,
    }
