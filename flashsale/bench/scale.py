"""Suite scale: what a purchase costs in CPU, api and Valkey together, when a sale is cut into 16 buckets instead of
one, and when eight api processes share the port instead of one. All are pinned to the same core each time, so that
nothing but the number changes; the crowd is the same. It is large enough for eight processes to be as busy as one
(CONNECTIONS of generators.py each): who cuts a sale for a small crowd pays for smaller batches.

What the processes take at rest, for their pictures of the sales, is measured before and taken off: it does not grow
with the purchases, and here eight share a core where each would have one of its own. It is told with the figure.
"""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import httpx

from flashsale import outbox, plan, rights
from flashsale.bench import generators
from flashsale.bench.crowd import Crowd
from flashsale.bench.generators import Generator, Press, generator
from flashsale.bench.ground import Ground, fans, plan_of
from flashsale.bench.processes import Cores, children_of, cpu_s, pin, pinned_here, two_cores
from flashsale.bench.report import Metric
from flashsale.bench.rounds import Contender, Run, cpu_ratios, interleaved, median_cpu_us
from flashsale.bench.uvicorns import Program, environment_of, free_port, running
from flashsale.config import parse_right_keys
from flashsale.errors import InvariantError, SurroundingsError
from flashsale.limits import OUTBOX_ENTRIES_PER_READ, UNITS_PER_ITEM_MAX
from flashsale.sale import Sale, Verb

BUCKETS: Final = 16
PROCESSES: Final = 8
CONNECTIONS: Final = PROCESSES * generators.CONNECTIONS
ONE: Final = "one bucket, one process"
CUT: Final = f"{BUCKETS} buckets"
TOGETHER: Final = f"{PROCESSES} processes"
ROUND_S: Final = 2.0
_RATE_MAX: Final = 45_000  # presses to bring for each second: more than one core has ever answered
_READY_S_MAX: Final = 60.0
_REST_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Setting:
    """Which sale is sold by which processes."""

    name: str
    sale: Sale
    program: Program
    processes: int

    def pids(self, valkey_pid: int) -> list[int]:
        """Whose CPU a purchase costs."""
        api = [self.program.pid] if self.processes == 1 else children_of(self.program.pid)
        return [*api, valkey_pid]


class Scales:
    """Does the work of each setting."""

    def __init__(self, ground: Ground, crowd: Crowd, presser: Generator, *, seconds: float, rate_max: int) -> None:
        self._ground = ground
        self._crowd = crowd
        self._presser = presser
        self._seconds = seconds
        self._at_rest: dict[str, float] = {}
        self._presses = round(rate_max * seconds)
        self._seen = 0

    async def rest(self, settings: Sequence[Setting]) -> dict[str, float]:
        """What each setting takes while nobody presses, in cores; it is taken off from then on."""
        pids = {setting.name: setting.pids(self._ground.valkey_pid) for setting in settings}
        before, began = {name: cpu_s(those) for name, those in pids.items()}, time.monotonic()
        await asyncio.sleep(_REST_S)
        seconds = time.monotonic() - began
        for name, those in pids.items():
            spent, earlier = cpu_s(those), before[name]
            self._at_rest[name] = 0.0 if spent is None or earlier is None else (spent - earlier) / seconds
        return {name: round(cores, 3) for name, cores in self._at_rest.items()}

    async def once(self, setting: Setting) -> Run:
        """New fans, all of whom must win."""
        presses = self._fresh(setting.sale.sale)
        pids = setting.pids(self._ground.valkey_pid)
        before = cpu_s(pids)
        pressed = await self._presser.press(setting.program.port, presses, duration_s=self._seconds)
        after = cpu_s(pids)
        if pressed.broken or pressed.refused or not 0 < pressed.answers < len(presses):
            raise InvariantError(
                f"{setting.name}: {pressed.refused} refused, {pressed.broken} broken of {pressed.answers}, "
                f"{len(presses)} were brought"
            )
        await self._empty(setting.sale)
        rest_s = self._at_rest.get(setting.name, 0.0) * pressed.seconds
        spent = None if before is None or after is None else after - before - rest_s
        return Run(pressed.answers, pressed.seconds, spent)

    def _fresh(self, sale: str) -> list[Press]:
        names = fans(self._presses, first=self._seen)
        self._seen += self._presses
        return [self._crowd.press(sale, fan) for fan in names]

    async def _empty(self, sale: Sale) -> None:
        for bucket in sale.all_buckets:
            while entries := await outbox.read(self._ground.redis, bucket, after="0", count=OUTBOX_ENTRIES_PER_READ):
                await outbox.trim(self._ground.redis, bucket, entries)


