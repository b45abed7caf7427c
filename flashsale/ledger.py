"""The ledger: what Postgres knows of sales, their stock loads and who did what. Postgres has the last word."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from flashsale.durability import Level
from flashsale.errors import BadInputError, NotFoundError
from flashsale.plan import Plan, Times
from flashsale.queries import Connection, query
from flashsale.sale import (
    Challenged,
    Entry,
    Item,
    Reservation,
    ReturnedTo,
    Sale,
    State,
    Title,
    UnitPool,
    Verb,
    next_state,
)

CLOCK: Final = "clock"  # who opens and closes a sale at its time, in the log


@dataclass(frozen=True, slots=True)
class StockLoad:
    """A range of units, unit_from..unit_to with both ends, on its way into a bucket."""

    load: str
    item: str
    bucket: int
    unit_from: int
    unit_to: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """Who did what, and when."""

    at: datetime
    actor: str
    verb: str
    detail: Mapping[str, Any]


async def create(connection: Connection, plan: Plan, times: Times, *, weekly_from: Plan | None, actor: str) -> Sale:
    """Write a new sale down as a draft. Raises BadInputError when the name is taken."""
    reservation = plan.reservation
    async with connection.transaction():
        made = await connection.fetchval(
            query("sales", "create_sale"),
            plan.sale, uuid.uuid4(), plan.title.model_dump(), plan.entry, times.opens_ms, times.closes_ms,
            times.reserve_opens_ms, times.reserve_closes_ms, reservation.capacity if reservation else None,
            plan.per_fan_limit, plan.pay_window_s, plan.currency, plan.channels, plan.buckets,
            plan.model_dump(mode="json"), weekly_from.model_dump(mode="json") if weekly_from else None, plan.ack,
            plan.returned, plan.takes_fcodes,
        )  # fmt: skip
        if made is None:
            raise BadInputError(f"There is a sale {plan.sale} already; give this one another name.")
        for place, item in enumerate(plan.items):
            await connection.execute(
                query("sales", "create_item"),
                plan.sale,
                item.item,
                place,
                item.title.model_dump(),
                item.price_minor,
            )
        await log(connection, actor=actor, verb="create", sale=plan.sale, detail={"items": len(plan.items)})
    return await find(connection, plan.sale)


async def find(connection: Connection, sale: str) -> Sale:
    """One sale by name. Raises NotFoundError."""
    row = await connection.fetchrow(query("sales", "all_sales"), sale, True)
    if row is None:
        raise NotFoundError(f"There is no sale {sale}. See them all with: flashsale sale list")
    return _sale(row)


async def every(connection: Connection, *, drafts: bool) -> list[Sale]:
    """All sales by opening time; with or without those that are not loaded yet."""
    return [_sale(row) for row in await connection.fetch(query("sales", "all_sales"), None, drafts)]


async def plan_of(connection: Connection, sale: str) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """The plan as it was written down, and the weekly plan that it is an occurrence of."""
    row = await connection.fetchrow(query("sales", "all_sales"), sale, True)
    if row is None:
        raise NotFoundError(f"There is no sale {sale}. See them all with: flashsale sale list")
    return row["plan"], row["weekly_from"]


async def move(connection: Connection, sale: str, verb: Verb, *, actor: str, detail: Mapping[str, Any]) -> Sale:
    """Take a sale to the state that the verb leads to. Raises StateError or NotFoundError; then nothing is changed."""
    async with connection.transaction():
        row = await connection.fetchrow(query("sales", "lock_sale"), sale)
        if row is None:
            raise NotFoundError(f"There is no sale {sale}. See them all with: flashsale sale list")
        current = await find(connection, sale)
        state = next_state(sale, now=State(row["state"]), verb=verb)
        await connection.fetchval(query("sales", "move_sale"), sale, state)
        await log(connection, actor=actor, verb=verb, sale=sale, detail={**detail, "from": current.state})
        return await find(connection, sale)


async def challenge(connection: Connection, sale: str, challenged: Challenged) -> None:
    """Note whose presses have to solve a challenge first."""
    await connection.execute(query("sales", "challenge"), sale, challenged)


async def settle(connection: Connection, sale: Sale, state: State) -> Sale | None:
    """Write down what the clock has decided (opened, closed). None when somebody moved the sale meanwhile."""
    async with connection.transaction():
        version = await connection.fetchval(query("sales", "settle_state"), sale.sale, state, sale.state)
        if version is None:
            return None
        await log(connection, actor=CLOCK, verb=state, sale=sale.sale, detail={"from": sale.state})
    return await find(connection, sale.sale)


async def make_units(
    connection: Connection, sale: Sale, item: str, units: int, *, pool: UnitPool = UnitPool.PUBLIC
) -> list[StockLoad]:
    """Number so many new units of an item and share them out evenly to a pool's buckets, as loads still to be applied.

    Raises NotFoundError, and BadInputError for a pool that the sale has not.
    """
    buckets = sale.buckets_in(pool)
    if not buckets:
        raise BadInputError(
            f"Sale {sale.sale} takes no F-codes: its plan gave no item an fcode_stock, of which 0 would have done."
        )
    before = await connection.fetchval(query("sales", "raise_loaded"), sale.sale, item, units)
    if before is None:
        raise NotFoundError(f"Sale {sale.sale} has no item {item}.")
    loads = []
    for bucket, (first, last) in zip(buckets, even_ranges(int(before) + 1, units, parts=len(buckets)), strict=False):
        load = StockLoad(str(uuid.uuid4()), item, bucket.number, first, last)
        await connection.execute(
            query("sales", "create_stock_load"), load.load, sale.sale, item, bucket.number, first, last
        )
        loads.append(load)
    return loads


def even_ranges(first: int, units: int, *, parts: int) -> list[tuple[int, int]]:
    """Cut units first..first+units-1 into at most so many ranges whose lengths differ by one at the most."""
    share, rest = divmod(units, parts)
    ranges = []
    for part in range(parts):
        length = share + (part < rest)
        if length:
            ranges.append((first, first + length - 1))
            first += length
    return ranges


async def loads_of(connection: Connection, sale: str) -> list[StockLoad]:
    """Every load of a sale, oldest first."""
    return [_load(row) for row in await connection.fetch(query("sales", "stock_loads"), sale)]


async def loads_waiting(connection: Connection, sale: str) -> list[StockLoad]:
    """The loads that no bucket has confirmed yet, oldest first."""
    return [_load(row) for row in await connection.fetch(query("sales", "stock_loads_waiting"), sale)]


async def is_in_buckets(connection: Connection, sale: str) -> bool:
    """Whether the sale's buckets have been made once."""
    return bool(await connection.fetchval(query("sales", "in_buckets"), sale))


