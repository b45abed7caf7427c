"""What Postgres knows of what is off: for whoever has to find out where a unit or an order went."""

from collections import Counter

from flashsale.audit import Audit
from flashsale.queries import Pool, query
from flashsale.sale import Sale


async def of_units(postgres: Pool, sale: Sale, audited: Audit) -> list[str]:
    """A sentence for each unit that the audit names, with times in seconds after the opening."""
    told = []
    async with postgres.acquire() as connection:
        for item in audited.items:
            for unit in item.missing + item.doubled:
                rows = await connection.fetch(query("verdict", "story_of_unit"), sale.sale, item.item, unit)
                orders = "; ".join(
                    f"order {row['order_id']} {row['state']}, confirmed {_at(sale, row['confirmed_ms'])}, "
                    f"given back {_at(sale, row['given_back_ms'])}" for row in rows
                )  # fmt: skip
                told.append(f"unit {unit} of {item.item}: {orders or 'in no order'}")
    return told


async def of_set_aside(postgres: Pool, sale: Sale) -> list[str]:
    """Why orders were set aside and what became of them, with how many for each."""
    async with postgres.acquire() as connection:
        rows = await connection.fetch(query("verdict", "set_aside_contents"), sale.sale)
    found = Counter((row["state"], row["reason"]) for row in rows)
    return [f"set aside {number}, {state}: {reason}" for (state, reason), number in found.items()]


def _at(sale: Sale, at_ms: int | None) -> str:
    return "never" if at_ms is None else f"{(at_ms - sale.opens_ms) / 1000:.3f} s"
