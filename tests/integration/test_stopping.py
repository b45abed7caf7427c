"""What is told to stop stops, at whatever moment it is told so."""

import asyncio

import pytest
from redis.asyncio import Redis

from flashsale.api.picture import Pictures
from flashsale.operations import Operations
from flashsale.queries import Pool
from flashsale.stores import Stores
from tests.integration.shop import created, plan_text

pytestmark = pytest.mark.servers

_MOMENTS = 200


async def test_a_picture_that_is_told_to_stop_stops(
    redis: Redis, postgres: Pool, operations: Operations, sale_name: str
) -> None:
    """Given a process that keeps its picture / When it is stopped at any moment / Then it ends.

    A cancellation alone is lost now and then inside a client library.
    """
    await created(operations, plan_text(sale_name))
    for moment in range(_MOMENTS):
        pictures = Pictures(Stores(redis=redis, postgres=postgres))
        keeping = asyncio.create_task(pictures.keep())
        for _ in range(moment % 20):
            await asyncio.sleep(0)
        await asyncio.sleep(0.0001 * (moment % 40))
        pictures.stop()
        keeping.cancel()
        done, _ = await asyncio.wait({keeping}, timeout=1)
        keeping.cancel()
        assert done, f"it goes on after moment {moment}"
