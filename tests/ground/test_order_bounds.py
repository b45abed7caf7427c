"""What Postgres forbids by itself: tried by plain SQL that goes round the code, each refused by its constraint's name.

For each there is also a look at what happens without the constraint: the bad row goes in. So these tests would notice
one that is gone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import asyncpg
import pytest
from uuid_utils import uuid7

from flashsale import ledger, plan
from flashsale.queries import Connection, Pool
from tests.support.samples import PLAN

pytestmark = pytest.mark.servers
NOW: Final = datetime(2026, 11, 22, tzinfo=UTC)
LOADED: Final = 20

INSERT: Final = """
insert into orders (order_id, sale, item, unit, fan, state, place, bucket, channel, lane, price_minor, currency,
                    accepted_ms, pay_before_ms)
values ($1, $2, $3, $4, $5, $6, $7, 0, 'web', 'public', 1, 'CNY', 1, 2)
"""


@dataclass(frozen=True, slots=True)
class Bad:
    """What may not be, and what forbids it. without: the SQL that takes the constraint away."""

    constraint: str
    error: type[asyncpg.PostgresError]
    sql: str
    without: str
    order: tuple[str | int, ...] = ()


UNIQUE: Final = asyncpg.UniqueViolationError
CHECK: Final = asyncpg.CheckViolationError
FOREIGN: Final = asyncpg.ForeignKeyViolationError
LANDED: Final = "drop trigger orders_landed_in_bounds on orders"
CHANGED: Final = "drop trigger orders_changed_in_bounds on orders"

ASIDE: Final = (
    "insert into set_aside (order_id, sale, bucket, entry, content, reason, state, win, tried)"
    " values ($1, $2, 0, '1-1', 'text', 'reason', 'waiting', $3, '{6,7}')"
)
A_SALE_WITHOUT_ITEMS: Final = (
    "insert into sales (sale, generation, title, entry, opens_ms, closes_ms, per_fan_limit, pay_window_s, currency,"
    " channels, buckets, plan) select sale || '-three', gen_random_uuid(), title, entry, opens_ms, closes_ms, 1,"
    " pay_window_s, currency, channels, buckets, plan from sales where sale = $1"
)
# alice holds unit 1 in her only place; bob's order of unit 2 has expired; hugo's was refused; frida's waits for another
# unit than 6 and 7.
# An order: item, unit, fan, state, place.
BAD: Final = {
    "a unit in two live orders": Bad(
        "orders_live_unit", UNIQUE, INSERT, "drop index orders_live_unit", ("silver", 1, "carol", "confirmed", 1)
    ),
    "an ended order that comes to life when its unit is taken": Bad(
        "orders_live_unit",
        UNIQUE,
        "update orders set state = 'paid', unit = 1 where sale = $1 and fan = 'bob'",
        "drop index orders_live_unit",
    ),
    "an order that waits for another unit, with the one that was refused": Bad(
        "orders_unit_not_tried",
        CHECK,
        "insert into orders (order_id, sale, item, unit, fan, state, bucket, channel, lane, price_minor, currency,"
        " accepted_ms, pay_before_ms) select order_id, sale, 'silver', 7, 'frida', 'confirmed', 0, 'web', 'public', 1,"
        " 'CNY', 1, 2 from set_aside where sale = $1",
        LANDED,
    ),
    "a unit that was never loaded": Bad(
        "orders_unit_loaded", CHECK, INSERT, LANDED, ("silver", LOADED + 1, "carol", "confirmed", 1)
    ),
    "a live order that moves to a unit that was never loaded": Bad(
        "orders_unit_loaded", CHECK, "update orders set unit = 21 where sale = $1 and fan = 'alice'", CHANGED
    ),
    "an ended order that comes to life with a unit that was never loaded": Bad(
        "orders_unit_loaded",
        CHECK,
        "update orders set unit = 21, state = 'paid' where sale = $1 and fan = 'bob'",
        CHANGED,
    ),
    "an order of an item that is none": Bad(
        "orders_item", FOREIGN, INSERT, LANDED, ("gold", 3, "carol", "confirmed", 1)
    ),
    "an order that is over, of an item that is none": Bad(
        "orders_item", FOREIGN, INSERT, LANDED, ("gold", 3, "carol", "refused", 1)
    ),
    "an order that moves to a sale that is none": Bad(
        "orders_item", FOREIGN, "update orders set sale = sale || '-none' where sale = $1 and fan = 'bob'", CHANGED
    ),
    "an order that moves to an item that is none": Bad(
        "orders_item", FOREIGN, "update orders set item = 'gold' where sale = $1 and fan = 'alice'", CHANGED
    ),
    "a refused order that comes to life with its unit that was never loaded": Bad(
        "orders_unit_loaded", CHECK, "update orders set state = 'paid' where sale = $1 and fan = 'hugo'", CHANGED
    ),
    "a second order in a fan's place": Bad(
        "orders_live_place",
        UNIQUE,
        INSERT,
        "alter table orders drop constraint orders_live_place",
        ("silver", 3, "alice", "confirmed", 1),
    ),
    "a place beyond the limit": Bad(
        "orders_place_in_limit", CHECK, INSERT, LANDED, ("silver", 3, "alice", "confirmed", 2)
    ),
    "a place that is none": Bad(
        "orders_place",
        CHECK,
        INSERT,
        "alter table orders drop constraint orders_place",
        ("silver", 3, "alice", "confirmed", 0),
    ),
    "a live order that moves beyond the limit": Bad(
        "orders_place_in_limit", CHECK, "update orders set place = 2 where sale = $1 and fan = 'alice'", CHANGED
    ),
    "loaded units that become fewer": Bad(
        "items_loaded_grows",
        CHECK,
        "update items set loaded = loaded - 1 where sale = $1 and item = 'silver'",
        "drop trigger items_loaded_grows on items",
    ),
    "an item with orders that gets another name": Bad(
        "orders_item",
        FOREIGN,
        "with loads as (delete from stock_loads where sale = $1) "
        "update items set item = 'gold' where sale = $1 and item = 'silver'",
        "drop trigger items_loaded_grows on items; alter table stock_loads drop constraint stock_loads_sale_item_fkey",
    ),
    "an item with orders that moves to another sale": Bad(
        "orders_item",
        FOREIGN,
        "with loads as (delete from stock_loads where sale = $1) "
        "update items set sale = $1 || '-three' where sale = $1 and item = 'silver'",
        "drop trigger items_loaded_grows on items; alter table stock_loads drop constraint stock_loads_sale_item_fkey",
    ),
    "an item with orders that goes away": Bad(
        "orders_item",
        FOREIGN,
        "with loads as (delete from stock_loads where sale = $1) delete from items where sale = $1 and item = 'silver'",
        "drop trigger items_with_orders on items; alter table stock_loads drop constraint stock_loads_sale_item_fkey",
    ),
    "a limit below what fans hold": Bad(
        "sales_limit_holds",
        CHECK,
        "update sales set per_fan_limit = 1 where sale = $1 || '-two'",
        "drop trigger sales_limit_holds on sales",
    ),
    "a key that is none": Bad(
        "orders_key",
        CHECK,
        "update orders set key = 'abc' where sale = $1 and fan = 'alice'",
        "alter table orders drop constraint orders_key",
    ),
}


@asynccontextmanager
async def undone(connection: Connection) -> AsyncIterator[None]:
    """A transaction that is rolled back, so that a constraint that is taken away is there again for everybody."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def add(connection: Connection, sale: str, *order: str | int) -> None:
    """Write an order down by plain SQL: item, unit, fan, state, place."""
    await connection.execute(INSERT, uuid7().hex, sale, *order)


