"""Faults of processes: F1 kills the api, F2 the worker, and the stalls stop one of them for seconds."""

import asyncio
from contextlib import ExitStack
from typing import ClassVar, Final

import httpx

from flashsale import outbox
from flashsale.clock import now_s
from flashsale.queries import query
from loadtest.faults.base import SINGLE, After, Fault
from loadtest.faults.scene import STOPPED, Scene, held, state_of

_ON_THEIR_WAY_S: Final = 0.3
_ENTRIES_LOOKED_AT: Final = 1000


class ApiKilled(Fault):
    """kill -9 of an api process under load, three times; the fleet starts it again. Where no connection broke by that,
    as in a lull beside other faults, it is done some more."""

    name = "F1"
    words = "api killed -9 under load, three times or more"
    kills: ClassVar[tuple[int, int]] = (3, 8)

    async def inject(self, scene: Scene) -> None:
        """Kill, wait until it is back, kill again."""
        least, most = self.kills
        self.observed |= {"kills": 0, "presses_cut": 0, "back_s": []}
        broken = scene.told().get("broken", 0)
        while self.observed["kills"] < least or (
            scene.told().get("broken", 0) == broken and self.observed["kills"] < most
        ):
            name = scene.random.choice(scene.fleet.apis)
            before = scene.fleet.started_again(name)
            self.observed["presses_cut"] += scene.told().get("in_flight", 0)
            killed_s = now_s()
            scene.fleet.kill(name)
            self.observed["kills"] += 1
            await scene.until(lambda n=name, b=before: _is_back(scene, n, b), within_s=20)  # type: ignore[misc]
            self.observed["back_s"].append(round(now_s() - killed_s, 2))
            await asyncio.sleep(scene.moment(0.6, 1.2))  # the crowd tells what broke twice a second

    def seen_to_work(self) -> int:
        """Connections that broke because of it."""
        return int(self.observed["connections_broken"])

    def reasons(self, after: After) -> list[str]:
        """A retry with the same key tells the same win."""
        return [] if after.seen.won_on_retry or not self.observed["presses_cut"] else ["no retry told a win"]


async def _is_back(scene: Scene, name: str, before: int) -> bool:
    if scene.fleet.started_again(name) == before:
        return False
    port = scene.fleet.ports[scene.fleet.apis.index(name)]
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://{scene.settings.host}:{port}/readyz", timeout=1)
            return answer.is_success
    except httpx.HTTPError:
        return False


class WorkerKilled(Fault):
    """kill -9 of the worker, again and again, until it was between a commit and its trim."""

    name = "F2"
    words = "worker killed -9 between commit and trim"
    kills: ClassVar[tuple[int, int]] = (2, 4)

    async def inject(self, scene: Scene) -> None:
        """Kill while a commit has come and its trim can't.

        Postgres is held until the worker has orders on their way to it; then the worker is held and Postgres goes on:
        the commit comes, and the worker dies before it can trim.
        """
        least, most = self.kills
        self.observed |= {"kills": 0, "committed_not_trimmed": 0, "landed_again": 0}
        while self.observed["kills"] < least or (not self.seen_to_work() and self.observed["kills"] < most):
            before = await scene.landed()
            await scene.until(lambda b=before: _more(scene, b), within_s=8)  # type: ignore[misc]
            await asyncio.sleep(scene.moment(0, 0.3))
            started = scene.fleet.started_again("worker")
            with ExitStack() as worker_held:
                with held(scene.postgres_pids()):
                    await asyncio.sleep(_ON_THEIR_WAY_S)
                    worker_held.enter_context(held([scene.fleet.pid_of("worker")]))
                await asyncio.sleep(_ON_THEIR_WAY_S)
                scene.fleet.kill("worker")
            self.observed["kills"] += 1
            self.observed["committed_not_trimmed"] += await _in_the_gap(scene)
            await scene.until(lambda s=started: _started(scene, s), within_s=10)  # type: ignore[misc]
            at_kill = await scene.landed()
            await scene.until(lambda b=at_kill: _more(scene, b), within_s=8)  # type: ignore[misc]
            for _ in range(20):
                if again := await _landed_again(scene):
                    self.observed["landed_again"] += again
                    break
                await asyncio.sleep(0.1)

    def seen_to_work(self) -> int:
        """Orders that were committed and still in the outbox when the worker was dead."""
        return int(self.observed["committed_not_trimmed"])


