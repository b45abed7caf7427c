"""F3: Postgres away for a while, and Postgres with a full disk. Selling goes on to the outbox's cap, then WAIT."""

import asyncio
import os
import signal
from typing import ClassVar

from flashsale.outcomes import Outcome
from loadtest.faults.base import SINGLE, After, Fault, Wishes
from loadtest.faults.scene import Scene, state_of

_CAP_ROOM = 15  # orders that still find room when the cap is lowered, in each bucket
_FILL = 1 << 20


class PostgresStopped(Fault):
    """Postgres is stopped; half-way the outbox's cap is lowered to what waits already, so that it is reached."""

    name = "F3"
    words = "Postgres stopped for seconds; the outbox runs full"
    away_s: ClassVar[float] = 2.5

    async def inject(self, scene: Scene) -> None:
        """Stop it, let the crowd sell on, let the outbox run full, start it again."""
        won = scene.told().get("won", 0)
        self._kill(scene)
        await asyncio.sleep(self.away_s)
        self.observed["wins_while_away"] = scene.told().get("won", 0) - won
        self.observed["outbox"] = await scene.outbox()
        caps = await _lower_caps(scene)
        try:
            await asyncio.sleep(self.away_s)
        finally:
            await _set_caps(scene, caps)

    async def heal(self, scene: Scene) -> None:
        """Start it again, if it does not run."""
        pid = scene.fleet.pid_of("postgres")
        for _ in range(500):
            if not _alive(pid):
                break
            await asyncio.sleep(0.02)
        scene.fleet.servers.restart("postgres")

    def _kill(self, scene: Scene) -> None:
        os.kill(scene.fleet.pid_of("postgres"), signal.SIGINT)

    def seen_to_work(self) -> int:
        """Wins that were told while it was away."""
        return int(self.observed["wins_while_away"])

    def reasons(self, after: After) -> list[str]:
        """At the cap the answer is honest."""
        return [] if self.observed["answers"].get(Outcome.WAIT.name) else ["nobody was told WAIT at the outbox's cap"]


class PostgresDiskFull(Fault):
    """The file system that holds Postgres's data, log of changes included, runs full."""

    name = "F3-disk"
    words = "Postgres's disk full for seconds"
    topologies = (SINGLE,)
    full_s: ClassVar[float] = 4.0

    def wish(self, wishes: Wishes) -> None:
        """A small file system."""
        wishes.small_disk = True

    async def inject(self, scene: Scene) -> None:
        """Fill it to the last byte; sell on."""
        if scene.disk is None:
            self.skipped = scene.why_no_disk
            return
        won = scene.told().get("won", 0)
        self.observed["filled_bytes"] = _fill(scene)
        landed, ended = await scene.landed(), asyncio.get_running_loop().time() + self.full_s
        while asyncio.get_running_loop().time() < ended:
            _fill(scene)
            await asyncio.sleep(0.1)
        self.observed["wins_while_full"] = scene.told().get("won", 0) - won
        self.observed["waiting"] = await scene.outbox()
        self.observed["postgres_died"] = not _alive(scene.fleet.pid_of("postgres"))
        try:
            self.observed["landed_while_full"] = await scene.landed() - landed
        except (TimeoutError, OSError, Exception) as trouble:  # noqa: BLE001 -- what it says is what is noted
            self.observed["postgres_said"] = f"{type(trouble).__name__}: {trouble}"

    async def heal(self, scene: Scene) -> None:
        """Make room, and start Postgres again if it gave up."""
        if scene.disk is None:
            return
        (scene.disk / "filler").unlink(missing_ok=True)
        await asyncio.sleep(0.5)
        try:
            await asyncio.wait_for(scene.landed(), 3)
        except Exception:  # noqa: BLE001 -- whatever it is, it does not answer
            _end(scene.fleet.pid_of("postgres"))
            for _ in range(200):
                if not _alive(scene.fleet.pid_of("postgres")):
                    break
                await asyncio.sleep(0.05)
            scene.fleet.servers.restart("postgres")

    def seen_to_work(self) -> int:
        """Orders that could not be written down and waited."""
        return int(self.observed["waiting"] or 0)


def _fill(scene: Scene) -> int:
    """Write until there is no room. Returns how much room there was."""
    assert scene.disk is not None
    filled = 0
    with (scene.disk / "filler").open("ab", buffering=0) as file:
        for size in (_FILL, 4096, 1):
            block = b"\0" * size
            while True:
                try:
                    filled += file.write(block)
                except OSError:
                    break
    return filled


def _alive(pid: int) -> bool:
    """Whether a child of ours runs; one that has ended and was not waited for does not."""
    return state_of(pid) not in {"", "Z", "X"}


def _end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGQUIT)
    except ProcessLookupError:
        return


async def _lower_caps(scene: Scene) -> list[str]:
    """Lower each bucket's cap to a little above what waits. Returns the caps there were."""
    caps = []
    for bucket in scene.sale.all_buckets:
        held = await scene.both.redis.hget(bucket.sale_key, "outbox_max")
        assert held is not None
        caps.append(str(int(held)))
        waiting = int(await scene.both.redis.hget(bucket.counts_key, "outbox") or 0)
        await scene.both.redis.hset(bucket.sale_key, "outbox_max", str(waiting + _CAP_ROOM))
    return caps


async def _set_caps(scene: Scene, caps: list[str]) -> None:
    for bucket, cap in zip(scene.sale.all_buckets, caps, strict=True):
        await scene.both.redis.hset(bucket.sale_key, "outbox_max", cap)
