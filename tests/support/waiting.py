"""Waiting for something to become true, within a deadline. Tests never wait for a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

DEADLINE_S: Final = 10.0
_POLL_S: Final = 0.005


def until(true: Callable[[], bool], *, what: str, deadline_s: float = DEADLINE_S) -> None:
    """Return once it is true. Raises AssertionError with what was waited for."""
    ends = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < ends, f"waited {deadline_s:.0f} s in vain until {what}"
        time.sleep(_POLL_S)


async def soon(true: Callable[[], Awaitable[bool]], *, what: str, deadline_s: float = DEADLINE_S) -> None:
    """The same beside a running loop."""
    ends = time.monotonic() + deadline_s
    while not await true():
        assert time.monotonic() < ends, f"waited {deadline_s:.0f} s in vain until {what}"
        await asyncio.sleep(_POLL_S)


async def turns(number: int = 5) -> None:
    """Let the loop run what is due now, without any time passing."""
    for _ in range(number):
        await asyncio.sleep(0)