async def _in_the_gap(scene: Scene) -> int:
    """Orders that are in Postgres and in an outbox."""

    async def ask() -> int:
        entries = [
            entry
            for bucket in scene.sale.all_buckets
            for entry in await outbox.read(scene.both.redis, bucket, after="0", count=_ENTRIES_LOOKED_AT)
        ]
        ids = [win.order_id for entry in entries for win in entry.wins]
        async with scene.both.postgres.acquire() as connection:
            return len(await connection.fetch(query("verdict", "states_of"), ids))

    return await scene.patiently(ask, what="looking for orders that are committed and not trimmed")


async def _more(scene: Scene, before: int) -> bool:
    return await scene.landed() > before


async def _started(scene: Scene, before: int) -> bool:
    return scene.fleet.started_again("worker") > before


async def _landed_again(scene: Scene) -> int:
    """The worker's counter of orders that were there already. A worker just started begins at nought."""
    async with httpx.AsyncClient() as client:
        for _ in range(20):
            try:
                text = (await client.get(f"http://{scene.settings.host}:{scene.worker_port}/metrics", timeout=1)).text
            except httpx.HTTPError:
                await asyncio.sleep(0.1)
                continue
            lines = [line for line in text.splitlines() if line.startswith("flashsale_orders_landed_again_total")]
            return int(float(lines[0].split()[-1])) if lines else 0
    return 0


class Stall(Fault):
    """A process that stands still for seconds, as when its machine swaps or is moved."""

    part: ClassVar[str]
    for_s: ClassVar[tuple[float, float]] = (1.5, 4.0)

    async def inject(self, scene: Scene) -> None:
        """SIGSTOP, wait, SIGCONT."""
        pids = self.pids(scene)
        wins_before = scene.told().get("won", 0)
        with held(pids):
            await asyncio.sleep(0.05)
            self.observed["stopped"] = sum(1 for pid in pids if state_of(pid) == STOPPED)
            seconds = scene.moment(*self.for_s)
            self.observed["held_s"] = seconds
            await asyncio.sleep(seconds)
            self.observed["wins_meanwhile"] = scene.told().get("won", 0) - wins_before

    def pids(self, scene: Scene) -> list[int]:
        """Who stands still."""
        return [scene.fleet.pid_of(self.part)]

    def seen_to_work(self) -> int:
        """How many processes were seen to stand still."""
        return int(self.observed["stopped"])


class ApiStalled(Stall):
    """The api stands still."""

    name = "stop-api"
    words = "api stopped for seconds (SIGSTOP)"
    part = "api-1"


class WorkerStalled(Stall):
    """The worker stands still, longer than its lease may last."""

    name = "stop-worker"
    words = "worker stopped for longer than its lease (SIGSTOP)"
    part = "worker"
    for_s = (5.5, 7.0)


class ValkeyStalled(Stall):
    """Valkey stands still."""

    name = "stop-valkey"
    words = "Valkey stopped for seconds (SIGSTOP)"
    topologies = (SINGLE,)
    part = "valkey"


class ValkeyStalledLong(Stall):
    """Valkey stands still for longer than a call may take: fans are told UNKNOWN."""

    name = "stop-valkey-long"
    words = "Valkey stopped for longer than a call may take (SIGSTOP)"
    topologies = (SINGLE,)
    part = "valkey"
    for_s = (5.5, 6.5)


class PostgresStalled(Stall):
    """All processes of Postgres stand still."""

    name = "stop-postgres"
    words = "Postgres stopped for seconds (SIGSTOP)"

    def pids(self, scene: Scene) -> list[int]:
        """All of them."""
        return list(scene.postgres_pids())
