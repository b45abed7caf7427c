"""Faults of Valkey: F4 killed and started with its log, F6 emptied and recovered, F10 at its memory limit."""

import asyncio
import contextlib
import os
import sys
from typing import ClassVar, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from flashsale.clock import now_s
from flashsale.config import ENV_PREFIX
from flashsale.outcomes import Outcome
from flashsale.queries import query
from loadtest.faults.base import After, Fault
from loadtest.faults.fans import cancel, confirmed
from loadtest.faults.scene import Scene

_SAID_MAX: Final = 500


class ValkeyKilled(Fault):
    """kill -9 of Valkey (of every node of a cluster); it is started again with its append-only file."""

    name = "F4"
    words = "Valkey killed -9 and started with its log"
    lose = frozenset({"accepted"})
    away_s: ClassVar[tuple[float, float]] = (0.5, 2.0)

    async def inject(self, scene: Scene) -> None:
        """Kill, wait, start."""
        self._killed = scene.valkeys
        for name in self._killed:
            scene.kill_server(name)
        self.observed["killed"] = len(self._killed)
        await asyncio.sleep(scene.moment(*self.away_s))

    async def heal(self, scene: Scene) -> None:
        """Start it again."""
        for name in self._killed:
            scene.fleet.servers.restart(name)

    def seen_to_work(self) -> int:
        """Fans that were told UNKNOWN, or that it was away."""
        answers = self.observed["answers"]
        return int(answers.get(Outcome.UNKNOWN.name, 0))


class ValkeyEmptied(Fault):
    """Valkey comes back empty. The sale is closed until `flashsale recover` has rebuilt it."""

    name = "F6"
    words = "Valkey emptied, then flashsale recover"
    lose = frozenset({"accepted", "replicated", "fsynced"})
    empty_s: ClassVar[float] = 2.0

    async def inject(self, scene: Scene) -> None:
        """Empty every node, wait, recover."""
        self.observed["orders_in_postgres"] = await scene.landed()
        for client in scene.primaries():
            async with client:
                await client.flushall()
        self._empty_s = now_s()
        await asyncio.sleep(self.empty_s)
        self._recovered_s = now_s()
        await self._recover(scene)

    async def _recover(self, scene: Scene) -> None:
        places = {"REDIS_URL": scene.addresses.redis_url, "POSTGRES_DSN": scene.addresses.postgres_dsn}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "flashsale", "recover", scene.sale.sale,
            env=os.environ | {f"{ENV_PREFIX}{name}": place for name, place in places.items()},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        self.observed["recover_status"] = process.returncode
        self.observed["recover_said"] = last_lines(said.decode(errors="replace"))

    def seen_to_work(self) -> int:
        """Fans that were told that the state is not known."""
        return int(self.observed["answers"].get(Outcome.UNAVAILABLE.name, 0))

    def reasons(self, after: After) -> list[str]:
        """Nothing is sold by an empty Valkey, and it is recovered."""
        found = []
        # Half a second: a win that was decided before may still be on its way to its fan.
        early = after.seen.purchases.within(Outcome.WON, self._empty_s + 0.5, self._recovered_s)
        self.observed["wins_while_empty"] = early
        if early:
            found.append(f"{early} wins were told while Valkey was empty")
        if self.observed["recover_status"] != 0:
            found.append(f"flashsale recover failed: {self.observed['recover_said']}")
        return found


class ValkeyFull(Fault):
    """Valkey at its memory limit: purchases are refused whole, what gives back goes on."""

    name = "F10"
    words = "Valkey at maxmemory, returns go on"
    full_s: ClassVar[float] = 3.0
    _before: str = "0"

    async def inject(self, scene: Scene) -> None:
        """Lower the limit below what is used; let an order go; raise it again."""
        limits = [await _limit_of(client) for client in scene.primaries()]
        self._before = limits[0]
        await self._limit(scene, "1mb")
        await asyncio.sleep(self.full_s / 3)
        self.observed["cancelled"] = await _cancel_one(scene)
        given_before = await _given_back(scene)
        if self.observed["cancelled"]:
            self.observed["given_back_when_full"] = await scene.until(
                lambda: _more_given_back(scene, given_before), within_s=self.full_s
            )
        await asyncio.sleep(self.full_s / 3)

    async def heal(self, scene: Scene) -> None:
        """Raise the limit."""
        await self._limit(scene, self._before)

    async def _limit(self, scene: Scene, size: str) -> None:
        for client in scene.primaries():
            async with client:
                with contextlib.suppress(RedisError):
                    await client.config_set("maxmemory", size)

    def seen_to_work(self) -> int:
        """Fans that were told to wait."""
        return int(self.observed["answers"].get(Outcome.WAIT.name, 0))

    def reasons(self, after: After) -> list[str]:
        """Returns go through."""
        if self.observed.get("given_back_when_full", True):
            return []
        return ["a unit that was let go did not come back while Valkey was full"]


def last_lines(text: str) -> str:
    """The end of what somebody said, from the beginning of a line."""
    if len(text) <= _SAID_MAX:
        return text
    _, newline, rest = text[-_SAID_MAX - 1 :].partition("\n")
    return rest if newline else text[-_SAID_MAX:]


async def _limit_of(client: Redis) -> str:
    async with client:
        return str((await client.config_get("maxmemory"))["maxmemory"])


async def _cancel_one(scene: Scene) -> int:
    """Let one confirmed order go, as its fan would. Returns how many there were to let go."""
    for row in await confirmed(scene, 1):
        return int(await cancel(scene, row) == 200)
    return 0


async def _given_back(scene: Scene) -> int:
    async with scene.both.postgres.acquire() as connection:
        return int(await connection.fetchval(query("verdict", "returns_given_back"), scene.sale.sale))


async def _more_given_back(scene: Scene, before: int) -> bool:
    return await _given_back(scene) > before