async def make(connection: Connection, sale: str, limit: int) -> None:
    """A sale with units of silver, for so many orders a fan."""
    read = plan.read(
        PLAN.replace('"mi3"', f'"{sale}"', 1).replace("currency =", f"per_fan_limit = {limit}\ncurrency =", 1)
    )
    made = await ledger.create(connection, read, plan.times(read, now=NOW), weekly_from=None, actor="tester")
    await ledger.make_units(connection, made, "silver", LOADED)


@pytest.fixture
async def connection(postgres: Pool, sale_name: str) -> AsyncIterator[Connection]:
    """Inside a transaction that is rolled back: alice's live order, bob's and hugo's that are over; dora's two in
    another sale."""
    async with postgres.acquire() as held, undone(held):
        await make(held, sale_name, 1)
        await add(held, sale_name, "silver", 1, "alice", "confirmed", 1)
        await add(held, sale_name, "silver", 2, "bob", "expired", 1)
        await add(held, sale_name, "silver", LOADED + 1, "hugo", "refused", 1)
        await held.execute(ASIDE, uuid7().hex, sale_name, {"fan": "frida"})
        await held.execute(A_SALE_WITHOUT_ITEMS, sale_name)
        await make(held, f"{sale_name}-two", 2)
        for place in (1, 2):
            await add(held, f"{sale_name}-two", "silver", place, "dora", "confirmed", place)
        yield held


