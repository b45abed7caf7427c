"""Suites levels and levels_cluster: what it costs that a win is told at a higher level, in time and wins a second.

Over HTTP, by one api process and one worker, on one primary with a replica, or on a cluster whose primaries have one
each. The levels take turns, each in a sale of its own of one bucket; accepted is what the others are compared with. A
few connections tell how long a reply takes when nobody queues; as many as one call takes attempts tell how much can be
told.
"""

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import httpx
from redis.asyncio import Redis

from flashsale import limits, plan, rights, stock
from flashsale.bench.generators import Own, Press
from flashsale.bench.ground import CHANNEL, ITEM, Ground, fans, plan_of
from flashsale.bench.replica import following
from flashsale.bench.report import Metric, compared
from flashsale.bench.rounds import Contender, Run, interleaved
from flashsale.bench.uvicorns import answering, environment_of, running
from flashsale.config import parse_right_keys
from flashsale.durability import Level
from flashsale.errors import InvariantError, SurroundingsError
from flashsale.rights import LANE_PUBLIC, Kind, Right, RightKeys
from flashsale.sale import Sale, Verb

_LANDED_S_MAX: Final = 60.0
_LOOK_S: Final = 0.02
_RATE_AT_FIRST: Final = 30_000  # presses to bring for each second before any rate is known
_ROOM: Final = 1.6
_EVERYSEC: Final = "everysec"
_ALWAYS: Final = "always"  # without it no server can say that an order is on its disk


@dataclass(frozen=True, slots=True)
class Load:
    """So many connections that press without a pause, for so long a round."""

    name: str
    connections: int
    seconds: float = 1.5


FEW: Final = Load("few", 16)
MANY: Final = Load("many", limits.ATTEMPTS_PER_CALL_MAX)


@dataclass(frozen=True, slots=True)
class Told:
    """One way of telling wins: the sale's level, and how often the servers bring their logs to the disk."""

    level: Level
    appendfsync: str = _EVERYSEC

    @property
    def name(self) -> str:
        """What it is called in the report, and its sale in the servers."""
        return str(self.level)


REFERENCE: Final = Told(Level.ACCEPTED)
COMPARED: Final = (Told(Level.REPLICATED), Told(Level.FSYNCED, appendfsync=_ALWAYS), Told(Level.CONFIRMED))


