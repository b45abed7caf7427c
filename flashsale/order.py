"""An order: accepted in a bucket, confirmed when it is committed in Postgres, then paid, expired or cancelled; a
paid one may be refunded. One that Postgres can't take, and for which there is no other unit, is refused."""

import enum
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from flashsale import limits, outbox, set_aside
from flashsale.durability import Level
from flashsale.outbox import BuyerLine, Entry, Win
from flashsale.queries import Connection, query
from flashsale.sale import Sale
from flashsale.set_aside import SetAside
from flashsale.stores import Client

BEYOND_LOADED: Final = "the unit was never loaded"
NO_SUCH_ITEM: Final = "the sale has no such item"
UNIT_TAKEN: Final = "the unit is in another live order"
OVER_LIMIT: Final = "the fan has all the orders that one fan may have"
UNIT_TRIED: Final = "it waits for another unit than this"
CODE_SPENT: Final = "the F-code is spent by another order"
NO_UNIT: Final = "no unit is free"
REFUSED: Final = "a constraint refuses it"
UNREADABLE: Final = "the entry can't be read"

# The constraints of the table orders by name, with what they mean for an order that is landed.
_SAME_ORDER: Final = "orders_pkey"
_PLACE_TAKEN: Final = "orders_live_place"
_REASONS: Final = {
    "orders_item": NO_SUCH_ITEM,
    "price_minor": NO_SUCH_ITEM,  # without the item there is no price, which the column refuses even earlier
    "orders_unit_loaded": BEYOND_LOADED,
    "orders_live_unit": UNIT_TAKEN,
    "orders_place_in_limit": OVER_LIMIT,
    "orders_unit_not_tried": UNIT_TRIED,
    "orders_fcode": CODE_SPENT,
}
# What another unit can mend, or an apology. All else is for a person.
WAITS: Final = {UNIT_TAKEN, BEYOND_LOADED, OVER_LIMIT, UNIT_TRIED, CODE_SPENT}
# Another unit would not mend these.
HAS_ANOTHER: Final = {OVER_LIMIT, CODE_SPENT}
_RACES_MAX: Final = 3


class State(enum.StrEnum):
    """Where an order is in its life. accepted: in the bucket's memory and outbox, not yet committed. refused: told as
    won, and then there was no unit for it; the fan gets an apology."""

    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    PAID = "paid"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Order:
    """An order as its owner sees it. Times in ms since 1970 UTC, None until they have come.

    payment_state: of its newest payment, None while there is none. late_order: the order that this one's money paid
    instead, because it came when this one was over. checking: it is accepted, and its unit turned out to be another
    order's: it gets another one, with another number, or is refused. reached: the level that is proved while it is on
    its way.
    """

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
    payment_state: str | None = None
    late_order: str | None = None
    checking: bool = False
    reached: Level = Level.ACCEPTED

    @property
    def level(self) -> Level:
        """How durable the order is."""
        return self.reached if self.state is State.ACCEPTED else Level.CONFIRMED


@dataclass(frozen=True, slots=True)
class Landed:
    """What a landing did: how many orders are new rows, how many were there already, which were set aside."""

    new: int
    known: int
    aside: tuple[SetAside, ...]


async def land(connection: Connection, *, sale: str, bucket: int, entries: Sequence[Entry]) -> Landed:
    """Commit the orders of these entries in one statement. Safe to repeat: an order is one row, however often.

    What a constraint refuses is set aside with its reason and is in nobody's way. Raises what asyncpg raises when
    Postgres is away; then nothing was committed, or all of it and nobody heard so: repeat.
    """
    wins = [win for entry in entries for win in entry.wins]
    new, refused = await _insert(connection, sale=sale, bucket=bucket, wins=wins)
    aside = [_unreadable(entry) for entry in entries if entry.fault]
    if refused:
        aside += [
            _refused(entry, win, refused[win.order]) for entry in entries for win in entry.wins if win.order in refused
        ]
    if aside:
        await set_aside.store(connection, sale=sale, bucket=bucket, aside=aside)
    return Landed(new, len(wins) - new - len(refused), tuple(aside))


