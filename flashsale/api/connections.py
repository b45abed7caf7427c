"""The connections of clients: how many there may be, and how long each may keep a process waiting.

Each is looked at once a second: a timer of its own for each would be set and unset with every request. They are looked
at some at a time, since ten thousand at once would hold up those who press meanwhile by fifty milliseconds.
"""

import asyncio
import resource
from collections.abc import Collection
from enum import StrEnum
from typing import Any, Final, Protocol

from flashsale import limits
from flashsale.metrics import ApiMetrics

_CROWDED_SHARE: Final = 0.75
_AT_ONCE: Final = 64


class Awaited(StrEnum):
    """What a connection's client is waited for."""

    HEAD = "head"
    BODY = "body"
    READ = "read"  # that it reads what it was answered
    IDLE = "idle"  # that it asks for anything
    PLACE = "place"  # nothing: there were too many connections


_PATIENCE_S: Final = {
    Awaited.HEAD: limits.HEAD_S_MAX,
    Awaited.BODY: limits.BODY_S_MAX,
    Awaited.READ: limits.READ_S_MAX,
    Awaited.IDLE: limits.IDLE_S_MAX,
}


class Connection(Protocol):
    """What is looked at. begun: requests so far; turn: (what it was waited for at the look before, begun then);
    looks: how many looks have found it so since."""

    begun: int
    turn: tuple[Awaited | None, int]
    looks: int

    @property
    def awaited(self) -> Awaited | None: ...
    def end(self, awaited: Awaited) -> bool: ...


class Connections:
    """Those of one process. most: how many there may be."""

    def __init__(self, metrics: ApiMetrics, *, most: int = limits.CONNECTIONS_MAX) -> None:
        self._metrics = metrics
        self.most = most

    def has_place(self, number: int) -> bool:
        """Whether one more may be the one of this number."""
        if number <= self.most:
            return True
        self._metrics.connections_ended.labels(Awaited.PLACE).inc()
        return False

    async def look(self, connections: Collection[Any]) -> None:
        """Called once a second: end those that have kept this process waiting for too long."""
        known: list[Connection] = list(connections)
        self._metrics.connections.set(len(known))
        crowded = len(known) > self.most * _CROWDED_SHARE
        for first in range(0, len(known), _AT_ONCE):
            for one in known[first : first + _AT_ONCE]:
                self._look_at(one, crowded=crowded)
            await asyncio.sleep(0)

    def _look_at(self, one: Connection, *, crowded: bool) -> None:
        turn = (one.awaited, one.begun)
        one.looks = one.looks + 1 if turn == one.turn else 0
        one.turn = turn
        if turn[0] is not None and one.looks >= _patience_s(turn[0], crowded=crowded) and one.end(turn[0]):
            self._metrics.connections_ended.labels(turn[0]).inc()


def _patience_s(awaited: Awaited, *, crowded: bool) -> int:
    return limits.IDLE_CROWDED_S_MAX if crowded and awaited is Awaited.IDLE else _PATIENCE_S[awaited]


def places() -> int:
    """How many connections this process may have. It is given as many open files as it may get for them (POSIX.1,
    getrlimit)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.CONNECTIONS_MAX + limits.FILES_FOR_ITSELF
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, allowed - limits.FILES_FOR_ITSELF)
