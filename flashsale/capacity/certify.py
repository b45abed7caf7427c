"""Certifies a calibration: what it predicts for this machine under a mix, and what the machine then does.

Edge, api and Valkey share one core; the generator, the worker and Postgres have another. The prediction is the sum of
what each request of the mix costs on that core; nothing of it was measured with the parts together.
"""

import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any, Final

from flashsale import rights
from flashsale.bench import nginx
from flashsale.bench.crowd import OPEN, SOLD_OUT, Crowd, sales_of
from flashsale.bench.generators import Generator, Press, generator
from flashsale.bench.ground import Ground, fans, own_ground
from flashsale.bench.processes import Cores, cpu_s, pin, pinned_here, two_cores
from flashsale.bench.uvicorns import answering, environment_of, running
from flashsale.capacity.calibration import Calibration
from flashsale.capacity.mix import Mix
from flashsale.config import parse_right_keys
from flashsale.errors import InvariantError, SurroundingsError
from flashsale.rights import RightKeys

ROUNDS: Final = 5
ROUND_S: Final = 3.0
OFF_MAX: Final = 0.2
_RATE_MAX: Final = 40_000
_BLOCK: Final = 100  # requests, in which the mix comes out whole


@dataclass(frozen=True, slots=True)
class Certified:
    """predicted_s, measured_s: requests a second of one core that edge, api and Valkey share; predicted_us,
    measured_us: CPU of a request; busy: how much of the core was used; by_round: the measured rates."""

    predicted_s: float
    measured_s: float
    predicted_us: float
    measured_us: float
    busy: float
    by_round: Sequence[float]

    @property
    def off(self) -> float:
        """As a share: -0.1 is a tenth less than predicted."""
        return self.measured_s / self.predicted_s - 1

    @property
    def within(self) -> bool:
        """Whether the prediction is as good as it has to be."""
        return abs(self.off) <= OFF_MAX

    def as_data(self) -> dict[str, Any]:
        """As plain values."""
        return {name: getattr(self, name) for name in self.__slots__} | {"off": self.off, "within": self.within}

    def words(self) -> str:
        """For people."""
        return (
            f"Predicted for one core of edge, api and Valkey: {self.predicted_s:,.0f} requests/s, "
            f"{self.predicted_us:.1f} µs each. Measured: {self.measured_s:,.0f}/s, {self.measured_us:.1f} µs each, the "
            f"core {self.busy:.0%} busy. Off by {self.off:+.0%}, {'within' if self.within else 'NOT within'} "
            f"{OFF_MAX:.0%}."
        )


def predicted_us(mix: Mix, costs: Calibration) -> float:
    """What a request of the mix costs edge, api and Valkey together."""
    passed = mix.refused + mix.decided
    return (
        mix.kept * costs.edge_kept_us
        + passed * costs.edge_passed_us
        + mix.refused * costs.api_refusal_us
        + mix.decided * (costs.api_press_us + costs.valkey_win_us)
    )


async def certify(
    mix: Mix, costs: Calibration, *, on_progress: Callable[[str], None], rounds: int = ROUNDS, seconds: float = ROUND_S
) -> Certified:
    """Play the mix on servers of its own. Raises SurroundingsError without two cores, wrk's place or nginx;
    InvariantError for a wrong answer. Nothing is left behind."""
    cores = two_cores()
    if not cores.pinned:
        raise SurroundingsError("Certifying needs two cores of Linux: one that is measured, one that loads it.")
    on_progress("certify: starting servers")
    async with own_ground() as ground:
        with tempfile.TemporaryDirectory(prefix="flashsale-certify-") as name:
            runs = await _runs(ground, Path(name), mix, cores, on_progress=on_progress, rounds=rounds, seconds=seconds)
    cpu_us = median(cpu for _, cpu, _ in runs)
    expected_us = predicted_us(mix, costs)
    rates = [rate for rate, _, _ in runs]
    return Certified(
        predicted_s=1e6 / expected_us,
        measured_s=median(rates),
        predicted_us=expected_us,
        measured_us=cpu_us,
        busy=median(busy for _, _, busy in runs),
        by_round=[round(rate) for rate in rates],
    )


