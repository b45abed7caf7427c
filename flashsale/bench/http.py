"""Suite http: the whole way of a purchase over HTTP, against a bare server and against the usual way.

All programs run under the same uvicorn on one core; the generator and Valkey share another. On a release day a process
has thousands of connections, so it is busy: 256 keep it so. With a quarter of them it waits for its own batches now and
then; that is measured as well (purchase_few), against a bare server with as few. Every request has its own fan, right
and Idempotency-Key, and every one of them must win; a refusal is one of three that the process gives by itself: sold
out, not open yet, and a right with a wrong signature.
"""

import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from flashsale import outbox, rights
from flashsale.bench.crowd import OPEN, Crowd, sales_of
from flashsale.bench.generators import CONNECTIONS, FEW, Generator, Press, Pressed, generator
from flashsale.bench.ground import Ground
from flashsale.bench.processes import Cores, cpu_s, pin, pinned_here, two_cores
from flashsale.bench.report import Metric, compared
from flashsale.bench.rounds import Contender, Run, busy, interleaved
from flashsale.bench.uvicorns import Program, answering, environment_of, reference, running
from flashsale.config import parse_right_keys
from flashsale.errors import InvariantError
from flashsale.keys import Bucket
from flashsale.limits import OUTBOX_ENTRIES_PER_READ

BARE: Final = "bare ASGI"
USUAL: Final = "the usual way"
OURS: Final = "purchase"
BARE_FEW: Final = "bare ASGI, few connections"
OURS_FEW: Final = "purchase, few connections"
REFUSED: Final = "refusal"
PROGRAMS: Final = {
    BARE: reference("flashsale.bench.programs:bare_program"),
    USUAL: reference("flashsale.bench.programs:usual"),
    OURS: ["-m", "flashsale", "serve", "--processes", "1", "--host", "127.0.0.1"],
}
REFUSALS: Final = 3_000
_RATE_AT_FIRST: Final = 30_000  # presses to bring for each second before any rate is known
_ROOM: Final = 1.5
_ROUND_S: Final = 2.0
_FEW_S: Final = 1.0
_WARM_UP_S: Final = 1.0


class Presses:
    """Makes ready and does the work of each contender."""

    def __init__(
        self, ground: Ground, *, crowd: Crowd, programs: dict[str, Program], generator: Generator, few: Generator
    ) -> None:
        self._ground = ground
        self._crowd = crowd
        self._programs = programs
        self._generator = generator
        self._few = few
        self._refused = crowd.refused(REFUSALS)
        self._warm: set[str] = set()
        self._rate = _RATE_AT_FIRST / _ROOM

    async def bare(self) -> Run:
        """A constant to new fans; the first of each round, so it brings them."""
        self._crowd.renew(round(self._rate * _ROOM * (_ROUND_S if self._warm else _WARM_UP_S)))
        return await self._press(BARE, BARE, self._crowd.presses, refused=False)

    async def usual(self) -> Run:
        """The usual way to the same fans."""
        return await self._press(USUAL, USUAL, self._crowd.presses, refused=False)

    async def ours(self) -> Run:
        """The product's server to the same fans, all of whom must win."""
        return await self._won(OURS)

    async def bare_few(self) -> Run:
        """A constant over few connections, to new fans."""
        self._crowd.renew(round(self._rate * _ROOM * _FEW_S))
        return await self._press(BARE_FEW, BARE, self._crowd.presses, refused=False)

    async def ours_few(self) -> Run:
        """The product's server to the same fans over few connections."""
        return await self._won(OURS_FEW)

    async def _won(self, name: str) -> Run:
        run = await self._press(name, OURS, self._crowd.presses, refused=False)
        if run.operations >= len(self._crowd.presses):
            raise InvariantError(f"{len(self._crowd.presses)} presses were too few; then wins are told again")
        self._rate = max(self._rate, run.rate)
        await _empty(self._ground, self._crowd.sales[OPEN].all_buckets[0])
        return run

    async def refusals(self) -> Run:
        """The product's server to those whom it must refuse; the same again and again, for nothing remembers them."""
        return await self._press(REFUSED, OURS, self._refused, refused=True)

    async def _press(self, name: str, program: str, presses: Sequence[Press], *, refused: bool) -> Run:
        server = self._programs[program]
        few = name in {BARE_FEW, OURS_FEW}
        duration_s = _FEW_S if few else _ROUND_S if name in self._warm else _WARM_UP_S
        self._warm.add(name)
        before = cpu_s([server.pid])
        pressed = await (self._few if few else self._generator).press(server.port, presses, duration_s=duration_s)
        after = cpu_s([server.pid])
        _check(name, pressed, refused=refused)
        return Run(pressed.answers, pressed.seconds, None if before is None or after is None else after - before)


