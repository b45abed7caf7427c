"""What the schema forbids, thing by thing: Postgres has the last word, whatever the code and the cache say.

The rows are those that the engine writes itself; each case spoils one of them. A constraint that is added to the
schema gets a case here (make mutants says so if it has none).
"""

from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import pytest

from flashsale.queries import Connection, Pool
from tests.ground.full import make

pytestmark = pytest.mark.servers
PAYMENTS: Final = "order_id in (select order_id from orders where sale = $1)"  # they name their sale by their order

# Name of the constraint: a statement that it must refuse. $1: the sale.
REFUSED: Final = {
    "sales_pkey": (
        "insert into sales (sale, generation, title, entry, opens_ms, closes_ms, per_fan_limit, pay_window_s, currency,"
        " channels, buckets, plan) select sale, gen_random_uuid(), title, entry, opens_ms, closes_ms, per_fan_limit,"
        " pay_window_s, currency, channels, buckets, plan from sales where sale = $1"
    ),
    "sales_generation_key": (
        "insert into sales (sale, generation, title, entry, opens_ms, closes_ms, per_fan_limit, pay_window_s, currency,"
        " channels, buckets, plan) select sale || '-x', generation, title, entry, opens_ms, closes_ms, per_fan_limit,"
        " pay_window_s, currency, channels, buckets, plan from sales where sale = $1"
    ),
    "sales_sale_check": "update sales set sale = 'Bad Name' where sale = $1",
    "sales_version_check": "update sales set version = 0 where sale = $1",
    "sales_state_check": "update sales set state = 'ajar' where sale = $1",
    "sales_entry_check": "update sales set entry = 'by favour' where sale = $1",
    "sales_check": "update sales set closes_ms = opens_ms where sale = $1",
    "sales_check1": "update sales set reserve_closes_ms = reserve_opens_ms where sale = $1",
    "sales_reserve_capacity_check": "update sales set reserve_capacity = 0 where sale = $1",
    "sales_per_fan_limit_check": (
        "insert into sales (sale, generation, title, entry, opens_ms, closes_ms, per_fan_limit, pay_window_s, currency,"
        " channels, buckets, plan) select sale || '-x', gen_random_uuid(), title, entry, opens_ms, closes_ms, 0,"
        " pay_window_s, currency, channels, buckets, plan from sales where sale = $1"
    ),
    "sales_pay_window_s_check": "update sales set pay_window_s = 0 where sale = $1",
    "sales_currency_check": "update sales set currency = 'Yuan' where sale = $1",
    "sales_buckets_check": "update sales set buckets = 0 where sale = $1",
    "items_pkey": "insert into items select * from items where sale = $1",
    "items_sale_fkey": "insert into items (sale, item, place, title, price_minor) values ($1 || '-x', 'a', 1, '{}', 1)",
    "items_price_minor_check": "update items set price_minor = -1 where sale = $1",
    "items_loaded_check": "update items set loaded = 10000000 where sale = $1",
    "stock_loads_pkey": "insert into stock_loads select * from stock_loads where sale = $1",
    "stock_loads_sale_item_fkey": "update stock_loads set item = 'gold' where sale = $1",
    "stock_loads_bucket_check": "update stock_loads set bucket = -1 where sale = $1",
    "stock_loads_unit_from_check": "update stock_loads set unit_from = 0 where sale = $1",
    "stock_loads_check": "update stock_loads set unit_to = unit_from - 1 where sale = $1",
    "orders_pkey": (
        "insert into orders (order_id, sale, item, unit, fan, state, bucket, channel, lane, price_minor, currency,"
        " accepted_ms, pay_before_ms) select order_id, sale, item, unit, fan, state, bucket, channel, lane,"
        " price_minor, currency, accepted_ms, pay_before_ms from orders where sale = $1 and fan = 'carol'"
    ),
    "orders_key": "update orders set key = 'short' where sale = $1",
    "orders_place": "update orders set place = 0 where sale = $1 and fan = 'carol'",
    "orders_live_place": "update orders set fan = 'alice' where sale = $1 and fan = 'bob'",
    "orders_state_check": "update orders set state = 'lost' where sale = $1",
    "orders_unit_check": "update orders set unit = 0 where sale = $1 and fan = 'alice'",
    "orders_live_unit": "update orders set unit = 1 where sale = $1 and fan = 'bob'",
    "returns_pkey": "insert into returns select * from returns where sale = $1",
    "returns_order_id_fkey": "update returns set order_id = gen_random_uuid() where sale = $1",
    "returns_reason_check": "update returns set reason = 'a whim' where sale = $1",
    "payments_pkey": f"insert into payments select * from payments where {PAYMENTS}",  # noqa: S608
    "payments_order_id_fkey": f"update payments set order_id = gen_random_uuid() where {PAYMENTS}",  # noqa: S608
    "payments_state_check": f"update payments set state = 'perhaps' where {PAYMENTS}",  # noqa: S608
    "payments_of_order": (
        "insert into payments (payment, order_id, amount_minor, currency)"
        " select gen_random_uuid(), order_id, 1, 'CNY' from orders where sale = $1 and fan = 'alice'"
    ),
    "set_aside_pkey": "insert into set_aside select * from set_aside where sale = $1",
    "set_aside_state": "update set_aside set state = 'lost' where sale = $1",
    "set_aside_waits_with_win": "update set_aside set win = null where sale = $1",
    "set_aside_note": "update set_aside set state = 'compensated' where sale = $1",
    "ops_log_pkey": "insert into ops_log overriding system value select * from ops_log where sale = $1",
}
# What a row can't do without.
NEEDED: Final = {
    "sales": "generation version state title entry opens_ms closes_ms per_fan_limit pay_window_s currency channels"
    " buckets plan created_at",
    "items": "place title price_minor loaded",
    "stock_loads": "sale item bucket unit_from unit_to created_at",
    "orders": "sale item unit fan state bucket channel lane price_minor currency accepted_ms pay_before_ms"
    " confirmed_at key place",
    "returns": "sale item bucket unit fan reason created_at",
    "payments": "order_id amount_minor currency state created_at",
    "set_aside": "sale bucket entry content reason created_at state tried tried_at",
    "ops_log": "at actor verb detail",
}


