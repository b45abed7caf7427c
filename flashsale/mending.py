"""Mending: what ops do about orders that were set aside and that the worker can't settle by itself.

To replay is to land again what a person has mended: an entry that an older version could not read, an item that was not
there. To compensate is to note what was done for a fan whose order could not be kept.
"""

import uuid
from dataclasses import dataclass

from flashsale import ledger, limits, order, set_aside
from flashsale.errors import BadInputError, NotFoundError, StateError
from flashsale.outbox import Entry
from flashsale.queries import Connection, query
from flashsale.set_aside import Listed, State


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: where the row stands now, how many orders landed, and how many wait for another unit.

    refusal: why nothing was done, in words for a person; else empty.
    """

    order: str
    state: State
    landed: int = 0
    waiting: int = 0
    refusal: str = ""


def number_of(text: str) -> uuid.UUID:
    """An order's number as somebody typed it. Raises NotFoundError."""
    try:
        return uuid.UUID(text)
    except ValueError as fault:
        raise NotFoundError(f"{text!r} is not an order's number.") from fault


async def find(connection: Connection, text: str) -> Listed:
    """The row of an order that was set aside. Raises NotFoundError."""
    order_id = number_of(text)
    row = await set_aside.find(connection, order_id)
    if row is not None:
        return row
    state = await connection.fetchval(query("payments", "state_of_order"), order_id)
    if state is not None:
        raise NotFoundError(f"Order {order_id} was never set aside; it is {state}.")
    raise NotFoundError(f"No order {order_id} was set aside. See a sale's with: flashsale outbox list SALE")


async def replay(connection: Connection, text: str, *, actor: str) -> Replayed:
    """Land an order again, or hand it to the worker when its unit is another's. Safe to repeat.

    Raises NotFoundError, or StateError when there is nothing to replay or it can't land yet; then nothing is changed.
    """
    row = await find(connection, text)
    if row.state is State.REPLAYED:
        return Replayed(row.order, row.state)
    if row.state is not State.UNREADABLE:
        raise StateError(_nothing_to_replay(row))
    entry = await _entry_of(connection, row)
    if row.reason in order.WAITS:
        return await _replayed(connection, row, State.WAITING, actor=actor, waiting=1, reason=row.reason)
    landed = await order.land(connection, sale=row.sale, bucket=row.bucket, entries=[entry])
    waiting = sum(one.state is State.WAITING for one in landed.aside)
    own = next((one for one in landed.aside if one.order_id == uuid.UUID(row.order)), None)
    if own is not None and own.state is not State.WAITING:
        raise StateError(f"Order {row.order} still can't land: {own.reason}. Nothing was changed.")
    done = landed.new + landed.known
    if own is not None:
        return await _replayed(connection, row, State.WAITING, actor=actor, waiting=waiting, reason=own.reason)
    return await _replayed(connection, row, State.REPLAYED, actor=actor, landed=done, waiting=waiting)


async def replay_all(connection: Connection, sale: str, *, actor: str) -> list[Replayed]:
    """Replay all of a sale that needs a person, oldest first. What can't land yet says why. Raises NotFoundError."""
    await ledger.find(connection, sale)
    done = []
    for row in await set_aside.listed(connection, sale, state=State.UNREADABLE):
        try:
            done.append(await replay(connection, row.order, actor=actor))
        except StateError as refusal:
            done.append(Replayed(row.order, row.state, refusal=str(refusal)))
    return done