async def _insert(
    connection: Connection, *, sale: str, bucket: int, wins: Sequence[Win]
) -> tuple[int, Mapping[str, str]]:
    """Insert what can be inserted. Returns how many rows are new, and the reason for each order that is refused."""
    if not wins:
        return 0, {}
    try:
        return await _insert_by("land", connection, sale=sale, bucket=bucket, wins=wins), {}
    except asyncpg.IntegrityConstraintViolationError:
        await set_aside.tell_again(connection, wins)
        return await _insert_in_parts(connection, sale=sale, bucket=bucket, wins=wins)


async def _insert_by(name: str, connection: Connection, *, sale: str, bucket: int, wins: Sequence[Win]) -> int:
    columns = [*map(list, zip(*wins, strict=True))]  # a win's fields stand in the order in which the query takes them
    fans = columns[Win._fields.index("fan")]
    nth = [] if len(set(fans)) == len(fans) else _nth(fans)
    tag = await connection.execute(query("orders", name), sale, bucket, *columns, nth)
    return int(tag.rpartition(" ")[2])


def _nth(fans: Sequence[str]) -> list[int]:
    """For each, how many of the same fan there are up to it."""
    seen: Counter[str] = Counter()
    numbers = []
    for fan in fans:
        seen[fan] += 1
        numbers.append(seen[fan])
    return numbers


