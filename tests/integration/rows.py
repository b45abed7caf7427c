"""All that the two stores keep of a sale, to see that a refusal changed nothing; and how it is cleared away."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flashsale.queries import Pool
from flashsale.stores import Client
from tests.support.leaks import keys_of

# In the order in which rows may be deleted. Payments name their sale through their order, codes through their batch.
TABLES: Final = (
    "set_aside", "payments", "returns", "orders", "fcode_exports", "fcode_items", "fcode_batches", "stock_loads",
    "items", "ops_log", "sales",
)  # fmt: skip
_OF_SALE: Final = "(sale = $1 or sale like $1 || '-%')"
_OF_ORDERS: Final = f"order_id in (select order_id from orders where {_OF_SALE})"  # noqa: S608
_OF_CODES: Final = f"batch in (select batch from fcode_batches where {_OF_SALE})"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Keys with their values as the server dumps them, and rows as text. Two of them are equal or something changed."""

    keys: Mapping[str, bytes | None]
    rows: Mapping[str, tuple[str, ...]]


def _where(table: str) -> str:
    if table == "fcode_exports":
        return _OF_CODES
    return _OF_ORDERS if table == "payments" else _OF_SALE


async def snapshot(redis: Client, postgres: Pool, sale: str) -> Snapshot:
    """What is kept now of this sale and those whose names begin with it and a dash."""
    keys = {key: await redis.dump(key) for key in await keys_of(redis, sale)}
    rows = {}
    for table in TABLES:
        found = await postgres.fetch(f"select t::text from {table} t where {_where(table)} order by 1", sale)  # noqa: S608
        rows[table] = tuple(row[0] for row in found)
    return Snapshot(keys=keys, rows=rows)


async def clear(postgres: Pool, sale: str) -> None:
    """Delete the rows of this sale, so that the next test's worker has none but its own. An order that is landing just
    then lands first."""
    async with postgres.acquire() as connection, connection.transaction():
        await connection.execute("lock table orders in share row exclusive mode")
        for table in TABLES:
            await connection.execute(f"delete from {table} where {_where(table)}", sale)  # noqa: S608
