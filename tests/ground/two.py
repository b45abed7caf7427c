"""Two full sales that are alike: whatever a query does in one of them, the other is as it was."""

from dataclasses import dataclass
from typing import Final

import asyncpg

from flashsale.queries import Connection, query
from tests.ground.full import Full

TABLES: Final = ("sales", "items", "stock_loads", "orders", "returns", "set_aside", "ops_log")
_PAYMENTS: Final = "select p::text from payments p join orders o using (order_id) where o.sale = $1"


@dataclass(frozen=True, slots=True)
class Two:
    """A sale, and beside it another with the same items, fans and units, which nothing may touch."""

    connection: Connection
    one: Full
    other: Full

    async def rows(self, full: Full) -> list[list[str]]:
        """All that is written of a sale."""
        name = full.sale.sale
        found = [await self._texts(f"select t::text from {table} t where sale = $1", name) for table in TABLES]  # noqa: S608
        return [*found, await self._texts(_PAYMENTS, name)]

    async def _texts(self, sql: str, *arguments: object) -> list[str]:
        return sorted(row[0] for row in await self.connection.fetch(sql, *arguments))

    async def ask(self, file: str, name: str, *arguments: object) -> list[asyncpg.Record]:
        """What a query answers. It may have written; the other sale is as it was."""
        before = await self.rows(self.other)
        answer = await self.connection.fetch(query(file, name), *arguments)
        assert await self.rows(self.other) == before
        return answer

    async def states(self) -> dict[str, str]:
        """Fan to the state of their order in the first sale."""
        rows = await self.connection.fetch("select fan, state from orders where sale = $1", self.name)
        return {row["fan"]: row["state"] for row in rows}

    @property
    def name(self) -> str:
        """The first sale."""
        return self.one.sale.sale
