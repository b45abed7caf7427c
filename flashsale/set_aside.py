"""Set aside: orders that could not land, and what becomes of them.

waiting: Postgres refused the unit, and another is looked for. replaced: landed with another one. refused: there is
none, or the fan has all that one fan may have; the fan is told. compensated: ops did something for that fan.
unreadable: nobody can make an order of it as it is, so it needs a person. replayed: that was mended, and it landed.
"""

import enum
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from flashsale import limits
from flashsale.outbox import Entry, Win, parse_entry
from flashsale.queries import Connection, query


class State(enum.StrEnum):
    """Where an order that was set aside stands."""

    WAITING = "waiting"
    REPLACED = "replaced"
    REFUSED = "refused"
    COMPENSATED = "compensated"
    REPLAYED = "replayed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class SetAside:
    """An order that could not be stored, and why. win: what it is, if it could be read; fields: the entry, if not."""

    order_id: uuid.UUID
    entry: str
    content: str
    reason: str
    state: State
    win: Win | None = None
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """An order that waits for another unit, with its row locked. tried: the units that were refused, newest last."""

    win: Win
    bucket: int
    tried: tuple[int, ...]
    reason: str
    waited_s: float


@dataclass(frozen=True, slots=True)
class Over:
    """A refused order of which the bucket has still to hear. unit: the one that is another order's."""

    win: Win
    bucket: int
    unit: int


@dataclass(frozen=True, slots=True)
class Listed:
    """One row as ops see it. order_state, order_unit: of the order, if it is in Postgres."""

    order: str
    sale: str
    bucket: int
    state: State
    reason: str
    win: Win | None
    tried: tuple[int, ...]
    content: str
    created_at: datetime
    tried_at: datetime
    asked_at: datetime | None
    offered: int | None
    settled_at: datetime | None
    bucket_told_at: datetime | None
    note: str | None
    order_state: str | None
    order_unit: int | None


async def store(connection: Connection, *, sale: str, bucket: int, aside: Sequence[SetAside]) -> None:
    """Keep these. Safe to repeat: an order is one row, and one that waits learns of one more unit that was refused.

    The items are locked first, as landing locks them: so a landing of the same order is either over and seen here, or
    sees what is written here.
    """
    items = sorted({one.win.item for one in aside if one.win})
    async with connection.transaction():
        await connection.fetch(query("set_aside", "lock_items"), sale, items)
        await connection.execute(
            query("set_aside", "store"), sale, bucket,
            [one.order_id for one in aside], [one.entry for one in aside], [one.content for one in aside],
            [one.reason for one in aside], [one.state.value for one in aside],
            [one.win and one.win._asdict() for one in aside],
            [{"pairs": one.fields} if one.fields else None for one in aside],
        )  # fmt: skip


async def tell_again(connection: Connection, wins: Sequence[Win]) -> None:
    """Of orders that are known already: those that are refused, and have all the same been given another unit since,
    are to be ended in their bucket once more."""
    await connection.execute(
        query("set_aside", "tell_again"), [win.order_id for win in wins], [win.unit for win in wins]
    )


async def sales_open(connection: Connection) -> set[str]:
    """The names of the sales in which an order waits, or a bucket has to hear of one that is refused."""
    return {row["sale"] for row in await connection.fetch(query("set_aside", "sales_open"))}


async def note_landed(connection: Connection, sale: str) -> list[uuid.UUID]:
    """Note those that waited and have landed. Returns their orders."""
    return [row["order_id"] for row in await connection.fetch(query("set_aside", "replaced"), sale)]


async def to_ask(connection: Connection, sale: str) -> list[tuple[uuid.UUID, str]]:
    """Orders, with their items, for which the bucket is to be asked for a unit now, oldest first."""
    rows = await connection.fetch(query("set_aside", "to_ask"), sale, limits.ASIDE_ASK_AGAIN_S, limits.ASIDE_PER_READ)
    return [(row["order_id"], row["item"]) for row in rows]


async def lock_waiting(connection: Connection, sale: str, item: str, order_id: uuid.UUID) -> Waiting | None:
    """Lock one that waits; None when another has it, or when it waits no longer. To be called in a transaction.

    Its item comes first, as in landing and in setting aside: whoever locks in one order meets no deadlock.
    """
    await connection.fetch(query("set_aside", "lock_item"), sale, item)
    row = await connection.fetchrow(query("set_aside", "lock_waiting"), order_id)
    if row is None:
        return None
    return Waiting(
        win=Win(**row["win"]),
        bucket=row["bucket"],
        tried=tuple(row["tried"]),
        reason=row["reason"],
        waited_s=row["waited_s"],
    )


async def note_offered(connection: Connection, order_id: uuid.UUID, unit: int | None) -> None:
    """Note which unit the bucket gave, None for none."""
    await connection.execute(query("set_aside", "offered"), order_id, unit)