async def run(
    ground: Ground,
    *,
    rounds: int,
    on_progress: Callable[[str], None],
    seconds: float = ROUND_S,
    rate_max: int = _RATE_MAX,
) -> list[Metric]:
    """CPU of a purchase in 16 buckets, and by eight processes, against one of each."""
    cores = two_cores()
    with tempfile.TemporaryDirectory(prefix="flashsale-bench-") as name:
        folder = Path(name)
        right_key = f"k1:{secrets.token_hex(rights.KEY_BYTES)}"
        one, cut = [await _opened(ground, buckets) for buckets in (1, BUCKETS)]
        crowd = Crowd(parse_right_keys(right_key), {sale.sale: sale for sale in (one, cut)})
        presser = generator(folder, connections=CONNECTIONS)
        scales = Scales(ground, crowd, presser, seconds=seconds, rate_max=rate_max)
        async with _programs(ground, folder, right_key=right_key, cores=cores) as (single, many):
            settings = [
                Setting(ONE, one, single, 1),
                Setting(CUT, cut, single, 1),
                Setting(TOGETHER, one, many, PROCESSES),
            ]
            contenders = [Contender(each.name, lambda each=each: scales.once(each)) for each in settings]  # type: ignore[misc]
            with pinned_here(cores.loading):
                on_progress("scale, at rest")
                at_rest = await scales.rest(settings)
                runs = await interleaved(
                    contenders, rounds=rounds, on_progress=lambda what: on_progress(f"scale, {what}")
                )
    said = {
        "generator": presser.name,
        "connections": CONNECTIONS,
        "loop": "closed",
        "cores": "apis and Valkey on one, generator on another" if cores.pinned else "not pinned",
        "cpu": "all api processes' and Valkey's",
    }
    return [
        metric
        for name, more in (("buckets", CUT), ("processes", TOGETHER))
        for metric in _metric(
            name, runs[more], runs[ONE], said | {"at_rest_cores": {each: at_rest[each] for each in (ONE, more)}}
        )
    ]


def _metric(name: str, more: Sequence[Run], one: Sequence[Run], said: dict[str, object]) -> list[Metric]:
    """None where the system does not tell CPU."""
    cpu, reference, by_round = median_cpu_us(more), median_cpu_us(one), cpu_ratios(more, one)
    if cpu is None or reference is None or not by_round:
        return []
    conditions = said | {"ratio_by_round": [round(ratio, 3) for ratio in by_round]}
    return [
        Metric("scale", name, cpu, "µs of CPU per purchase", ONE, reference, median(by_round), len(more), conditions)
    ]


async def _opened(ground: Ground, buckets: int) -> Sale:
    name = f"scale-{buckets}"
    written = plan_of(name, units=UNITS_PER_ITEM_MAX) | {"buckets": buckets}
    await ground.operations.create(plan.from_data(written))
    await ground.operations.load(name)
    return await ground.operations.move(name, Verb.OPEN)


@asynccontextmanager
async def _programs(
    ground: Ground, folder: Path, *, right_key: str, cores: Cores
) -> AsyncIterator[tuple[Program, Program]]:
    """One api process, and eight on one port. Pinned when they are up: their start is no part of the figure."""
    environment = environment_of(ground.addresses, folder=folder, right_key=right_key)
    serve = ["-m", "flashsale", "serve", "--host", "127.0.0.1", "--processes"]
    own = free_port()
    together = [*serve, str(PROCESSES), "--own-port", str(own)]
    with (
        running("single", [*serve, "1"], environment=environment, folder=folder) as single,
        running("together", together, environment=environment, folder=folder) as many,
    ):
        await _ready(single, single.port)
        for port in range(own, own + PROCESSES):
            await _ready(many, port)
        for pid in (single.pid, *children_of(many.pid), ground.valkey_pid):
            pin(pid, cores.measured)
        yield single, many


async def _ready(program: Program, port: int) -> None:
    """Return when an api process is. Raises SurroundingsError when that takes too long."""
    deadline = time.monotonic() + _READY_S_MAX
    async with httpx.AsyncClient(timeout=_READY_S_MAX) as client:
        while time.monotonic() < deadline and program.process.poll() is None:
            try:
                if (await client.get(f"http://127.0.0.1:{port}/readyz")).is_success:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)
    raise SurroundingsError(f"The api process on port {port} does not become ready; flashsale serve says why.")
