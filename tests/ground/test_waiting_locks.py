"""Who waits for whom, when the same order is landed and set aside at once, and when a worker has locked one that
waits."""

import asyncio
from dataclasses import replace

import pytest

from flashsale import set_aside
from flashsale.order import UNIT_TAKEN, UNIT_TRIED, Landed
from flashsale.queries import Pool
from flashsale.set_aside import SetAside, State
from tests.ground.full import Full, aside, insert, make, win
from tests.ground.test_waiting import land, row_of, store, waiting_one
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


async def waits_for_a_lock(postgres: Pool, task: "asyncio.Task[Landed] | asyncio.Task[None]") -> None:
    """Wait until a task's statement waits for somebody's lock."""

    async def so() -> bool:
        async with postgres.acquire() as connection:
            locked = await connection.fetchval("select count(*) from pg_locks where not granted")
        return bool(locked) or task.done()

    await soon(so, what="it waits for a lock")
    assert not task.done(), "it did not wait"


async def test_setting_aside_waits_for_a_landing(postgres: Pool, standing: Full) -> None:
    """Given a landing of an order that is not committed yet / When another worker, which was refused before, sets the
    order aside / Then that waits, sees the order, and sets nothing aside."""
    one = win("gus", 6)
    async with postgres.acquire() as first:
        transaction = first.transaction()
        await transaction.start()
        await insert(first, "land", one, sale=standing.sale.sale)
        other = asyncio.create_task(store(postgres, standing, SetAside(
            one.order_id, "1-1", "text", UNIT_TAKEN, State.WAITING, one
        )))  # fmt: skip
        await waits_for_a_lock(postgres, other)
        await transaction.commit()
        await other
    async with postgres.acquire() as connection:
        assert await set_aside.find(connection, one.order_id) is None


async def test_a_landing_waits_for_setting_aside(postgres: Pool, standing: Full) -> None:
    """Given an order that is just being set aside / When another worker lands its old entry, whose unit is free by now
    / Then that waits, and is refused."""
    refused = aside("gus", 6)
    assert refused.win
    async with postgres.acquire() as first:
        transaction = first.transaction()
        await transaction.start()
        await set_aside.store(first, sale=standing.sale.sale, bucket=0, aside=[refused])
        other = asyncio.create_task(land(postgres, standing, refused.win))
        await waits_for_a_lock(postgres, other)
        await transaction.commit()
        assert [(again.order_id, again.reason) for again in (await other).aside] == [(refused.order_id, UNIT_TRIED)]


async def test_other_sales_land_meanwhile(postgres: Pool, standing: Full, sale_name: str) -> None:
    """Given an order that is just being set aside / Then a landing of the same item in another sale does not wait, nor
    does one of another item."""
    async with postgres.acquire() as connection, connection.transaction():
        other = await make(connection, f"{sale_name}-2")
    async with postgres.acquire() as first, first.transaction():
        await set_aside.store(first, sale=standing.sale.sale, bucket=0, aside=[aside("gus", 6)])
        assert (await asyncio.wait_for(land(postgres, other, win("gus", 6)), timeout=5)).new == 1
        assert (await asyncio.wait_for(land(postgres, standing, win("hal", 1, item="black")), timeout=5)).new == 1


async def test_other_items_are_set_aside_meanwhile(postgres: Pool, standing: Full, sale_name: str) -> None:
    """Given a worker that has locked an order that waits / Then orders of another item, or of another sale, are set
    aside without waiting for it."""
    async with postgres.acquire() as connection, connection.transaction():
        other = await make(connection, f"{sale_name}-2")
    one = await waiting_one(postgres, standing)
    async with postgres.acquire() as first, first.transaction():
        assert await set_aside.lock_waiting(first, standing.sale.sale, "silver", one.order_id)
        await asyncio.wait_for(store(postgres, other, aside("gus", 2)), timeout=5)
        black = win("hal", 1, item="black")
        refused = SetAside(black.order_id, "1-1", "text", UNIT_TAKEN, State.WAITING, black)
        await asyncio.wait_for(store(postgres, standing, refused), timeout=5)


async def test_what_waits_is_one_workers(postgres: Pool, standing: Full) -> None:
    """Given a worker that has locked an order that waits / Then another does not wait for it and gets nothing; the
    order is not set aside meanwhile with another unit, and a landing of other orders of the item goes on."""
    one = await waiting_one(postgres, standing)
    name = standing.sale.sale
    async with postgres.acquire() as first, first.transaction():
        assert await set_aside.lock_waiting(first, name, "silver", one.order_id)
        async with postgres.acquire() as second, second.transaction():
            assert await set_aside.lock_waiting(second, name, "silver", one.order_id) is None
        assert (await land(postgres, standing, win("gus", 6))).new == 1
        other = asyncio.create_task(store(postgres, standing, replace(
            aside("finn", 2), order_id=one.order_id, win=one._replace(unit=2)
        )))  # fmt: skip
        await waits_for_a_lock(postgres, other)
    await other
    assert (await row_of(postgres, one.order_id)).tried == (1, 2)
    async with postgres.acquire() as second, second.transaction():
        assert await set_aside.lock_waiting(second, name, "silver", one.order_id)


async def test_who_refuses_and_who_sets_aside_meet_no_deadlock(postgres: Pool, standing: Full) -> None:
    """Given a worker that has locked an order that waits / When another sets it aside with one more unit, and the first
    refuses it / Then that goes through, and the other comes too late."""
    one = await waiting_one(postgres, standing)
    again = replace(aside("finn", 2), order_id=one.order_id, win=one._replace(unit=2))
    async with postgres.acquire() as first:
        async with first.transaction():
            locked = await set_aside.lock_waiting(first, standing.sale.sale, "silver", one.order_id)
            assert locked
            other = asyncio.create_task(store(postgres, standing, again))
            await waits_for_a_lock(postgres, other)
            assert await set_aside.refuse(first, standing.sale.sale, locked, reason="no unit") is State.REFUSED
        await other
    row = await row_of(postgres, one.order_id)
    assert (row.state, row.reason, row.tried) == (State.REFUSED, "no unit", (1,))