def _check(name: str, pressed: Pressed, *, refused: bool) -> None:
    """A fast wrong answer is not measured."""
    wrong = pressed.answers - pressed.refused if refused else pressed.refused
    if pressed.broken or not pressed.answers or wrong:
        raise InvariantError(f"{name}: {wrong} wrong answers and {pressed.broken} broken of {pressed.answers}")


async def run(ground: Ground, *, rounds: int, on_progress: Callable[[str], None]) -> list[Metric]:
    """Purchases against both references, refusals against the bare one."""
    cores = two_cores()
    pin(ground.valkey_pid, cores.loading)
    with tempfile.TemporaryDirectory(prefix="flashsale-bench-") as folder:
        right_key = f"k1:{secrets.token_hex(rights.KEY_BYTES)}"
        crowd = Crowd(parse_right_keys(right_key), await sales_of(ground))
        presser, few = generator(Path(folder)), generator(Path(folder), connections=FEW)
        async with _programs(ground, Path(folder), right_key=right_key, cores=cores) as programs:
            presses = Presses(ground, crowd=crowd, programs=programs, generator=presser, few=few)
            contenders = [
                Contender(BARE, presses.bare),
                Contender(OURS, presses.ours),
                Contender(USUAL, presses.usual),
                Contender(REFUSED, presses.refusals),
                Contender(BARE_FEW, presses.bare_few),
                Contender(OURS_FEW, presses.ours_few),
            ]
            with pinned_here(cores.loading):
                runs = await interleaved(
                    contenders, rounds=rounds, on_progress=lambda what: on_progress(f"http, {what}")
                )
    conditions = _conditions(presser.name, pinned=cores.pinned)
    metrics = []
    for name, ours, reference_name in (
        ("purchase", OURS, BARE),
        ("purchase_usual", OURS, USUAL),
        ("refusal", REFUSED, BARE),
        ("purchase_few", OURS_FEW, BARE_FEW),
    ):
        metrics += compared(
            "http", name, ours=runs[ours], reference=runs[reference_name],
            reference_name=reference_name, unit="requests/s",
            conditions=conditions | {"connections": FEW if ours == OURS_FEW else CONNECTIONS}
            | {"busy": {one: busy(runs[one]) for one in (ours, reference_name)}},
        )  # fmt: skip
    return metrics


@asynccontextmanager
async def _programs(ground: Ground, folder: Path, *, right_key: str, cores: Cores) -> AsyncIterator[dict[str, Program]]:
    environment = environment_of(ground.addresses, folder=folder, right_key=right_key)
    with ExitStack() as ending:
        programs = {
            name: ending.enter_context(
                running(
                    name.replace(" ", "-"),
                    words,
                    environment=environment,
                    folder=folder,
                    core=cores.measured,
                )
            )
            for name, words in PROGRAMS.items()
        }
        for program in programs.values():
            await answering(program, folder=folder)
        yield programs


async def _empty(ground: Ground, bucket: Bucket) -> None:
    """Take the wins out of the outbox, as a worker would: else it would be full after some rounds."""
    while entries := await outbox.read(ground.redis, bucket, after="0", count=OUTBOX_ENTRIES_PER_READ):
        await outbox.trim(ground.redis, bucket, entries)


def _conditions(generator_name: str, *, pinned: bool) -> dict[str, Any]:
    return {
        "generator": generator_name,
        "loop": "closed",
        "cores": "server on one, generator and Valkey on another" if pinned else f"not pinned, {os.cpu_count()} there",
        "cpu": "the server program's",
        "seed": "none: fans are numbered",
    }
