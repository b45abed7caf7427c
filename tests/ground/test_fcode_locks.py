"""Who waits for whom, when codes are made for an item, or taken out of a batch, by two at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from flashsale import batch
from flashsale.queries import Connection, Pool, query
from tests.ground.coded import Coded, coded
from tests.ground.full import Full, make

pytestmark = pytest.mark.servers


@pytest.fixture
async def both(postgres: Pool, standing: Full, sale_name: str) -> tuple[Coded, Coded]:
    """Two sales with codes that all connections see."""
    async with postgres.acquire() as connection, connection.transaction():
        return await coded(connection, standing), await coded(connection, await make(connection, f"{sale_name}-2"))


@asynccontextmanager
async def at_once(postgres: Pool) -> AsyncIterator[tuple[Connection, Connection]]:
    """Two connections in transactions that come to nothing; the second waits for no lock."""
    async with postgres.acquire() as first, postgres.acquire() as second:
        transactions = [one.transaction() for one in (first, second)]
        for one in transactions:
            await one.start()
        await second.execute("set local lock_timeout = '50ms'")
        try:
            yield first, second
        finally:
            for one in transactions:
                await one.rollback()


async def waits(connection: Connection, sql: str, *arguments: object) -> bool:
    """Whether a statement has to wait for a lock."""
    try:
        async with connection.transaction():
            await connection.execute(sql, *arguments)
    except asyncpg.LockNotAvailableError:
        return True
    return False


async def test_codes_of_one_item_are_counted_one_after_the_other(postgres: Pool, both: tuple[Coded, Coded]) -> None:
    """Given codes that are made for an item / When more are made beside that / Then those wait, or both could take
    the last unit; for another item or sale they don't."""
    one, other = (coded.sale.sale for coded in both)
    async with at_once(postgres) as (first, second):
        await first.execute("update fcode_items set serial_from = serial_from where sale = $1 and item = 'silver'", one)
        # What waits is the count: another row of the same item.
        made = await second.fetchval(query("fcodes", "create_batch"), one, 1, "t", "web", "k1", 1, 2, None)
        create = query("fcodes", "create_batch_item")
        assert await waits(second, create, made, one, "silver", 0, 0)
        assert not await waits(second, create, made, one, "black", 0, 0)
        elsewhere = await second.fetchval(query("fcodes", "create_batch"), other, 1, "t", "web", "k1", 1, 2, None)
        assert not await waits(second, create, elsewhere, other, "silver", 0, 0)


async def test_serials_are_taken_one_after_the_other(postgres: Pool, both: tuple[Coded, Coded]) -> None:
    """Given a batch out of which somebody takes codes / When somebody else is to take some / Then they wait; of another
    batch they don't."""
    one, other = (coded.batch.batch for coded in both)
    async with at_once(postgres) as (first, second):
        await batch.lock(first, one)
        assert await waits(second, query("fcodes", "lock_batch"), one)
        assert not await waits(second, query("fcodes", "lock_batch"), other)