async def attempt(connection: Connection, sale: str, bad: Bad) -> str:
    """Do what may not be done."""
    if bad.order:
        return await connection.execute(bad.sql, uuid7().hex, sale, *bad.order)
    return await connection.execute(bad.sql, sale)


@pytest.mark.parametrize("name", BAD)
async def test_is_refused_by_name(connection: Connection, sale_name: str, name: str) -> None:
    """Given plain SQL that would break a promise / Then Postgres refuses it, and the refusal bears its name."""
    with pytest.raises(BAD[name].error) as refusal:
        await attempt(connection, sale_name, BAD[name])
    assert getattr(refusal.value, "constraint_name", "") == BAD[name].constraint


@pytest.mark.parametrize("name", BAD)
async def test_without_the_constraint_it_goes_in(connection: Connection, sale_name: str, name: str) -> None:
    """Given the same database without that constraint / Then the bad row goes in: nothing else stands before it."""
    for sql in BAD[name].without.split("; "):
        await connection.execute(sql)
    assert (await attempt(connection, sale_name, BAD[name])).rpartition(" ")[2] == "1"


async def test_what_is_allowed_goes_in(connection: Connection, sale_name: str) -> None:
    """Given bounds / Then what is within them goes in: the last unit, a refused order of a unit that is taken or was
    never loaded, a second order once the first is over, more loaded units, a higher limit, a unit that another order
    has tried; and an order that waited, with another unit, or refused with the unit that it could not have."""
    aside = await connection.fetchval("select order_id from set_aside where sale = $1", sale_name)
    await add(connection, sale_name, "silver", 7, "grace", "confirmed", 1)
    for unit, state in ((6, "refused"), (8, "confirmed")):
        row = (aside, sale_name, "silver", unit, "frida", state, 1)
        assert (await connection.execute(INSERT, *row)).endswith(" 1")
        await connection.execute("delete from orders where order_id = $1", aside)
    await add(connection, sale_name, "silver", LOADED, "carol", "confirmed", 1)
    await add(connection, sale_name, "silver", 1, "erin", "refused", 1)
    await add(connection, sale_name, "silver", LOADED + 1, "erin", "refused", 1)
    await connection.execute("update orders set state = 'cancelled' where sale = $1 and fan = 'alice'", sale_name)
    await add(connection, sale_name, "silver", 1, "alice", "paid", 1)
    await connection.execute("update items set loaded = loaded + 1 where sale = $1", sale_name)
    await connection.execute("update sales set per_fan_limit = 5 where sale = $1", sale_name)
    await add(connection, sale_name, "silver", LOADED + 1, "alice", "confirmed", 5)
