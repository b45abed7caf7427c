"""What every fault has: a name, a moment, what it was seen to do, and its own promises.

A fault that did nothing that could be seen proves nothing, so its run fails.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from flashsale.clock import now_s
from flashsale.outcomes import Outcome
from loadtest import verdict
from loadtest.faults.scene import Scene
from loadtest.records import Seen
from loadtest.verdict import Allowed, Landed

SINGLE: Final = "single"
CLUSTER: Final = "cluster"
RESUMED_S_MAX: Final = 30.0  # selling goes on by itself within this time after a fault has healed
TOLD_LATE_S: Final = 1.0  # an answer comes later than what it is about
_NAMED_MAX: Final = 50


@dataclass(slots=True)
class Wishes:
    """What has to be there from the start, for any fault of a run.

    environment: of a kind of process (serve, worker, crowd); proxy: between api and Valkey; small_disk: Postgres's data
    on a small file system; clock_ahead_s: of the crowd.
    """

    proxy: bool = False
    small_disk: bool = False
    clock_ahead_s: float = 0.0
    environment: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class After:
    """What is known once all is over. opens_s: of the opening, in seconds since 1970 UTC."""

    seen: Seen
    landed: Landed
    allowed: Allowed
    opens_s: float
    result: Mapping[str, Any]


class Fault(ABC):
    """One fault of one run. at_s, healed_at_s: in seconds after the opening.

    lose: levels at which a win may be lost by it; stops_selling: whether it must be seen that selling goes on after it.
    """

    name: ClassVar[str]
    words: ClassVar[str]
    topologies: ClassVar[tuple[str, ...]] = (SINGLE, CLUSTER)
    lose: ClassVar[frozenset[str]] = frozenset()
    set_aside: int = 0
    resumes: ClassVar[bool] = True

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s
        self.healed_at_s: float | None = None
        self.began_at_s: float | None = None
        self.skipped = ""
        self.observed: dict[str, Any] = {}

    def wish(self, wishes: Wishes) -> None:  # noqa: B027 -- most wish for nothing
        """Ask for what has to be there from the start."""

    @abstractmethod
    async def inject(self, scene: Scene) -> None:
        """Do it, hold it, and note in observed what was seen."""

    async def heal(self, scene: Scene) -> None:  # noqa: B027 -- some heal by themselves
        """Undo it; called in any case, also when inject() was broken off."""

    @abstractmethod
    def seen_to_work(self) -> int:
        """How much of it was seen: 0 means that nothing was injected, whatever was tried."""

    def reasons(self, after: After) -> list[str]:
        """Which of its own promises are broken."""
        return []

    async def play(self, scene: Scene) -> None:
        """Wait for its moment, inject, heal."""
        late_s = await scene.crowd_is_late()
        await asyncio.sleep(max(0.0, scene.opens_s + late_s + self.at_s - now_s()))
        self.observed["in_flight"] = await scene.in_flight()
        self.began_at_s = round(now_s() - scene.opens_s, 3)
        broken_before = scene.told().get("broken", 0)
        try:
            await self.inject(scene)
        finally:
            await self.heal(scene)
        self.healed_at_s = round(now_s() - scene.opens_s, 3)
        self.observed["free_when_healed"] = await scene.free()
        await asyncio.sleep(0.6)  # the crowd tells how far it is twice a second
        self.observed["connections_broken"] = scene.told().get("broken", 0) - broken_before

    def conclude(self, after: After) -> list[str]:
        """Note what can be seen only afterwards, and say why this fault fails the run; empty when it does not."""
        if self.skipped:
            self.observed["skipped"] = self.skipped
            return []
        if self.began_at_s is None or self.healed_at_s is None:
            return [
                f"{self.name} injected nothing: it was to begin {self.at_s:g} s after the opening, and all was over"
            ]
        began_s, healed_s = after.opens_s + self.began_at_s, after.opens_s + self.healed_at_s
        told = after.seen.purchases
        lost = verdict.lost(after.seen, after.landed, after.allowed)
        during = {one.name: told.within(one, began_s, healed_s + TOLD_LATE_S) for one in Outcome}
        self.observed |= {
            "answers": {name: number for name, number in during.items() if number},
            "next_win_s": told.next_after(Outcome.WON, healed_s),
            "wins_by_level": verdict.by_level(after.seen),
            "won_on_retry": after.seen.won_on_retry,
            "lost_tail": sorted(lost)[:_NAMED_MAX],
            "lost": len(lost),
        }
        found = [] if self.seen_to_work() else [f"{self.name} injected nothing that could be seen"]
        next_win_s = self.observed["next_win_s"]
        # Where all was sold meanwhile there is nothing that could go on.
        if self.resumes and self.observed["free_when_healed"] and (next_win_s is None or next_win_s > RESUMED_S_MAX):
            found.append(f"{self.name}: selling did not go on within {RESUMED_S_MAX:.0f} s after it healed")
        return found + [f"{self.name}: {reason}" for reason in self.reasons(after)]

    def as_data(self) -> dict[str, Any]:
        """For the result."""
        return {
            "name": self.name,
            "words": self.words,
            "at_s": self.at_s if self.began_at_s is None else self.began_at_s,
            "healed_at_s": self.healed_at_s,
            "observed": self.observed,
        }
