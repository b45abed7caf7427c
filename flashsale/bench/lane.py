"""Suite lane: the Python part of a press by itself, against that of a constant. Sockets and Valkey are replaced by
memory, so nothing here says how fast the product is; it says where its microseconds go, with little noise.

A request is given to the server's protocol as bytes and counts when the reply has been written. Steps are timed one by
one, best of several; what they leave over is uvicorn's parser and loop, and the calls between the steps.
"""

import asyncio
import secrets
import time
import timeit
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from flashsale import clock, purchase, rights
from flashsale.api import answers
from flashsale.api.connections import Connections
from flashsale.api.hot import Hot
from flashsale.api.picture import Pictures
from flashsale.api.protection import Protection
from flashsale.api.protocol import HotProtocol
from flashsale.bench.crowd import OPEN, SOLD_OUT, Crowd, sales_of
from flashsale.bench.generators import Press
from flashsale.bench.ground import Ground, fans
from flashsale.bench.programs import bare
from flashsale.bench.report import Metric, compared
from flashsale.bench.rounds import Contender, Run, interleaved
from flashsale.durability import Level
from flashsale.metrics import api_metrics
from flashsale.outcomes import Outcome
from flashsale.purchase import Purchases
from flashsale.rights import RightKeys
from flashsale.stores import Stores

BARE: Final = "bare ASGI in memory"
PRESS: Final = "press in memory"
REFUSAL: Final = "refusal in memory"
CONNECTIONS: Final = 256
REQUESTS: Final = 20_000
_HALF: Final = CONNECTIONS // 2  # one half is decided while the other presses, as over sockets
_TURNS_MAX: Final = 100
_STEP_CALLS: Final = 20_000
_STEP_REPEATS: Final = 5
_ACCEPTED_MS: Final = 1_385_611_200_000


class Wire:
    """A transport that forgets what is written to it."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: bytes) -> None:
        """Count it."""
        self.written += 1

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Addresses of loopback."""
        return {"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.1", 9)}.get(name, default)

    def is_closing(self) -> bool:
        """It stays."""
        return False

    def resume_reading(self) -> None:
        """It never paused."""


class Store:
    """Commands that are answered at once: every press in a batch wins."""

    def __init__(self) -> None:
        self._unit = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The reply of purchase.lua to so many lines."""
        keys, first = int(args[2]), 4  # EVALSHA, hash, number of keys; then keys, the item, the lines
        reply: list[int] = [_ACCEPTED_MS]
        for _ in args[first + keys :]:
            self._unit += 1
            reply += (Outcome.WON.value, self._unit)
        await asyncio.sleep(0)
        return reply


class Lane:
    """The product's protocol, or a bare one, with connections in memory."""

    def __init__(self, protocol: type[HttpToolsProtocol], app: Any, requests: Sequence[bytes]) -> None:
        config = Config(
            app, interface="asgi3", http=protocol, ws="none", lifespan="off", log_level="warning", access_log=False,
            server_header=False, proxy_headers=False,
        )  # fmt: skip
        config.load()
        state = ServerState()
        state.default_headers = [(b"date", b"Thu, 28 Nov 2013 04:00:00 GMT")]
        loop = asyncio.get_running_loop()
        self._requests = requests
        self._lines: list[tuple[HttpToolsProtocol, Wire]] = []
        for _ in range(CONNECTIONS):
            line, wire = protocol(config=config, server_state=state, app_state={}, _loop=loop), Wire()
            line.connection_made(cast(Any, wire))
            self._lines.append((line, wire))

    async def once(self) -> Run:
        """All requests once, by half of the connections at a time."""
        before, cpu, began = self._written, time.process_time(), time.perf_counter()
        for at in range(0, len(self._requests), _HALF):
            half = self._lines[:_HALF] if at // _HALF % 2 else self._lines[_HALF:]
            wanted = self._written_by(half) + len(self._requests[at : at + _HALF])
            for request, (line, _) in zip(self._requests[at : at + _HALF], half, strict=False):
                line.data_received(request)
            for _ in range(_TURNS_MAX):
                await asyncio.sleep(0)
                if self._written_by(half) >= wanted:
                    break
        spent, seconds = time.process_time() - cpu, time.perf_counter() - began
        assert self._written - before >= len(self._requests), "a request was not answered"
        return Run(len(self._requests), seconds, spent)

    @property
    def _written(self) -> int:
        return self._written_by(self._lines)

    @staticmethod
    def _written_by(lines: Sequence[tuple[HttpToolsProtocol, Wire]]) -> int:
        return sum(wire.written for _, wire in lines)


