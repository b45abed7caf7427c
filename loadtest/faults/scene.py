"""The scene of a fault: the processes it may hurt, the stores it may look into, and the crowd that is at it."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisClusterException

from flashsale import queries, stock, stores
from flashsale.clock import now_s
from flashsale.config import Settings
from flashsale.embedded import Addresses
from flashsale.errors import FlashsaleError
from flashsale.fleet import Fleet
from flashsale.sale import Sale
from flashsale.stock import BucketFacts
from flashsale.stores import Stores
from loadtest.faults.proxy import Proxy

STOPPED: Final = "T"
_LOOK_S: Final = 0.02
_CROWD_S_MAX: Final = 3600.0  # it waits for the opening, which may be far
_TOLD_LATE_S: Final = 1.0  # the crowd tells how far it is twice a second
_PATIENCE_S: Final = 40.0
# redis-py's own base does not cover a cluster none of whose nodes answers.
TROUBLE: Final = (*stores.TROUBLE, RedisClusterException)
Found = TypeVar("Found")


@dataclass(slots=True)
class Scene:
    """One run. told: how far the crowd is; random: seeded; disk: the small file system of Postgres's data, if any;
    stay_s: so long after the opening fans stay, unless all is sold before."""

    fleet: Fleet
    settings: Settings
    addresses: Addresses
    both: Stores
    sale: Sale
    told: Callable[[], Mapping[str, Any]]
    random: random.Random
    proxy: Proxy | None = None
    disk: Path | None = None
    worker_port: int = 0
    clocks: Path | None = None
    why_no_disk: str = ""
    stay_s: float = 0.0

    @property
    def opens_s(self) -> float:
        """The opening, in seconds since 1970 UTC."""
        return self.sale.opens_ms / 1000

    @property
    def base_url(self) -> str:
        """The first api process."""
        return f"http://{self.settings.host}:{self.settings.port}"

    @property
    def valkeys(self) -> list[str]:
        """The names of the Valkey servers."""
        nodes = getattr(self.fleet.servers, "nodes", None)
        return [node.name for node in nodes] if nodes else ["valkey"]

    async def crowd_is_late(self) -> float:
        """How many seconds after the opening the crowd begins to press; 0 when it is there in time, or already. Returns
        then.

        On a busy machine it still reserves at the opening, and a fault would meet nobody.
        """

        async def has_come() -> bool:
            return self.told().get("phase") not in {"reserving", "waiting"}

        if await has_come():
            return 0.0
        await self.until(has_come, within_s=_CROWD_S_MAX)
        late_s = now_s() - self.opens_s
        return late_s if late_s > _TOLD_LATE_S else 0.0

    async def in_flight(self) -> dict[str, int | None]:
        """Presses that wait for an answer, and orders that wait in the outbox; None where it can't be asked."""
        return {"presses": self.told().get("in_flight", 0), "outbox": await self.outbox()}

    async def outbox(self) -> int | None:
        """Orders on their way to Postgres."""
        try:
            async with asyncio.timeout(1.0):
                return sum(one.outbox for one in await stock.facts(self.both.redis, self.sale.all_buckets))
        except TROUBLE:
            return None

    async def free(self) -> int:
        """Units that are free now; asked until Valkey answers."""

        async def ask() -> int:
            return sum(
                sum(one.free.values()) + sum(one.moving.values())
                for one in await stock.facts(self.both.redis, self.sale.all_buckets)
            )

        return await self.patiently(ask, what="counting the free units")

    async def all_sold(self) -> bool:
        """Whether no unit is free or on its way back."""
        try:
            async with asyncio.timeout(1.0):
                returning = await self.returning()
                facts = await stock.facts(self.both.redis, self.sale.all_buckets)
        except TROUBLE:
            return False
        return not returning and all(
            one.loaded and not any((*one.free.values(), *one.moving.values())) for one in facts
        )

    async def returning(self) -> int:
        """Units on their way back."""
        async with self.both.postgres.acquire() as connection:
            return int(await connection.fetchval(queries.query("verdict", "returns_waiting"), self.sale.sale))

    async def landed(self) -> int:
        """Orders in Postgres, of any state."""
        async with self.both.postgres.acquire() as connection:
            return int(await connection.fetchval(queries.query("verdict", "landed"), self.sale.sale))

    async def patiently(self, ask: Callable[[], Awaitable[Found]], *, what: str) -> Found:
        """Ask a store again and again, until it answers. Raises FlashsaleError when it takes too long."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return await ask()
            except TROUBLE as trouble:
                if time.monotonic() > deadline:
                    raise FlashsaleError(f"{what} was not possible within {_PATIENCE_S:.0f} s: {trouble}") from trouble
            await asyncio.sleep(_LOOK_S * 5)

    async def until(self, holds: Callable[[], Awaitable[bool]], *, within_s: float) -> bool:
        """Wait until something holds; whether it came to hold in time. A store that is away holds nothing."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            try:
                if await holds():
                    return True
            except TROUBLE:
                pass
            await asyncio.sleep(_LOOK_S)
        return False

    def moment(self, low: float, high: float) -> float:
        """A seeded number of seconds."""
        return round(self.random.uniform(low, high), 3)

    def kill_server(self, name: str) -> None:
        """kill -9 a Valkey or Postgres, and wait until it is gone."""
        os.kill(self.fleet.pid_of(name), signal.SIGKILL)

    def postgres_pids(self) -> Sequence[int]:
        """All processes of Postgres, its first one first."""
        first = self.fleet.pid_of("postgres")
        try:
            children = Path(f"/proc/{first}/task/{first}/children").read_text(encoding="ascii").split()
        except OSError:  # it is gone
            children = []
        return [first, *map(int, children)]

    def primaries(self) -> list[Redis]:
        """A client for each Valkey that decides; close them."""
        nodes = getattr(self.fleet.servers, "nodes", None)
        if not nodes:
            return [Redis.from_url(self.addresses.redis_url, socket_timeout=5)]
        return [Redis(port=node.port, socket_timeout=5) for node in nodes if node.role == "primary" and node.up]


def _unsold(facts: BucketFacts) -> int:
    """Units of a bucket that are free, or leaving for another bucket."""
    return sum(facts.free.values()) + sum(facts.moving.values())


def state_of(pid: int) -> str:
    """What a process does, by proc(5): R, S, D, Z, T …; empty when it is gone."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return told.rpartition(")")[2].split()[0]


@contextmanager
def held(pids: Sequence[int]) -> Iterator[None]:
    """Processes that stand still (SIGSTOP) meanwhile, and go on afterwards in any case."""
    stopped: list[int] = []
    try:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
            except ProcessLookupError:
                continue
        yield
    finally:
        for pid in stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
