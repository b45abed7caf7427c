"""A task that asks Valkey in a loop ends when it is cancelled, at whatever moment that is."""

import asyncio
from typing import Final

import pytest

from flashsale import stores
from flashsale.embedded import Addresses

pytestmark = pytest.mark.servers
TURNS: Final = 100
OFTEN: Final = 5


async def test_no_cancellation_is_lost(addresses: Addresses) -> None:
    """Given a loop of commands / When it is cancelled after each number of turns of the event loop / Then it ends."""
    client = await stores.open_redis(addresses.redis_url)
    asked, over = 0, False

    async def ask() -> None:
        nonlocal asked
        while not over:
            await client.get("nothing")
            asked += 1

    try:
        for turns in range(TURNS * OFTEN):
            asking = asyncio.create_task(ask())
            for _ in range(turns % TURNS):
                await asyncio.sleep(0)
            before = asked
            asking.cancel()
            await asyncio.wait({asking}, timeout=1)
            assert asking.cancelled(), f"cancelled after {turns % TURNS} turns, it has asked {asked - before} times"
        assert asked > TURNS
    finally:
        over = True
        await client.aclose()