@dataclass(frozen=True, slots=True)
class Replies(Run):
    """A round's replies. at_level: how many told the sale's level; the others told a lower one, as it was."""

    milliseconds: Sequence[float]
    at_level: int

    def percentile(self, percent: int) -> float:
        """The time within which so many of a hundred replies came."""
        return quantiles(self.milliseconds, n=100, method="inclusive")[percent - 1]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a suite plays. nodes: the addresses of all servers whose logs matter."""

    suite: str
    servers: str
    nodes: Sequence[str]
    loads: Sequence[Load]


class Levels:
    """Makes ready and does the work of each contender."""

    def __init__(
        self, ground: Ground, stage: Stage, sales: Mapping[str, Sale], *, right_keys: RightKeys, port: int
    ) -> None:
        self._ground = ground
        self._nodes = stage.nodes
        self._sales = sales
        self._right_keys = right_keys
        self._port = port
        self._fans = 0
        self._rate = _RATE_AT_FIRST / _ROOM

    def contender(self, told: Told, load: Load) -> Contender:
        """One level under one load."""
        return Contender(_name(told, load), lambda: self._once(told, load))

    async def _once(self, told: Told, load: Load) -> Replies:
        presses = self._presses(told, self._rate * load.seconds)
        await _set_appendfsync(self._nodes, told.appendfsync)
        times: list[float] = []
        at_level, words = 0, b'"level":"%s"' % told.level.encode()

        def answered(seconds: float, body: bytes) -> None:
            nonlocal at_level
            times.append(seconds * 1000)
            at_level += words in body

        pressing = Own(connections=load.connections, on_answer=answered)
        pressed = await pressing.press(self._port, presses, duration_s=load.seconds)
        await _set_appendfsync(self._nodes, _EVERYSEC)
        if pressed.refused or pressed.broken or not load.connections <= pressed.answers < len(presses):
            raise InvariantError(f"{told.name}: all presses must win, each once; it was {pressed} of {len(presses)}")
        await _landed(self._ground, self._sales[told.name])
        self._rate = max(self._rate, pressed.answers / pressed.seconds)
        return Replies(pressed.answers, pressed.seconds, None, times, at_level)

    def _presses(self, told: Told, wanted: float) -> list[Press]:
        """Presses of fans that nobody has seen before, more than can be answered."""
        number = round(wanted * _ROOM) + limits.ATTEMPTS_PER_CALL_MAX * 2
        sale = self._sales[told.name]
        names = fans(number, first=self._fans)
        self._fans += number
        path, expires_s = f"/api/v1/sales/{sale.sale}/items/{ITEM}/purchase", sale.closes_ms // 1000
        signed = (
            self._right_keys.sign(Right(Kind.RESERVATION, sale.sale, fan, LANE_PUBLIC, CHANNEL, expires_s))
            for fan in names
        )
        return [Press(path, right, f"k-{fan}") for right, fan in zip(signed, names, strict=True)]


async def run(
    ground: Ground, *, rounds: int, on_progress: Callable[[str], None], loads: Sequence[Load] = (FEW, MANY)
) -> list[Metric]:
    """Each level above accepted on one primary with a replica: reply times with few connections and with many, and
    wins a second with many. fsynced is the primary's own disk there."""
    with tempfile.TemporaryDirectory(prefix="flashsale-bench-") as folder:
        async with following(ground.addresses.redis_url, folder=Path(folder)) as replica:
            stage = Stage("levels", "a primary with a replica", [ground.addresses.redis_url, replica], loads)
            return await _measured(ground, stage, rounds=rounds, on_progress=on_progress)


async def run_on_cluster(
    ground: Ground, *, rounds: int, on_progress: Callable[[str], None], loads: Sequence[Load] = (FEW, MANY)
) -> list[Metric]:
    """The same on a cluster, where fsynced is a replica's disk as well."""
    nodes = ground.addresses.redis_url.split(",")
    stage = Stage("levels_cluster", "a cluster of 3 primaries with a replica each", nodes, loads)
    return await _measured(ground, stage, rounds=rounds, on_progress=on_progress)


async def _measured(ground: Ground, stage: Stage, *, rounds: int, on_progress: Callable[[str], None]) -> list[Metric]:
    right_key = f"k1:{secrets.token_hex(rights.KEY_BYTES)}"
    sales = {told.name: await _open(ground, told) for told in (REFERENCE, *COMPARED)}
    await _set_appendfsync(stage.nodes, _ALWAYS)  # Processes don't start where a sale's level can't be kept.
    async with _processes(ground, right_key=right_key) as port:
        levels = Levels(ground, stage, sales, right_keys=parse_right_keys(right_key), port=port)
        contenders = [levels.contender(told, load) for load in stage.loads for told in (REFERENCE, *COMPARED)]
        runs = await interleaved(
            contenders, rounds=rounds, on_progress=lambda what: on_progress(f"{stage.suite}, {what}")
        )
    return [metric for told in COMPARED for metric in _metrics(told, runs, stage)]