async def now_in_buckets(connection: Connection, sale: str) -> None:
    """Note that the sale's buckets have been made. Safe to repeat."""
    await connection.execute(query("sales", "now_in_buckets"), sale)


async def lock_load(connection: Connection, load: StockLoad) -> bool:
    """Keep others from applying this load until the transaction ends. False when one is at it already."""
    return bool(await connection.fetchval(query("sales", "lock_load"), load.load))


async def load_applied(connection: Connection, load: StockLoad) -> None:
    """Note that the bucket has this load. Safe to repeat."""
    await connection.execute(query("sales", "stock_load_applied"), load.load)


async def has_newer_occurrence(connection: Connection, sale: Sale, *, weekly_name: str) -> bool:
    """Whether the weekly plan of that name has an occurrence after this one."""
    return bool(await connection.fetchval(query("sales", "newer_occurrence"), weekly_name, sale.opens_ms))


async def log(connection: Connection, *, actor: str, verb: str, sale: str | None, detail: Mapping[str, Any]) -> None:
    """Write down who did what."""
    await connection.execute(query("sales", "log"), actor, verb, sale, dict(detail))


async def log_of(connection: Connection, sale: str) -> list[LogLine]:
    """Who did what to this sale, oldest first."""
    rows = await connection.fetch(query("sales", "log_of_sale"), sale)
    return [LogLine(row["at"], row["actor"], row["verb"], row["detail"]) for row in rows]


def _load(row: asyncpg.Record) -> StockLoad:
    return StockLoad(str(row["load"]), row["item"], row["bucket"], row["unit_from"], row["unit_to"])


def _sale(row: asyncpg.Record) -> Sale:
    reservation = None
    if row["reserve_opens_ms"] is not None:
        reservation = Reservation(row["reserve_opens_ms"], row["reserve_closes_ms"], row["reserve_capacity"])
    return Sale(
        sale=row["sale"],
        generation=str(row["generation"]),
        version=row["version"],
        state=State(row["state"]),
        title=Title(**row["title"]),
        entry=Entry(row["entry"]),
        opens_ms=row["opens_ms"],
        closes_ms=row["closes_ms"],
        reservation=reservation,
        per_fan_limit=row["per_fan_limit"],
        pay_window_s=row["pay_window_s"],
        currency=row["currency"],
        channels=tuple(row["channels"]),
        buckets=row["buckets"],
        items=tuple(
            Item(item["item"], Title(**item["title"]), item["price_minor"], item["loaded"]) for item in row["items"]
        ),
        in_buckets=row["in_buckets_at"] is not None,
        returned=ReturnedTo(row["returned"]),
        ack=Level(row["ack"]),
        challenged=Challenged(row["challenged"]),
        takes_fcodes=row["takes_fcodes"],
    )