class App:
    """The product's application as far as its protocol asks for it."""

    def __init__(self, lane: Hot) -> None:
        self.hot = lane
        self.connections = Connections(api_metrics())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """By ASGI, as under another server."""
        await self.hot(scope, receive, send)


async def run(ground: Ground, *, rounds: int, on_progress: Callable[[str], None]) -> list[Metric]:
    """A press and an early refusal against a constant, and what each step of a press takes."""
    keys = RightKeys({"k1": secrets.token_bytes(rights.KEY_BYTES)})
    crowd = Crowd(keys, await sales_of(ground))
    pictures = Pictures(Stores(redis=ground.redis, postgres=ground.postgres))
    await pictures.begin()
    keeping = asyncio.create_task(pictures.keep())
    try:
        return await _measured(crowd, keys, pictures, rounds=rounds, on_progress=on_progress)
    finally:
        pictures.stop()
        await keeping


async def _measured(
    crowd: Crowd, keys: RightKeys, pictures: Pictures, *, rounds: int, on_progress: Callable[[str], None]
) -> list[Metric]:
    lane = _hot(pictures, keys)
    crowd.renew(REQUESTS)
    sold_out = [crowd.press(SOLD_OUT, fan) for fan in fans(_HALF)]
    lanes = {
        BARE: Lane(HttpToolsProtocol, bare, _bytes_of(crowd.presses)),
        PRESS: Lane(HotProtocol, App(lane), _bytes_of(crowd.presses)),
        REFUSAL: Lane(HotProtocol, App(lane), _bytes_of(sold_out) * (REQUESTS // _HALF)),
    }
    contenders = [Contender(name, one.once) for name, one in lanes.items()]
    runs = await interleaved(contenders, rounds=rounds, on_progress=lambda what: on_progress(f"lane, {what}"))
    on_progress("lane, steps")
    conditions = {"connections": CONNECTIONS, "batch": _HALF, "sockets and Valkey": "replaced by memory"}
    steps = _steps(crowd.presses[0], lane, keys, pictures)
    taken = {"steps_us": {name: _step_us(step) for name, step in steps.items()}}
    return [
        metric
        for name, ours, more in (("press", PRESS, taken), ("refusal", REFUSAL, {}))
        for metric in compared(
            "lane", name, ours=runs[ours], reference=runs[BARE], reference_name=BARE, unit="requests/s",
            conditions=conditions | more,
        )
    ]  # fmt: skip


def _hot(pictures: Pictures, keys: RightKeys) -> Hot:
    nothing, metrics = cast(Any, None), api_metrics()
    return Hot(
        below=nothing, pictures=pictures, purchases=Purchases(Store(), on_batch=metrics.batch), confirmations=nothing,
        entrance=nothing, challenges=nothing, protection=Protection(metrics, fan_per_s=1000, address_per_s=0),
        right_keys=keys, metrics=metrics, looks=nothing,
    )  # fmt: skip


def _bytes_of(presses: Sequence[Press]) -> list[bytes]:
    return [
        f"POST {one.path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nauthorization: Right {one.right}\r\n"
        f"idempotency-key: {one.key}\r\n\r\n".encode()
        for one in presses
    ]


def _steps(press: Press, lane: Hot, keys: RightKeys, pictures: Pictures) -> dict[str, Callable[[], Any]]:
    """The steps of a press that stand by themselves, by name."""
    target, order = pictures.targets[press.path], purchase.new_order()
    right = cast(rights.Right, keys.check(press.right, sale=OPEN, now_s=clock.now_s()))
    decided = (_ACCEPTED_MS, Outcome.WON.value, 7, Level.ACCEPTED)
    answer = purchase.answer_of(order, decided)
    protection, told = lane._protection, answers.told  # noqa: SLF001 -- its own bench
    others = cycle(fans(_STEP_CALLS))
    return {
        "right checked": lambda: keys.check(press.right, sale=OPEN, now_s=0.0),
        "fan counted": lambda: protection.slowed(next(others)),
        "order numbered": purchase.new_order,
        "key digested": lambda: purchase.key_digest(press.key),
        "line written": lambda: purchase.attempt_line(
            order=order, key="0" * 16, fan=right.fan, channel=right.channel, lane=right.lane
        ),
        "answer read": lambda: purchase.answer_of(order, decided),
        "reply written": lambda: told(target, answer),
    }


def _step_us(step: Callable[[], Any]) -> float:
    return round(min(timeit.repeat(step, number=_STEP_CALLS, repeat=_STEP_REPEATS)) / _STEP_CALLS * 1e6, 2)