@pytest.fixture
async def full(postgres: Pool, sale_name: str) -> AsyncIterator[Connection]:
    """A connection with a sale that has a row in every table; nothing of it stays."""
    async with postgres.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await make(connection, sale_name)
        try:
            yield connection
        finally:
            await transaction.rollback()


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused(full: Connection, sale_name: str, name: str) -> None:
    """Given a sale with rows everywhere / When one is spoiled / Then just this constraint refuses it."""
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await full.execute(REFUSED[name], sale_name)
    assert getattr(refused.value, "constraint_name", None) == name


@pytest.mark.parametrize(("table", "column"), [(table, column) for table in NEEDED for column in NEEDED[table].split()])
async def test_it_is_needed(full: Connection, sale_name: str, table: str, column: str) -> None:
    """Given a sale with rows everywhere / When one loses a value that it needs / Then that is refused."""
    of_sale = PAYMENTS if table == "payments" else "sale = $1"
    assert await full.fetchval(f"select count(*) from {table} where {of_sale}", sale_name), "there is no such row"  # noqa: S608
    with pytest.raises(asyncpg.NotNullViolationError) as refused:
        await full.execute(f"update {table} set {column} = null where {of_sale}", sale_name)  # noqa: S608
    assert getattr(refused.value, "column_name", None) == column


async def test_what_waits_has_a_unit_that_was_tried(full: Connection, sale_name: str) -> None:
    """Given an order that waits / Then it can't be without a unit that was tried; one that is over can."""
    with pytest.raises(asyncpg.CheckViolationError, match="set_aside_waits_with_win"):
        async with full.transaction():
            await full.execute("update set_aside set tried = '{}' where sale = $1", sale_name)
    await full.execute("update set_aside set state = 'replayed', tried = '{}', win = null where sale = $1", sale_name)


async def test_a_unit_that_is_sold_again_and_one_that_came_back(full: Connection, sale_name: str) -> None:
    """Given a cancelled order / Then its unit may be in a live order again; the same as a paid order's may not."""
    await full.execute("update orders set unit = 3 where sale = $1 and fan = 'bob'", sale_name)
    await full.execute("update orders set state = 'paid' where sale = $1 and fan = 'alice'", sale_name)
    with pytest.raises(asyncpg.UniqueViolationError):
        await full.execute("update orders set unit = 1 where sale = $1 and fan = 'bob'", sale_name)
