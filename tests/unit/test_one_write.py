"""Writes of one turn of the loop go out as one, in order, and before anything closes."""

import asyncio
from typing import Any, cast

from flashsale.api.one_write import Joined


class Seen:
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.told


def joined(seen: Seen) -> Joined:
    return Joined(cast(Any, seen), asyncio.get_running_loop())


async def test_what_is_written_in_one_turn_goes_out_as_one() -> None:
    """Given a head and a body / When they are written one after the other / Then one write, in that order."""
    seen = Seen()
    transport = joined(seen)
    transport.write(b"head ")
    transport.write(b"body")
    assert seen.told == []
    await asyncio.sleep(0)
    assert seen.told == [b"head body"]


async def test_turns_are_kept_apart() -> None:
    """Given a stream / When it writes now and then / Then each goes out in its own turn."""
    seen = Seen()
    transport = joined(seen)
    for part in (b"one", b"two"):
        transport.write(part)
        await asyncio.sleep(0)
    assert seen.told == [b"one", b"two"]


async def test_closing_sends_what_is_held() -> None:
    """Given something written / When the transport is closed in the same turn / Then it went out first, and once."""
    seen = Seen()
    transport = joined(seen)
    transport.write(b"last words")
    transport.close()
    await asyncio.sleep(0)
    assert seen.told == [b"last words", "closed"]


async def test_all_else_is_the_transports_own() -> None:
    """When something else is asked / Then the transport underneath answers."""
    seen = Seen()
    transport = joined(seen)
    assert not transport.is_closing()
    transport.close()
    assert transport.is_closing()
