"""An order: accepted in a bucket, confirmed when it is committed in Postgres, then paid, expired or cancelled."""

import enum
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
from redis.asyncio import Redis

from flashsale import limits, outbox
from flashsale.outbox import BuyerLine, Entry, Win
from flashsale.queries import Connection, query
from flashsale.sale import Sale

BEYOND_LOADED: Final = "the unit or the item was never loaded"
UNIT_TAKEN: Final = "the unit is in another live order"
UNREADABLE: Final = "the entry can't be read"


class State(enum.StrEnum):
    """Where an order is in its life. accepted: in the bucket's memory and outbox, not yet committed."""

    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    PAID = "paid"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Order:
    """An order as its owner sees it. Times in ms since 1970 UTC, None until they have come."""

    order: str
    sale: str
    item: str
    unit: int
    fan: str
    state: State
    price_minor: int
    currency: str
    channel: str
    accepted_ms: int
    pay_before_ms: int
    confirmed_ms: int | None = None
    paid_ms: int | None = None
    closed_ms: int | None = None

    @property
    def level(self) -> str:
        """How durable the order is."""
        return "accepted" if self.state is State.ACCEPTED else "confirmed"


@dataclass(frozen=True, slots=True)
class SetAside:
    """An order that could not be stored, and why."""

    order_id: uuid.UUID
    entry: str
    content: str
    reason: str


@dataclass(frozen=True, slots=True)
class Landed:
    """What a landing did: how many orders are new rows, how many were there already, which were set aside."""

    new: int
    known: int
    aside: tuple[SetAside, ...]


async def land(connection: Connection, *, sale: str, bucket: int, entries: Sequence[Entry]) -> Landed:
    """Commit the orders of these entries in one statement. Safe to repeat: an order is one row, however often.

    What can't be stored is set aside with its reason and is in nobody's way. Raises what asyncpg raises when Postgres
    is away; then nothing was committed, or all of it and nobody heard so: repeat.
    """
    wins = [win for entry in entries for win in entry.wins]
    new = await _insert(connection, sale=sale, bucket=bucket, wins=wins)
    refused = await _refused(connection, sale=sale, entries=entries) if new < len(wins) else []
    aside = [*(_unreadable(entry) for entry in entries if entry.fault), *refused]
    if aside:
        await _set_aside(connection, sale=sale, bucket=bucket, aside=aside)
    return Landed(new, len(wins) - new - len(refused), tuple(aside))


async def _insert(connection: Connection, *, sale: str, bucket: int, wins: Sequence[Win]) -> int:
    """Insert what can be inserted. Returns how many rows are new."""
    if not wins:
        return 0
    columns = [*map(list, zip(*wins, strict=True))]  # a win's fields stand in the order in which the query takes them
    try:
        tag = await connection.execute(query("orders", "land"), sale, bucket, *columns)
    except asyncpg.UniqueViolationError:
        tag = await connection.execute(query("orders", "land_again"), sale, bucket, *columns)
    return int(tag.rpartition(" ")[2])


async def _refused(connection: Connection, *, sale: str, entries: Sequence[Entry]) -> list[SetAside]:
    """Those that are no row although they were to be inserted, each with the reason."""
    rows = await connection.fetch(
        query("orders", "known_orders"), [win.order for entry in entries for win in entry.wins]
    )
    known = {row["order_id"].hex for row in rows}
    return [
        SetAside(win.order_id, entry.entry_id, repr(win), await _reason(connection, sale, win))
        for entry in entries
        for win in entry.wins
        if win.order not in known
    ]


async def _reason(connection: Connection, sale: str, win: Win) -> str:
    loaded = await connection.fetchval(query("orders", "loaded_units"), sale, win.item)
    return BEYOND_LOADED if loaded is None or win.unit > loaded else UNIT_TAKEN


def _unreadable(entry: Entry) -> SetAside:
    # The entry's own id makes the row's, so that setting aside twice is one row.
    order_id = uuid.uuid5(uuid.NAMESPACE_OID, f"outbox entry {entry.entry_id}")
    return SetAside(order_id, entry.entry_id, entry.content, f"{UNREADABLE}: {entry.fault}")


async def _set_aside(connection: Connection, *, sale: str, bucket: int, aside: Sequence[SetAside]) -> None:
    await connection.execute(
        query("orders", "set_aside"),
        [one.order_id for one in aside], [sale] * len(aside), [bucket] * len(aside),
        [one.entry for one in aside], [one.content for one in aside], [one.reason for one in aside],
    )  # fmt: skip


async def expire(connection: Connection, *, now_ms: int) -> int:
    """End what was not paid in time, with its return written in the same statement. Returns how many ended."""
    rows = await connection.fetch(query("orders", "expire"), now_ms, limits.EXPIRED_PER_TRANSACTION)
    return len(rows)


async def cancel(connection: Connection, *, order_id: uuid.UUID, fan: str) -> bool:
    """End a confirmed, unpaid order of this fan, with its return. False when it was not in that state."""
    return await connection.fetchval(query("orders", "cancel"), order_id, fan) is not None


async def of_fan(connection: Connection, fan: str, *, sale: str | None) -> list[Order]:
    """The fan's orders that are in Postgres, newest first."""
    rows = await connection.fetch(query("orders", "orders_of_fan"), fan, sale, limits.ORDERS_PER_PAGE)
    return [_order(row) for row in rows]


async def by_id(connection: Connection, order_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Order]:
    """Those of these orders that are in Postgres."""
    rows = await connection.fetch(query("orders", "orders_by_id"), list(order_ids))
    return {uuid.UUID(bytes=row["order_id"].bytes): _order(row) for row in rows}


async def accepted_of(redis: Redis, sale: Sale, fan: str) -> list[Order]:
    """The fan's live orders in their bucket: those that are on their way to Postgres, and those that are there."""
    lines = await outbox.lines_of(redis, sale.bucket_of(fan), fan)
    return [_accepted(sale, fan, line) for line in lines if line.live]


def _accepted(sale: Sale, fan: str, line: BuyerLine) -> Order:
    item = sale.item(line.item)
    return Order(
        order=str(uuid.UUID(hex=line.order)),
        sale=sale.sale,
        item=line.item,
        unit=line.unit,
        fan=fan,
        state=State.ACCEPTED,
        price_minor=item.price_minor if item else 0,
        currency=sale.currency,
        channel="",
        accepted_ms=line.accepted_ms,
        pay_before_ms=line.accepted_ms + sale.pay_window_s * 1000,
    )


def _order(row: asyncpg.Record) -> Order:
    return Order(
        order=str(row["order_id"]),
        sale=row["sale"],
        item=row["item"],
        unit=row["unit"],
        fan=row["fan"],
        state=State(row["state"]),
        price_minor=row["price_minor"],
        currency=row["currency"],
        channel=row["channel"],
        accepted_ms=row["accepted_ms"],
        pay_before_ms=row["pay_before_ms"],
        confirmed_ms=row["confirmed_ms"],
        paid_ms=row["paid_ms"],
        closed_ms=row["ended_ms"],
    )