async def compensate(connection: Connection, text: str, *, note: str, actor: str) -> Listed:
    """Note what was done for the fan of an order that could not be kept. Safe to repeat with the same note.

    An order that needs a person, and that can be one of the fan's, is refused with it, so that its fan is told. Raises
    BadInputError, NotFoundError or StateError; then nothing is changed.
    """
    if not 1 <= len(note.strip()) <= limits.NOTE_LENGTH_MAX:
        raise BadInputError(f"--note: say in 1 to {limits.NOTE_LENGTH_MAX} characters what was done for the fan")
    async with connection.transaction():
        order_id = uuid.UUID((await find(connection, text)).order)
        await connection.fetch(query("set_aside", "lock"), order_id)
        row = await find(connection, text)
        if row.state is State.COMPENSATED and row.note == note.strip():
            return row
        if row.state not in (State.REFUSED, State.UNREADABLE):
            raise StateError(_nothing_to_make_good(row))
        if row.state is State.UNREADABLE and row.win is not None:
            await _refuse(connection, row)
        await connection.execute(query("set_aside", "compensated"), order_id, note.strip())
        detail = {"order": row.order, "note": note.strip()}
        await ledger.log(connection, actor=actor, verb="compensate", sale=row.sale, detail=detail)
    return await find(connection, text)


async def _refuse(connection: Connection, row: Listed) -> None:
    """Refuse an order that needs a person, if its item is there; its unit comes back when it is nobody else's."""
    await connection.execute(query("set_aside", "wait_again"), uuid.UUID(row.order), row.reason)
    assert row.win is not None, "the caller has looked"
    waiting = set_aside.Waiting(row.win, row.bucket, row.tried, row.reason, 0.0)
    state = await set_aside.refuse(connection, row.sale, waiting, reason=row.reason)
    if state is None:
        raise StateError(f"The unit of order {row.order} is just coming back from another one. Try again in a moment.")
    if state is State.REPLACED:
        raise StateError(f"Order {row.order} has landed meanwhile; nothing is to be made good.")


async def _replayed(
    connection: Connection,
    row: Listed,
    state: State,
    *,
    actor: str,
    landed: int = 0,
    waiting: int = 0,
    reason: str = "",
) -> Replayed:
    """Note what became of the row. reason: why it waits, if it does."""
    order_id = uuid.UUID(row.order)
    async with connection.transaction():
        await connection.fetch(query("set_aside", "lock"), order_id)
        if state is State.WAITING:
            await connection.execute(query("set_aside", "wait_again"), order_id, reason)
        else:
            await connection.execute(query("set_aside", "replayed"), order_id)
        detail = {"order": row.order, "landed": landed, "waiting": waiting}
        await ledger.log(connection, actor=actor, verb="replay", sale=row.sale, detail=detail)
    return Replayed(row.order, state, landed, waiting)


async def _entry_of(connection: Connection, row: Listed) -> Entry:
    """What there is to land. Raises StateError."""
    if row.win is not None:
        return Entry("0-0", (row.win,), 1)
    fields = await connection.fetchrow(query("set_aside", "lock"), uuid.UUID(row.order))
    if fields is None or fields["fields"] is None:
        raise StateError(
            f"Of {row.order} only a text is kept, which can't be landed. See: flashsale outbox show {row.order}"
        )
    entry = set_aside.entry_of(fields["entry"], fields["fields"]["pairs"])
    if entry.fault:
        raise StateError(f"The entry {row.order} still can't be read: {entry.fault}. Nothing was changed.")
    return entry


def _nothing_to_replay(row: Listed) -> str:
    match row.state:
        case State.WAITING:
            return f"Order {row.order} waits for another unit; the worker looks for one by itself."
        case State.COMPENSATED:
            return f"Order {row.order} is compensated already, so it can't be replayed: {row.note}"
        case State.REFUSED:
            return (
                f"Order {row.order} was refused and its fan was told, so it can't be replayed. Do something for them, "
                f'and note it: flashsale outbox compensate {row.order} --note "what was done"'
            )
        case _:
            return f"Order {row.order} has landed with unit {row.order_unit}; there is nothing to replay."


def _nothing_to_make_good(row: Listed) -> str:
    match row.state:
        case State.WAITING:
            return f"Order {row.order} waits for another unit; if there is none, it is refused by itself."
        case State.COMPENSATED:
            return f"Order {row.order} is compensated already: {row.note}"
        case _:
            return f"Order {row.order} has landed with unit {row.order_unit}; nothing is to be made good."