def _metrics(told: Told, runs: Mapping[str, Sequence[Run]], stage: Stage) -> list[Metric]:
    few, many = stage.loads
    reference = _name(REFERENCE, many)
    conditions = _conditions(stage)
    metrics = compared(
        stage.suite, told.name, ours=runs[_name(told, many)], reference=runs[reference], reference_name=reference,
        unit="wins/s", conditions=conditions | {"at_level": _share(runs[_name(told, many)])},
    )  # fmt: skip
    for load, infix in ((few, ""), (many, "_crowded")):
        ours, theirs = (_replies(runs[_name(one, load)]) for one in (told, REFERENCE))
        said = conditions | {"at_level": _share(ours)}
        for percent in (50, 99):
            values = [run.percentile(percent) for run in ours], [run.percentile(percent) for run in theirs]
            ratio = median(one / other for one, other in zip(*values, strict=True))
            figures = (median(values[0]), "ms", _name(REFERENCE, load), median(values[1]), ratio)
            metrics.append(Metric(stage.suite, f"{told.name}{infix}_p{percent}", *figures, len(ours), said))
    return metrics


def _replies(runs: Sequence[Run]) -> list[Replies]:
    return [run for run in runs if isinstance(run, Replies)]


def _share(runs: Sequence[Run]) -> float:
    """Which share of the wins was told at the sale's level."""
    replies = _replies(runs)
    return round(sum(run.at_level for run in replies) / sum(run.operations for run in replies), 4)


def _name(told: Told, load: Load) -> str:
    return f"{told.name}, {load.name} connections"


async def _open(ground: Ground, told: Told) -> Sale:
    """A sale of that level, open now."""
    written = plan_of(told.name, units=limits.UNITS_PER_ITEM_MAX, ack=told.level)
    await ground.operations.create(plan.from_data(written))
    await ground.operations.load(told.name)
    return await ground.operations.move(told.name, Verb.OPEN)


@asynccontextmanager
async def _processes(ground: Ground, *, right_key: str) -> AsyncIterator[int]:
    """An api and a worker, as the product starts them. Gives the api's port."""
    with tempfile.TemporaryDirectory(prefix="flashsale-bench-") as name, ExitStack() as ending:
        folder = Path(name)
        environment = environment_of(ground.addresses, folder=folder, right_key=right_key)
        serve = ["-m", "flashsale", "serve", "--processes", "1", "--host", "127.0.0.1"]
        api = ending.enter_context(running("api", serve, environment=environment, folder=folder))
        ending.enter_context(
            running("worker", ["-m", "flashsale", "worker"], environment=environment, folder=folder, listens=False)
        )
        await answering(api, folder=folder)
        await _ready(api.port)
        yield api.port


async def _ready(port: int) -> None:
    """Return once the api answers: it takes connections before it has looked at the servers."""
    async with httpx.AsyncClient(timeout=_LANDED_S_MAX) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/readyz")
    if not answer.is_success:
        raise SurroundingsError(f"The api is not ready; it says: {answer.text}")


async def _set_appendfsync(nodes: Sequence[str], value: str) -> None:
    for url in nodes:
        async with Redis.from_url(url) as node:
            await node.config_set("appendfsync", value)


async def _landed(ground: Ground, sale: Sale) -> None:
    """Return once all orders are in Postgres, so that none of them are work in the next one's time."""
    ends_s = time.monotonic() + _LANDED_S_MAX
    while any(one.outbox for one in await stock.facts(ground.redis, sale.all_buckets)):
        if time.monotonic() > ends_s:
            raise SurroundingsError(f"The worker has not landed the orders within {_LANDED_S_MAX:.0f} s.")
        await asyncio.sleep(_LOOK_S)


def _conditions(stage: Stage) -> dict[str, Any]:
    few, many = stage.loads
    return {
        "generator": "asyncio",
        "connections": f"{few.connections} (few), {many.connections} (many)",
        "loop": "closed",
        "servers": f"{stage.servers}, appendonly yes, one bucket; Postgres with fsync",
        "appendfsync": f"{_EVERYSEC}, for {Level.FSYNCED} {_ALWAYS}",
        "processes": "one api, one worker, which lands at every level",
        "cores": f"not pinned, {os.cpu_count()} there for all of it",
        "seed": "none: fans are numbered",
    }
