"""A process's picture of the sales stays young while Postgres is slow, and refuses nothing when it is old."""

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale import clock, limits, stores
from flashsale.api.hot import Hot
from flashsale.api.picture import Pictures
from flashsale.api.protection import Protection
from flashsale.bench.uvicorns import free_port
from flashsale.embedded import Addresses
from flashsale.errors import SurroundingsError
from flashsale.keys import Bucket
from flashsale.metrics import api_metrics
from flashsale.operations import Operations
from flashsale.outcomes import Outcome
from flashsale.purchase import Purchases
from flashsale.queries import Pool
from flashsale.rights import LANE_PUBLIC, Kind, Right, RightKeys
from flashsale.stores import Stores
from tests.integration.shop import created, plan_text
from tests.support.servers import private_valkey
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


async def test_a_postgres_that_keeps_one_waiting_ages_no_picture(
    operations: Operations, redis: Redis, migrated: Addresses, sale_name: str
) -> None:
    """Given a Postgres that gives no connection / When the picture is renewed / Then the buckets are seen in time."""
    await created(operations, plan_text(sale_name, silver=1))
    pool = await stores.open_postgres(migrated.postgres_dsn, connections=1)
    try:
        pictures = Pictures(Stores(redis=redis, postgres=pool))
        await pictures.renew()
        async with pool.acquire():
            await soon(lambda: _renewed(pictures), what="the plans are due", deadline_s=4)
            bucket = Bucket(sale_name, 0)
            await redis.lpop(bucket.free_key("silver"))
            await redis.hset(bucket.counts_key, "free:silver", "0")
            began = clock.now_s()
            await pictures.renew()
            assert clock.now_s() - began < 1
            assert pictures.fresh
            target = pictures.targets[f"/api/v1/sales/{sale_name}/items/silver/purchase"]
            assert target.early_outcome is Outcome.SOLD_OUT
    finally:
        pool.terminate()


async def test_a_start_waits_for_a_failover(
    operations: Operations, postgres: Pool, sale_name: str, tmp_path: Path
) -> None:
    """Given a loaded sale, and nobody where its Valkey should be / When a process starts / Then it waits until somebody
    answers there, and shows the sale as that one knows it."""
    await created(operations, plan_text(sale_name))
    port = free_port()
    async with Redis.from_url(f"redis://127.0.0.1:{port}", retry=Retry(NoBackoff(), 1)) as redis:
        pictures = Pictures(Stores(redis=redis, postgres=postgres))
        beginning = asyncio.create_task(pictures.begin())
        await asyncio.sleep(1)
        assert not beginning.done()
        with private_valkey(tmp_path, port=port):
            await asyncio.wait_for(beginning, limits.FAILOVER_S)
            picture = pictures.find(sale_name)
            assert picture is not None
            assert picture.state == "unavailable"


async def test_a_start_does_not_wait_for_ever(
    operations: Operations, postgres: Pool, sale_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the same, and nobody who comes / Then the start is given up, and told why."""
    monkeypatch.setattr(limits, "FAILOVER_S", 0.3)
    await created(operations, plan_text(sale_name))
    async with Redis.from_url(f"redis://127.0.0.1:{free_port()}", retry=Retry(NoBackoff(), 1)) as redis:
        with pytest.raises(SurroundingsError, match="can't be looked at"):
            await Pictures(Stores(redis=redis, postgres=postgres)).begin()


async def _renewed(pictures: Pictures) -> bool:
    """Renew until the plans are old enough to be asked for again; then Postgres is not answering."""
    began = clock.now_s()
    await pictures.renew()
    return clock.now_s() - began > 0.2


async def press(hot: Hot, keys: RightKeys, sale: str) -> None:
    """One press of buy by a fan with a right, handed to the hot lane as a server would."""
    right = keys.sign(Right(Kind.RESERVATION, sale, "alice", LANE_PUBLIC, "web", int(clock.now_s()) + 60))
    scope = {
        "type": "http", "method": "POST", "path": f"/api/v1/sales/{sale}/items/silver/purchase", "query_string": b"",
        "headers": [(b"authorization", f"Right {right}".encode())],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        assert message

    await hot(scope, receive, send)


async def test_an_old_picture_refuses_nothing(
    operations: Operations, redis: Redis, postgres: Pool, sale_name: str
) -> None:
    """Given a picture that says sold out / When it could not be renewed for a second / Then the bucket is asked."""
    await created(operations, plan_text(sale_name, silver=0))
    pictures, metrics, keys = (
        Pictures(Stores(redis=redis, postgres=postgres)),
        api_metrics(),
        RightKeys({"k": b"k" * 32}),
    )
    nothing = cast(Any, None)
    hot = Hot(
        below=nothing, pictures=pictures, purchases=Purchases(redis), confirmations=nothing, entrance=nothing,
        challenges=nothing, protection=Protection(metrics, fan_per_s=0, address_per_s=0), right_keys=keys,
        metrics=metrics, looks=nothing,
    )  # fmt: skip
    await pictures.renew()
    await press(hot, keys, sale_name)
    assert metrics.refused_early.counts[Outcome.SOLD_OUT] == 1
    assert metrics.decided.counts[Outcome.SOLD_OUT] == 0

    async def is_old() -> bool:
        return not pictures.fresh

    await soon(is_old, what="the picture is old", deadline_s=3)
    await press(hot, keys, sale_name)
    assert metrics.refused_early.counts[Outcome.SOLD_OUT] == 1
    assert metrics.decided.counts[Outcome.SOLD_OUT] == 1