async def _insert_in_parts(
    connection: Connection, *, sale: str, bucket: int, wins: Sequence[Win]
) -> tuple[int, dict[str, str]]:
    """Insert these in ever smaller parts, until each that is refused stands alone and its constraint says why.

    Clashes with rows that are there, which may be many, are passed over by one statement and looked at one by one.
    """
    wins = [win for (win,) in await _not_there(connection, wins)]
    if not wins:
        return 0, {}
    if len(wins) == 1:
        return await _insert_one(connection, sale=sale, bucket=bucket, win=wins[0])
    try:
        new = await _insert_by("land_again", connection, sale=sale, bucket=bucket, wins=wins)
        parts = await _not_there(connection, wins) if new < len(wins) else []
    except asyncpg.IntegrityConstraintViolationError:
        new, parts = 0, [wins[: len(wins) // 2], wins[len(wins) // 2 :]]
    refused: dict[str, str] = {}
    for part in parts:
        more, reasons = await _insert_in_parts(connection, sale=sale, bucket=bucket, wins=part)
        new += more
        refused |= reasons
    return new, refused


async def _not_there(connection: Connection, wins: Sequence[Win]) -> list[list[Win]]:
    """Those that are no row, each by itself."""
    rows = await connection.fetch(query("orders", "known_orders"), [win.order for win in wins])
    known = {row["order_id"].hex for row in rows}
    return [[win] for win in wins if win.order not in known]


async def _insert_one(connection: Connection, *, sale: str, bucket: int, win: Win) -> tuple[int, dict[str, str]]:
    """Insert one order, or find out which constraint refuses it."""
    for _ in range(_RACES_MAX):
        try:
            return await _insert_by("land", connection, sale=sale, bucket=bucket, wins=[win]), {}
        except asyncpg.IntegrityConstraintViolationError as refusal:
            name = refusal.constraint_name or refusal.column_name or ""
            if name == _SAME_ORDER:
                return 0, {}
            if name != _PLACE_TAKEN:
                return 0, {win.order: _REASONS.get(name, f"{REFUSED}: {name or refusal}")}
            # With a limit of one it is the fan's other order; else a landing beside this one took the place: again.
    return 0, {win.order: OVER_LIMIT}


async def live_among(connection: Connection, orders: Sequence[str]) -> list[str]:
    """Those of these orders (32 hex digits each) that are committed."""
    rows = await connection.fetch(query("orders", "committed_among"), list(orders))
    return [row["order_id"].hex for row in rows]


def _refused(entry: Entry, win: Win, reason: str) -> SetAside:
    state = set_aside.State.WAITING if reason in WAITS else set_aside.State.UNREADABLE
    return SetAside(win.order_id, entry.entry_id, repr(win), reason, state, win)


def _unreadable(entry: Entry) -> SetAside:
    # The entry's own id makes the row's, so that setting aside twice is one row.
    order_id = uuid.uuid5(uuid.NAMESPACE_OID, f"outbox entry {entry.entry_id}")
    reason = f"{UNREADABLE}: {entry.fault}"
    return SetAside(order_id, entry.entry_id, entry.content, reason, set_aside.State.UNREADABLE, fields=entry.fields)


async def expire(connection: Connection, *, now_ms: int) -> int:
    """End what was not paid in time, with its return written in the same statement. Returns how many ended."""
    rows = await connection.fetch(query("orders", "expire"), now_ms, limits.EXPIRED_PER_TRANSACTION)
    return len(rows)


async def cancel(connection: Connection, *, order_id: uuid.UUID, fan: str) -> bool:
    """End a confirmed, unpaid order of this fan, with its return. False when it was not in that state."""
    return await connection.fetchval(query("orders", "cancel"), order_id, fan) is not None


async def of_fan(connection: Connection, fan: str, *, sale: str | None) -> list[Order]:
    """The fan's orders that are in Postgres, newest first; those that wait there for another unit too."""
    rows = await connection.fetch(query("orders", "orders_of_fan"), fan, sale, limits.ORDERS_PER_PAGE)
    aside = await connection.fetch(query("set_aside", "waiting_of_fan"), fan, sale, limits.ORDERS_PER_PAGE)
    found = {one.order: one for one in (*map(_checked, aside), *map(_order, rows))}
    return sorted(found.values(), key=lambda one: (one.accepted_ms, one.order), reverse=True)[: limits.ORDERS_PER_PAGE]


async def by_id(connection: Connection, order_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Order]:
    """Those of these orders that are in Postgres; those that wait there for another unit too."""
    aside = await connection.fetch(query("set_aside", "waiting_by_id"), list(order_ids))
    rows = await connection.fetch(query("orders", "orders_by_id"), list(order_ids))
    found = (*map(_checked, aside), *map(_order, rows))
    return {uuid.UUID(one.order): one for one in found}


async def accepted_of(redis: Client, sale: Sale, fan: str) -> list[Order] | None:
    """The fan's live orders in their buckets: those that are on their way to Postgres, and those that are there.

    None when that can't be said: a bucket has lost its memory, or is being rebuilt.
    """
    found: list[Order] = []
    for bucket in sale.buckets_of(fan):
        lines = await outbox.lines_of(redis, bucket, fan, generation=sale.generation)
        if lines is None:
            return None
        found += [_accepted(sale, fan, line) for line in lines if line.live]
    return found


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


def _checked(row: asyncpg.Record) -> Order:
    """An order that was set aside and waits."""
    win = Win(**row["win"])
    return Order(
        order=str(row["order_id"]),
        sale=row["sale"],
        item=win.item,
        unit=row["tried"][-1],
        fan=win.fan,
        state=State.ACCEPTED,
        price_minor=row["price_minor"],
        currency=row["currency"],
        channel=win.channel,
        accepted_ms=win.accepted_ms,
        pay_before_ms=win.accepted_ms + row["pay_window_s"] * 1000,
        checking=True,
    )


def _order(row: asyncpg.Record) -> Order:
    refused = row["state"] == State.REFUSED
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
        confirmed_ms=None if refused else row["confirmed_ms"],
        paid_ms=row["paid_ms"],
        closed_ms=row["ended_ms"],
        payment_state=row["payment_state"],
        late_order=row["late_order"] and str(row["late_order"]),
    )
