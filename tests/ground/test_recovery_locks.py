"""Who notes what a bucket did holds the rows until then: another worker passes over them, and a recovery waits."""

import uuid
from typing import Final

import asyncpg
import pytest

from flashsale import ledger
from flashsale.queries import Connection, Pool, query
from tests.ground.full import Full

pytestmark = pytest.mark.servers
NOT_LONG: Final = "set local lock_timeout = '50ms'"


async def returns_waiting(connection: Connection, full: Full) -> list[str]:
    """Whose units are to be given back, by a worker that locks them."""
    rows = await connection.fetch(query("orders", "returns_waiting"), full.sale.sale, 99)
    return [row["fan"] for row in rows]


async def unlocked(connection: Connection, full: Full, name: str, bucket: int = 0) -> list[asyncpg.Record]:
    """Wait as a recovery of that bucket does, though not for long."""
    async with connection.transaction():
        await connection.execute(NOT_LONG)
        return await connection.fetch(query("recovery", name), full.sale.sale, [bucket])


async def test_a_recovery_waits_for_who_gives_units_back(postgres: Pool, standing: Full) -> None:
    """Given a worker that is giving a unit back / When the bucket is recovered / Then that waits for it; a recovery of
    another bucket does not."""
    async with postgres.acquire() as worker, postgres.acquire() as recovery:
        async with worker.transaction():
            assert await returns_waiting(worker, standing) == ["carol"]
            with pytest.raises(asyncpg.LockNotAvailableError):
                await unlocked(recovery, standing, "returns_unlocked")
            await unlocked(recovery, standing, "returns_unlocked", bucket=1)
        await unlocked(recovery, standing, "returns_unlocked")


async def test_nobody_gives_back_while_a_recovery_makes_returns_wait_again(postgres: Pool, standing: Full) -> None:
    """Given a recovery that lets returns wait again / When a worker looks for some before that is committed / Then
    there are none; after it, there are those too that the bucket did not know."""
    async with postgres.acquire() as worker, postgres.acquire() as recovery:
        async with recovery.transaction():
            for name in ("returns_unlocked", "returns_again"):
                await recovery.execute(query("recovery", name), standing.sale.sale, [0])
            async with worker.transaction():
                assert await returns_waiting(worker, standing) == []
        async with worker.transaction():
            assert sorted(await returns_waiting(worker, standing)) == ["carol", "erin"]


async def test_a_recovery_waits_for_who_applies_a_load(postgres: Pool, standing: Full) -> None:
    """Given somebody who is applying a load / When its bucket is recovered / Then that waits for them."""
    async with postgres.acquire() as loader, postgres.acquire() as recovery:
        (load,) = await ledger.loads_waiting(loader, standing.sale.sale)
        async with loader.transaction():
            assert await ledger.lock_load(loader, load)
            with pytest.raises(asyncpg.LockNotAvailableError):
                await unlocked(recovery, standing, "loads_unlocked")
            assert await unlocked(recovery, standing, "loads_unlocked", bucket=1) == []
        (row,) = await unlocked(recovery, standing, "loads_unlocked")
        assert str(row["load"]) == load.load


async def test_a_load_is_applied_by_one(postgres: Pool, standing: Full) -> None:
    """Given a load that somebody is applying / When another wants to / Then they do not wait, and leave it; another
    load is theirs. What is no load nobody locks."""
    async with postgres.acquire() as first, postgres.acquire() as second:
        loads = await ledger.loads_of(first, standing.sale.sale)
        async with first.transaction(), second.transaction():
            await second.execute(NOT_LONG)
            assert [await ledger.lock_load(first, load) for load in loads[:1]] == [True]
            assert [await ledger.lock_load(second, load) for load in loads] == [False, True]
            assert await second.fetch(query("sales", "lock_load"), uuid.uuid4()) == []


async def test_a_return_is_given_back_by_one(postgres: Pool, standing: Full) -> None:
    """Given a worker that is giving a unit back / When another looks for some / Then it does not wait, and there is
    none."""
    async with postgres.acquire() as first, first.transaction(), postgres.acquire() as second, second.transaction():
        assert await returns_waiting(first, standing) == ["carol"]
        await second.execute(NOT_LONG)
        assert await returns_waiting(second, standing) == []
