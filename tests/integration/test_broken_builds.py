"""A build that is broken on purpose is found by the audit: a worker that trims before it commits, killed in between.

The worker is a process of a copy of the package, so nothing of the engine knows of it. Other breakages, of the
scripts, are found by the model walk: tests/model/test_walk.py.
"""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest

import flashsale
from flashsale.config import ENV_PREFIX
from tests.integration.conftest import Shops
from tests.integration.shop import Shop
from tests.support.programs import Program, running
from tests.support.waiting import soon

pytestmark = [pytest.mark.servers, pytest.mark.breaks, pytest.mark.timeout(60)]

IN_ORDER = """\
            landed = await landing
            await outbox.trim(self._redis, self._bucket, entries)
"""
TRIM_FIRST = """\
            await outbox.trim(self._redis, self._bucket, entries)
            landed = await landing
"""
BLOCKED = "select pid, query from pg_stat_activity where $1 = any(pg_blocking_pids(pid))"


@contextmanager
def worker_of(folder: Path, shop: Shop, *, landing: str) -> Iterator[Program]:
    """A worker process of a copy of the package whose lander reads so."""
    package = folder / "build" / "flashsale"
    shutil.copytree(Path(flashsale.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    lander = package / "worker" / "land.py"
    source = lander.read_text(encoding="utf-8")
    assert source.count(IN_ORDER) == 1, "the lander has changed; teach this test"
    lander.write_text(source.replace(IN_ORDER, landing), encoding="utf-8")
    names = ("redis_url", "postgres_dsn", "right_keys", "jwt_key", "webhook_secret")
    given = {f"{ENV_PREFIX}{name.upper()}": str(getattr(shop.settings, name)) for name in names}
    with running(folder, "worker", **given, PYTHONPATH=str(package.parent)) as program:
        yield program


@asynccontextmanager
async def no_commits(shop: Shop) -> AsyncIterator[Callable[[], Awaitable[dict[int, str]]]]:
    """Orders can't be committed meanwhile. Gives the Postgres processes that wait for it, with their statements; they
    end with the block, as those of a worker whose machine is gone."""
    async with shop.operations.postgres.acquire() as connection, connection.transaction():
        await connection.execute("lock table orders in share mode")
        ours = await connection.fetchval("select pg_backend_pid()")

        async def blocked() -> dict[int, str]:
            # Not on that connection: within a transaction it would see the same processes for ever.
            rows: list[asyncpg.Record] = await shop.operations.postgres.fetch(BLOCKED, ours)
            return {row["pid"]: row["query"] for row in rows}

        yield blocked
        for pid in await blocked():
            await connection.execute("select pg_terminate_backend($1)", pid)

        async def gone() -> bool:
            return not await blocked()

        await soon(gone, what="nobody waits any more")


async def killed_while_committing(shop: Shop, folder: Path, *, landing: str) -> int:
    """Let such a worker begin to land and kill it before its commit. How many entries were in the outbox then."""
    async with no_commits(shop) as blocked:
        with worker_of(folder, shop, landing=landing) as worker:

            async def is_landing() -> bool:
                assert worker.process.poll() is None, worker.err.read_text(encoding="utf-8")
                return any("insert into orders" in statement for statement in (await blocked()).values())

            await soon(is_landing, what="the worker is about to commit", deadline_s=30)
            if landing is TRIM_FIRST:

                async def trimmed() -> bool:
                    return not await shop.operations.redis.xlen(shop.bucket.outbox_key)

                await soon(trimmed, what="the worker has trimmed")
            entries = int(await shop.operations.redis.xlen(shop.bucket.outbox_key))
            worker.process.kill()
            worker.process.wait(10)
    await shop.operations.redis.delete(shop.bucket.lease_key)  # as if its time had passed
    return entries


async def test_a_worker_that_trims_before_it_commits_is_found_by_the_audit(shops: Shops, tmp_path: Path) -> None:
    """Given a build that trims first / When its worker is killed in between / Then the audit names the lost units."""
    shop = await shops(silver=5)
    units = {(await shop.buy(f"fan{number}"))["unit"] for number in range(3)}
    assert (await shop.audited()).balanced
    assert await killed_while_committing(shop, tmp_path, landing=TRIM_FIRST) == 0
    await shop.work()
    found = await shop.audited()
    assert not found.balanced
    assert set(found.items[0].missing) == units


async def test_the_build_as_it_is_loses_nothing_there(shops: Shops, tmp_path: Path) -> None:
    """Given the build as it is / When its worker is killed at the same place / Then all lands and it balances."""
    shop = await shops(silver=5)
    for number in range(3):
        await shop.buy(f"fan{number}")
    assert await killed_while_committing(shop, tmp_path, landing=IN_ORDER) > 0
    await shop.work()
    await shop.landed(3)
    assert (await shop.audited()).balanced
