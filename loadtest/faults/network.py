"""Faults between the api and Valkey, by a proxy: F7 delays, cuts and drops; F12 lets the api's picture become old."""

import asyncio
from typing import ClassVar

from flashsale.operations import Operations
from flashsale.outcomes import Outcome
from flashsale.queries import query
from flashsale.sale import Verb
from loadtest.faults.base import SINGLE, After, Fault, Wishes
from loadtest.faults.proxy import Proxy
from loadtest.faults.scene import Scene


class BadNetwork(Fault):
    """Replies come late, sockets break, and replies of calls that went through are dropped."""

    name = "F7"
    words = "replies between api and Valkey delayed, cut, dropped"
    topologies = (SINGLE,)
    phase_s: ClassVar[float] = 1.5
    drop: ClassVar[float] = 0.2
    drops_s: ClassVar[float] = 15.0

    def wish(self, wishes: Wishes) -> None:
        """A proxy."""
        wishes.proxy = True

    async def inject(self, scene: Scene) -> None:
        """One after the other."""
        proxy = _proxy(scene)
        proxy.delay_s = scene.moment(0.05, 0.3)
        await asyncio.sleep(self.phase_s)
        proxy.delay_s = 0.0
        for _ in range(3):
            proxy.cut_all()
            await asyncio.sleep(self.phase_s / 3)
        proxy.drop = self.drop
        await asyncio.sleep(self.phase_s * 2)
        await scene.until(lambda: _dropped(proxy), within_s=self.drops_s)  # fans who press seldom meet it later

    async def heal(self, scene: Scene) -> None:
        """All passes again."""
        proxy = _proxy(scene)
        proxy.drop = proxy.delay_s = 0.0
        self.observed |= {"delayed": proxy.delayed, "cut": proxy.cut, "replies_dropped": proxy.dropped}

    def seen_to_work(self) -> int:
        """Replies of purchases that were dropped."""
        return int(self.observed["replies_dropped"])

    def reasons(self, after: After) -> list[str]:
        """UNKNOWN, and the retry tells the truth (that nobody stays untold is the verdict's)."""
        found = []
        if not self.observed["answers"].get(Outcome.UNKNOWN.name):
            found.append("nobody was told UNKNOWN though replies were dropped")
        if not after.seen.won_on_retry:
            found.append("no retry told a win though replies were dropped")
        return found


class StalePicture(Fault):
    """The api can't renew its picture while ops pause the sale: nothing is accepted that should not be."""

    name = "F12"
    words = "api's picture stale while ops pause the sale"
    topologies = (SINGLE,)
    old_s: ClassVar[float] = 3.0

    def wish(self, wishes: Wishes) -> None:
        """A proxy that holds back what the picture is made of."""
        wishes.proxy = True

    async def inject(self, scene: Scene) -> None:
        """Hold back, pause, look, resume."""
        proxy = _proxy(scene)
        proxy.hold_others_s = self.old_s * 2
        await asyncio.sleep(0.5)
        operations = Operations(redis=scene.both.redis, postgres=scene.both.postgres, actor="rehearsal")
        await operations.move(scene.sale.sale, Verb.PAUSE)
        self._paused_ms = await _bucket_ms(scene)
        await asyncio.sleep(self.old_s)
        self._resumed_ms = await _bucket_ms(scene)
        await operations.move(scene.sale.sale, Verb.RESUME)

    async def heal(self, scene: Scene) -> None:
        """The picture is renewed; what is held back still comes late once."""
        proxy = _proxy(scene)
        proxy.hold_others_s = 0.0
        self.observed["reads_held_back"] = proxy.held
        await asyncio.sleep(1.0)
        await scene.until(lambda: self._count(scene), within_s=10)

    async def _count(self, scene: Scene) -> bool:
        if await scene.outbox():
            return False
        async with scene.both.postgres.acquire() as connection:
            self.observed["wins_while_paused"] = await connection.fetchval(
                query("verdict", "accepted_between"), scene.sale.sale, self._paused_ms, self._resumed_ms
            )
        return True

    def seen_to_work(self) -> int:
        """Reads that were held back, if anybody pressed meanwhile."""
        told = self.observed["answers"].get(Outcome.PAUSED.name, 0)
        return int(self.observed["reads_held_back"]) if told else 0

    def reasons(self, after: After) -> list[str]:
        """No win by a bucket's own time between pause and resume."""
        wins = self.observed.get("wins_while_paused")
        return [] if wins == 0 else [f"{wins} wins were accepted while the sale was paused"]


async def _dropped(proxy: Proxy) -> bool:
    return proxy.dropped > 0


def _proxy(scene: Scene) -> Proxy:
    assert scene.proxy is not None, "the fault wished for a proxy"
    return scene.proxy


async def _bucket_ms(scene: Scene) -> int:
    seconds, micros = await scene.both.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000
