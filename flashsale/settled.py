"""Settled: whether a write is where a failover would find it, so that the next step may be begun, or noted.

A primary that dies is followed by a replica, and what that one has not seen never happened. Who notes in Postgres what
a bucket did, or goes on from it in another bucket, asks here first. What is not settled is left as it is and made again
at a later turn: every step may be repeated, and a repeat counts itself, so that there is a write to wait for.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from flashsale import limits
from flashsale.durability import Level, Settling
from flashsale.router import Router
from flashsale.scripts import Commands, ScriptAt

TAKEOVER_BOUND: Final = ("cluster-node-timeout", "cluster-replica-validity-factor", "repl-ping-replica-period")


class Settler(Protocol):
    """Runs a script and says whether what it wrote, and all that was written there before, is settled."""

    async def run(self, script: ScriptAt, *args: str | int) -> tuple[Any, bool]:
        """The script's reply, and whether it is settled. Raises what the client raises."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Waits for nobody. settled: true where nobody could take over, as on one server; false where another one who waits
    comes after, as the worker does after ops."""

    commands: Commands
    settled: bool = True

    async def run(self, script: ScriptAt, *args: str | int) -> tuple[Any, bool]:
        """Run it; what is said of it was known before."""
        return await script(self.commands, *args), self.settled


@dataclass(frozen=True, slots=True)
class _Short:
    """A primary with fewer replicas than wanted: how many, since when, and when that was seen last.

    alone_s: how long it has to be so until those that left can't take over any more.
    """

    connected: int
    since: float
    seen: float
    alone_s: float


class Replicated:
    """Waits until enough replicas have it. One event loop owns it.

    A primary whose replicas are behind costs the whole wait once in a while and almost nothing in between, so that a
    turn over many buckets stays short. One that has had fewer replicas than wanted for long is held to those it has: a
    replica that left so long ago may not take over any more, and where there is none, nobody could.
    """

    def __init__(self, router: Router, settling: Settling, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._router = router
        self._settling = settling
        self._now_s = now_s
        self._behind_since: dict[str, float] = {}
        self._short: dict[str, _Short] = {}

    async def run(self, script: ScriptAt, *args: str | int) -> tuple[Any, bool]:
        """Run it and ask the replicas right behind it, over the same connection."""
        key = script.prefix[1]
        place = self._router.place(key)
        settling = self._wanted(place)
        question = settling.question(Level.REPLICATED, wait_ms=self._wait_ms(place))
        after = (question, ("ROLE",), ("CONFIG", "GET", *TAKEOVER_BOUND))
        reply, counted, role, bound = await script.then(self._router, after, *args)
        place = self._router.place(key)  # it may have been sent on
        self._look_at(place, role, alone_s=takeover_s(bound))
        # A replica that came back since, or a primary that was not looked at for a while, is asked again next turn.
        settled = settling.reached(Level.REPLICATED, counted) is Level.REPLICATED and settling == self._wanted(place)
        self._note(place, settled=settled)
        return reply, settled

    def _wanted(self, place: str) -> Settling:
        """How many replicas must have it: as many as configured, or all there have been for long."""
        short = self._short.get(place)
        if short is None or self._now_s() - short.since < short.alone_s:
            return self._settling
        return replace(self._settling, replicas=short.connected)

    def _wait_ms(self, place: str) -> int:
        """How long to wait: briefly where the whole wait was in vain a moment ago."""
        since = self._behind_since.get(place)
        if since is None or self._now_s() - since > limits.BEHIND_S:
            return limits.REPLICATED_WAIT_MS
        return limits.BEHIND_WAIT_MS

    def _look_at(self, place: str, role: Any, *, alone_s: float) -> None:
        """Remember since when this primary has been seen with just so many replicas, if they are fewer than wanted."""
        is_primary = isinstance(role, list) and role[0] == b"master"
        connected = len(role[2]) if is_primary else self._settling.replicas
        short, now = self._short.pop(place, None), self._now_s()
        if connected >= self._settling.replicas:
            return
        goes_on = short is not None and short.connected == connected and now - short.seen <= limits.ALONE_UNSEEN_S
        since = short.since if short is not None and goes_on else now
        self._short[place] = _Short(connected, since, seen=now, alone_s=alone_s)

    def _note(self, place: str, *, settled: bool) -> None:
        if settled:
            self._behind_since.pop(place, None)
        elif self._wait_ms(place) == limits.REPLICATED_WAIT_MS:
            self._behind_since[place] = self._now_s()


def settler_for(router: Router, settling: Settling) -> Settler:
    """The one for these servers. On one server there is nobody to take over, so that nobody has to be waited for."""
    return Replicated(router, settling) if router.cluster else Plain(router)


def takeover_s(bound: Any) -> float:
    """How long after it lost its primary a replica may still take over from it, by what a server says of its settings;
    infinite when they set no bound, and as long as Valkey's defaults say when it does not tell."""
    if not isinstance(bound, list) or len(bound) != 2 * len(TAKEOVER_BOUND):
        return limits.ALONE_S
    told = dict(zip(bound[::2], bound[1::2], strict=True))
    timeout_ms, factor, ping_s = (int(told[name.encode()]) for name in TAKEOVER_BOUND)
    # The time until its primary is given up comes on top; a second more, since the servers count whole ones.
    return timeout_ms / 1000 * (factor + 1) + ping_s + 1 if factor else math.inf
