"""Suite edge: "sold out" from nginx with the edge's own files and the product behind it, against the same nginx that
answers the same bytes as a constant; and presses that go through to the product and win. nginx runs alone on one core;
the generator, the api and Valkey share another.
"""

import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from flashsale import rights
from flashsale.api.replies import refusal
from flashsale.bench import nginx
from flashsale.bench.crowd import SOLD_OUT, Crowd, sales_of
from flashsale.bench.generators import CONNECTIONS, Generator, Press, generator
from flashsale.bench.ground import Ground, fans
from flashsale.bench.nginx import Nginx
from flashsale.bench.processes import Cores, cpu_s, pin, pinned_here, two_cores
from flashsale.bench.report import Metric, compared
from flashsale.bench.rounds import Contender, Run, busy, interleaved
from flashsale.bench.uvicorns import Program, answering, environment_of, running
from flashsale.config import parse_right_keys
from flashsale.errors import InvariantError
from flashsale.outcomes import Outcome

CONSTANT: Final = "nginx returning a constant"
EDGE: Final = "sold out"
PASSED: Final = "presses that go through"
FANS: Final = 3_000
ROUND_S: Final = 2.0
_PASSED_RATE_MAX: Final = 30_000  # presses to bring for each second; none may come twice


class Edges:
    """Does the work of each contender."""

    def __init__(self, servers: dict[str, Nginx], crowd: Crowd, generator: Generator, *, seconds: float) -> None:
        self._servers = servers
        self._crowd = crowd
        self._sold_out = [crowd.press(SOLD_OUT, fan) for fan in fans(FANS)]
        self._generator = generator
        self._seconds = seconds
        self.answers = 0

    async def constant(self) -> Run:
        """The constant."""
        return await self._press(CONSTANT, self._sold_out, refused=True)

    async def edge(self) -> Run:
        """The edge."""
        run = await self._press(EDGE, self._sold_out, refused=True)
        self.answers += run.operations
        return run

    async def passed(self) -> Run:
        """New fans through the edge, all of whom must win."""
        self._crowd.renew(round(_PASSED_RATE_MAX * self._seconds))
        return await self._press(EDGE, self._crowd.presses, refused=False)

    async def _press(self, name: str, presses: Sequence[Press], *, refused: bool) -> Run:
        server = self._servers[name]
        before = cpu_s(server.workers())
        pressed = await self._generator.press(server.port, presses, duration_s=self._seconds)
        after = cpu_s(server.workers())
        wrong = pressed.answers - pressed.refused if refused else pressed.refused
        if pressed.broken or not pressed.answers or wrong:
            raise InvariantError(f"{name}: {wrong} wrong answers and {pressed.broken} broken of {pressed.answers}")
        return Run(pressed.answers, pressed.seconds, None if before is None or after is None else after - before)


async def run(
    ground: Ground, *, rounds: int, on_progress: Callable[[str], None], seconds: float = ROUND_S
) -> list[Metric]:
    """Sold out at the edge. Raises SurroundingsError that says what to install where nginx is missing."""
    cores = two_cores()
    pin(ground.valkey_pid, cores.loading)
    with tempfile.TemporaryDirectory(prefix="flashsale-bench-") as name:
        folder = Path(name)
        presser = generator(folder)
        async with _api(ground, folder, cores=cores) as (api, crowd), _servers(folder, api, cores) as servers:
            edges = Edges(servers, crowd, presser, seconds=seconds)
            contenders = [
                Contender(CONSTANT, edges.constant),
                Contender(EDGE, edges.edge),
                Contender(PASSED, edges.passed),
            ]
            with pinned_here(cores.loading):
                runs = await interleaved(
                    contenders, rounds=rounds, on_progress=lambda what: on_progress(f"edge, {what}")
                )
            reached = await _reached(api)
    conditions: dict[str, Any] = {
        "generator": presser.name,
        "connections": CONNECTIONS,
        "loop": "closed",
        "cores": "nginx on one, generator, api and Valkey on another" if cores.pinned else "not pinned",
        "cpu": "nginx's worker's",
        "reached_the_app": reached,
        "answers": edges.answers,
    }
    return [
        metric
        for name, ours in (("sold_out", EDGE), ("passed", PASSED))
        for metric in compared(
            "edge", name, ours=runs[ours], reference=runs[CONSTANT], reference_name=CONSTANT, unit="requests/s",
            conditions=conditions | {"busy": {one: busy(runs[one]) for one in (ours, CONSTANT)}},
        )
    ]  # fmt: skip


@asynccontextmanager
async def _api(ground: Ground, folder: Path, *, cores: Cores) -> AsyncIterator[tuple[Program, Crowd]]:
    """The product, and who presses."""
    right_key = f"k1:{secrets.token_hex(rights.KEY_BYTES)}"
    crowd = Crowd(parse_right_keys(right_key), await sales_of(ground))
    environment = environment_of(ground.addresses, folder=folder, right_key=right_key)
    words = ["-m", "flashsale", "serve", "--processes", "1", "--host", "127.0.0.1"]
    with running("api", words, environment=environment, folder=folder, core=cores.loading) as api:
        await answering(api, folder=folder)
        yield api, crowd


@asynccontextmanager
async def _servers(folder: Path, api: Program, cores: Cores) -> AsyncIterator[dict[str, Nginx]]:
    told = refusal(Outcome.SOLD_OUT)
    content_type = dict(told.headers)[b"content-type"].decode()
    body = told.body.decode()
    with ExitStack() as ending:
        servers = {
            EDGE: ending.enter_context(nginx.edge(folder / "edge", api_port=api.port, workers=1)),
            CONSTANT: ending.enter_context(
                nginx.constant(folder / "constant", status=told.status, content_type=content_type, body=body)
            ),
        }
        for server in servers.values():
            for worker in server.workers():
                pin(worker, cores.measured)
        yield servers


async def _reached(api: Program) -> int:
    """How many presses the app itself has answered."""
    async with httpx.AsyncClient(timeout=10) as client:
        told = (await client.get(f"http://127.0.0.1:{api.port}/metrics")).text
    name = f'flashsale_purchase_refused_early_total{{outcome="{Outcome.SOLD_OUT.name}"}} '
    (line,) = [line for line in told.splitlines() if line.startswith(name)]
    return int(float(line.removeprefix(name)))