async def _runs(
    ground: Ground,
    folder: Path,
    mix: Mix,
    cores: Cores,
    *,
    on_progress: Callable[[str], None],
    rounds: int,
    seconds: float,
) -> list[tuple[float, float, float]]:
    """Rate, CPU µs of a request and the core's busy share of each round; the first, for warming up, is left out."""
    right_key = f"k1:{secrets.token_hex(rights.KEY_BYTES)}"
    crowd = Crowd(parse_right_keys(right_key), await sales_of(ground))
    presser = generator(folder)
    pin(ground.valkey_pid, cores.measured)
    pin(ground.postgres_pid, cores.loading)
    runs = []
    async with _servers(ground, folder, right_key, cores) as (port, pids):
        with pinned_here(cores.loading):
            for number in range(rounds + 1):
                on_progress(f"certify: round {number} of {rounds}" if number else "certify: warm-up")
                presses = _presses(crowd, mix, round(_RATE_MAX * seconds))
                runs.append(await _round(presser, port, presses, [*pids, ground.valkey_pid], mix, seconds))
    return runs[1:]


async def _round(
    presser: Generator, port: int, presses: Sequence[Press], pids: Sequence[int], mix: Mix, seconds: float
) -> tuple[float, float, float]:
    before = cpu_s(pids)
    pressed = await presser.press(port, presses, duration_s=seconds)
    after = cpu_s(pids)
    assert before is not None
    assert after is not None
    won = pressed.answers - pressed.refused
    # A block of the mix may be cut off at either end of each connection.
    if pressed.broken or abs(won - pressed.answers * mix.decided) > max(2 * _BLOCK, pressed.answers * 0.02):
        raise InvariantError(f"{won} of {pressed.answers} won, {pressed.broken} broken; {mix.decided:.0%} should")
    cpu = after - before
    return pressed.answers / pressed.seconds, cpu / pressed.answers * 1e6, cpu / pressed.seconds


def _presses(crowd: Crowd, mix: Mix, number: int) -> list[Press]:
    """The mix in blocks: new fans on what is on sale, between those whom the edge and the api refuse."""
    crowd.renew(round(number * mix.decided) + _BLOCK)
    new, names = iter(crowd.presses), cycle(fans(_BLOCK))
    foreign = RightKeys({"k1": secrets.token_bytes(rights.KEY_BYTES)})
    decided, refused = round(mix.decided * _BLOCK), round(mix.refused * _BLOCK)
    block = ["decided"] * decided + ["refused"] * refused + ["kept"] * (_BLOCK - decided - refused)
    # Spread over the block, so that no kind comes in a row.
    order = sorted(range(_BLOCK), key=lambda at: (at * 61) % _BLOCK)
    made = []
    for at in range(number):
        match block[order[at % _BLOCK]]:
            case "decided":
                made.append(next(new))
            case "refused":
                made.append(crowd.press(OPEN, next(names), keys=foreign))
            case _:
                made.append(crowd.press(SOLD_OUT, next(names)))
    return made


@asynccontextmanager
async def _servers(ground: Ground, folder: Path, right_key: str, cores: Cores) -> AsyncIterator[tuple[int, list[int]]]:
    """Edge and api on the measured core, a worker on the other. The edge's port, and whose CPU counts."""
    environment = environment_of(ground.addresses, folder=folder, right_key=right_key)
    serve = ["-m", "flashsale", "serve", "--processes", "1", "--host", "127.0.0.1"]
    worker = ["-m", "flashsale", "worker"]
    with (
        running("api", serve, environment=environment, folder=folder, core=cores.measured) as api,
        running("worker", worker, environment=environment, folder=folder, core=cores.loading, listens=False),
    ):
        await answering(api, folder=folder)
        with _edge(folder, api.port, cores) as (port, workers):
            yield port, [api.pid, *workers]


@contextmanager
def _edge(folder: Path, api_port: int, cores: Cores) -> Iterator[tuple[int, list[int]]]:
    with nginx.edge(folder / "edge", api_port=api_port, workers=1) as edge:
        for worker in edge.workers():
            pin(worker, cores.measured)
        yield edge.port, edge.workers()
