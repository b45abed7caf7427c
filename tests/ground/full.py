"""A sale with a row of every kind in every table, written by the engine's own queries; some dates are set long ago."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from uuid_utils import uuid7

from flashsale import clock, ledger, order, payment, plan, set_aside
from flashsale.outbox import Win
from flashsale.queries import Connection, query
from flashsale.sale import Sale
from flashsale.set_aside import SetAside
from tests.support.samples import PLAN

LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)
UNITS: Final = {"alice": 1, "bob": 2, "carol": 3, "dora": 4, "erin": 5}


@dataclass(frozen=True, slots=True)
class Full:
    """The sale, its orders by fan, and alice's payment.

    alice: confirmed, with a payment asked for. bob: paid. carol: cancelled, her unit is coming back. dora: expired, her
    unit is back. erin: cancelled, and the bucket refused her unit. finn: set aside, as unit 1 is alice's.
    """

    sale: Sale
    orders: dict[str, uuid.UUID]
    payment: uuid.UUID
    accepted_ms: int


def win(fan: str, unit: int, *, item: str = "silver", at_ms: int = 0) -> Win:
    """A win as it lands, a second old unless told otherwise."""
    return Win(uuid7().hex, item, unit, fan, "web", "public", at_ms or clock.now_ms() - 1_000)


async def insert(connection: Connection, name: str, *wins: Win, sale: str) -> int:
    """Land these wins by that query; how many rows it made."""
    return await order._insert_by(name, connection, sale=sale, bucket=0, wins=wins)


def aside(fan: str = "finn", unit: int = 1, *, reason: str = order.UNIT_TAKEN) -> SetAside:
    """An order whose unit another has; it waits."""
    one = win(fan, unit)
    return SetAside(one.order_id, "1-1", repr(one), reason, set_aside.State.WAITING, one)


async def make(connection: Connection, name: str) -> Full:
    """Write it down under this name."""
    read = plan.read(PLAN.replace('"mi3"', f'"{name}"', 1))
    times = plan.times(read, now=datetime(2026, 11, 22, tzinfo=UTC))
    sale = await ledger.create(connection, read, times, weekly_from=None, actor="tester")
    await ledger.make_units(connection, sale, "silver", 7)
    (applied,) = await ledger.make_units(connection, sale, "black", 3)
    await connection.execute("update stock_loads set applied_at = $2 where load = $1", applied.load, LONG_AGO)
    wins = {fan: win(fan, unit) for fan, unit in UNITS.items()}
    assert await insert(connection, "land", *wins.values(), sale=name) == len(wins)
    orders = {fan: one.order_id for fan, one in wins.items()}
    assert await connection.fetchval(query("payments", "pay_order"), orders["bob"])
    for fan in ("carol", "dora", "erin"):
        assert await order.cancel(connection, order_id=orders[fan], fan=fan)
    await connection.execute("update orders set state = 'expired' where order_id = $1", orders["dora"])
    await connection.execute("update returns set given_back_at = $2 where order_id = $1", orders["dora"], LONG_AGO)
    await connection.execute("update returns set refused_at = $2 where order_id = $1", orders["erin"], LONG_AGO)
    asked = await payment.ask(connection, order_id=orders["alice"], fan="alice", now_ms=0)
    assert asked
    await set_aside.store(connection, sale=name, bucket=0, aside=[aside()])
    found = await ledger.find(connection, name)
    return Full(found, orders, uuid.UUID(asked.payment), wins["alice"].accepted_ms)
