"""Held units: those that came back in a sale whose plan says so. They are free nowhere until ops release them."""

import itertools
import uuid
from collections.abc import Sequence

from flashsale import ledger, limits
from flashsale.errors import BadInputError, NotFoundError, StateError
from flashsale.ledger import StockLoad
from flashsale.queries import Connection, query
from flashsale.sale import Sale


async def units_of(connection: Connection, sale: str) -> dict[str, list[int]]:
    """The held units of each item that has any."""
    found: dict[str, list[int]] = {}
    for row in await connection.fetch(query("returns", "held_units"), sale):
        found.setdefault(row["item"], []).append(row["unit"])
    return found


async def release(connection: Connection, sale: Sale, item: str, units: int | None) -> list[StockLoad]:
    """Make stock loads of so many held units of an item, oldest first; of all when units is None.

    To be called in the transaction that also logs it: the units are held before, and on the move after, never both.
    Raises NotFoundError, StateError or BadInputError; then nothing is changed.
    """
    if sale.item(item) is None:
        raise NotFoundError(f"Sale {sale.sale} has no item {item}.")
    if units is not None and not 1 <= units <= limits.UNITS_PER_ITEM_MAX:
        raise BadInputError(f"--units: must be 1 to {limits.UNITS_PER_ITEM_MAX}, not {units}")
    rows = await connection.fetch(query("returns", "lock_held"), sale.sale, item, units)
    if not rows:
        raise StateError(f"No unit of {item} is held in sale {sale.sale}; see: flashsale sale show {sale.sale}")
    if units is not None and len(rows) < units:
        raise BadInputError(f"--units: only {len(rows)} of {item} are held in sale {sale.sale}, not {units}")
    await connection.execute(query("returns", "release_held"), [row["order_id"] for row in rows])
    return [
        await _load(connection, sale, item, bucket, first, last)
        for bucket, share in enumerate(shares(sorted({row["unit"] for row in rows}), sale.buckets))
        for first, last in ranges(share)
    ]


async def _load(connection: Connection, sale: Sale, item: str, bucket: int, first: int, last: int) -> StockLoad:
    load = StockLoad(str(uuid.uuid4()), item, bucket, first, last)
    await connection.execute(query("sales", "create_stock_load"), load.load, sale.sale, item, bucket, first, last)
    return load


def shares(units: Sequence[int], buckets: int) -> list[Sequence[int]]:
    """The units dealt out evenly, as neighbours."""
    ends = [0]
    for first, last in ledger.even_ranges(1, len(units), parts=buckets):
        ends.append(ends[-1] + last - first + 1)
    return [units[start:end] for start, end in itertools.pairwise(ends)]


def ranges(units: Sequence[int]) -> list[tuple[int, int]]:
    """Rising units as ranges with both ends."""
    found: list[tuple[int, int]] = []
    for unit in units:
        if found and found[-1][1] == unit - 1:
            found[-1] = (found[-1][0], unit)
        else:
            found.append((unit, unit))
    return found