async def units_may_come(connection: Connection, sale: str, item: str, *, unpaid_too: bool) -> bool:
    """Whether units of an item are on their way to the buckets; with unpaid_too, also whether an order may expire."""
    row = await connection.fetchrow(query("set_aside", "units_to_come"), sale, item)
    assert row is not None, "a question without a table has one row"
    return bool(row["loads"] or row["returns"] or (unpaid_too and row["unpaid"]))


async def refuse(connection: Connection, sale: str, waiting: Waiting, *, reason: str) -> State | None:
    """Refuse one that waits and is locked: the fan finds the order among theirs, refused, and its unit comes back if it
    is nobody else's. All in the caller's transaction.

    Returns the state then: replaced if it has landed after all, unreadable if it is of an item that is none. None, and
    nothing is changed, while the unit is on its way back from another order: it is not yet known whose it is.
    """
    win, unit = waiting.win, waiting.tried[-1]
    if await connection.fetchval(query("set_aside", "unit_coming_back"), sale, win.item, unit):
        return None
    if await connection.fetchval(query("set_aside", "refuse"), win.order_id) is None:
        landed = await note_landed(connection, sale)
        return State.REPLACED if win.order_id in landed else State.UNREADABLE
    comes_back = await connection.fetchval(query("set_aside", "return_of_refused"), win.order_id) is not None
    await connection.execute(query("set_aside", "refused"), win.order_id, comes_back, reason)
    return State.REFUSED


async def to_tell(connection: Connection, sale: str) -> list[Over]:
    """Refused orders of which their buckets have still to hear."""
    rows = await connection.fetch(query("set_aside", "to_tell"), sale, limits.ASIDE_PER_READ)
    return [Over(Win(**row["win"]), row["bucket"], row["tried"][-1]) for row in rows]


async def note_told(connection: Connection, order_id: uuid.UUID) -> None:
    """Note that the bucket has ended the line of a refused order."""
    await connection.execute(query("set_aside", "bucket_told"), order_id)


async def counts(connection: Connection) -> dict[tuple[str, State], int]:
    """How many rows there are, by sale and state."""
    rows = await connection.fetch(query("set_aside", "counts"))
    return {(row["sale"], State(row["state"])): row["orders"] for row in rows}


async def unsettled(connection: Connection, sale: str) -> int:
    """How many of a sale's orders have neither landed nor are over."""
    return len(await connection.fetch(query("set_aside", "open_units"), sale))


async def listed(connection: Connection, sale: str, *, state: State | None) -> list[Listed]:
    """A sale's rows, oldest first; all, or those in one state."""
    return [_listed(row) for row in await connection.fetch(query("set_aside", "listed"), sale, state)]


async def find(connection: Connection, order_id: uuid.UUID) -> Listed | None:
    """One row."""
    row = await connection.fetchrow(query("set_aside", "by_id"), order_id)
    return _listed(row) if row else None


def entry_of(entry_id: str, fields: Iterable[Sequence[str]]) -> Entry:
    """An entry as it stood in the outbox, read by this version. fields: its names and values as hex."""
    return parse_entry(entry_id.encode(), {bytes.fromhex(name): bytes.fromhex(value) for name, value in fields})


def as_data(one: Listed) -> dict[str, Any]:
    """A row for scripts."""
    return {
        "order": one.order,
        "sale": one.sale,
        "bucket": one.bucket,
        "state": one.state,
        "reason": one.reason,
        "fan": one.win and one.win.fan,
        "item": one.win and one.win.item,
        "channel": one.win and one.win.channel,
        "accepted_ms": one.win and one.win.accepted_ms,
        "tried_units": list(one.tried),
        "offered_unit": one.offered,
        "order_state": one.order_state,
        "unit": one.order_unit,
        "note": one.note,
        "content": one.content,
        "created_at": one.created_at,
        "tried_at": one.tried_at,
        "asked_at": one.asked_at,
        "settled_at": one.settled_at,
        "bucket_told_at": one.bucket_told_at,
    }


def _listed(row: asyncpg.Record) -> Listed:
    return Listed(
        order=str(row["order_id"]),
        sale=row["sale"],
        bucket=row["bucket"],
        state=State(row["state"]),
        reason=row["reason"],
        win=Win(**row["win"]) if row["win"] else None,
        tried=tuple(row["tried"]),
        content=row["content"],
        created_at=row["created_at"],
        tried_at=row["tried_at"],
        asked_at=row["asked_at"],
        offered=row["offered"],
        settled_at=row["settled_at"],
        bucket_told_at=row["bucket_told_at"],
        note=row["note"],
        order_state=row["order_state"],
        order_unit=row["order_unit"],
    )
