"""What presses: wrk where it is installed, else a small generator of our own in this process.

Both are closed loops: a connection sends its next request when it has the answer to the one before.
"""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import cycle
from pathlib import Path
from typing import Final, Protocol, cast

from flashsale.errors import SurroundingsError

CONNECTIONS: Final = 256  # as many as keep a server busy, who collects what comes at the same time
FEW: Final = 64
_SAID_BY_WRK: Final = "pressed "
_GRACE_S: Final = 30
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "
_FIRST_ERROR_STATUS: Final = 400


@dataclass(frozen=True, slots=True)
class Press:
    """One request: a purchase on that path with that right and key."""

    path: str
    right: str
    key: str


@dataclass(frozen=True, slots=True)
class Pressed:
    """What came of it. refused: answers with a status from 400 on; broken: connections that failed."""

    answers: int
    seconds: float
    refused: int
    broken: int


class Generator(Protocol):
    """Presses on a server of this machine."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    async def press(self, port: int, presses: Sequence[Press], *, duration_s: float) -> Pressed:
        """Send these in turn for so long, from the first again after the last."""


def generator(folder: Path, *, connections: int = CONNECTIONS) -> Generator:
    """wrk when it is on the path, else our own. folder: where wrk's requests are put."""
    found = shutil.which("wrk")
    return Wrk(Path(found), folder, connections) if found else Own(connections)


@dataclass(frozen=True, slots=True)
class Wrk:
    """The well-known generator, one thread."""

    program: Path
    folder: Path
    connections: int = CONNECTIONS

    @property
    def name(self) -> str:
        """What the report calls it."""
        return "wrk"

    async def press(self, port: int, presses: Sequence[Press], *, duration_s: float) -> Pressed:
        """See Generator. Raises SurroundingsError when wrk fails."""
        requests = self.folder / "requests"
        requests.write_text("".join(f"{one.path} {one.right} {one.key}\n" for one in presses))
        with as_file(files("flashsale.bench") / "wrk.lua") as script:
            process = await asyncio.create_subprocess_exec(
                self.program, "--threads", "1", "--connections", str(self.connections),
                "--duration", f"{duration_s:.0f}s", "--script", script, f"http://127.0.0.1:{port}/",
                "--", requests, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            try:
                told, _ = await asyncio.wait_for(process.communicate(), duration_s + _GRACE_S)
            finally:
                if process.returncode is None:
                    process.kill()
        return _told_by_wrk(told.decode(errors="replace"))


def _told_by_wrk(text: str) -> Pressed:
    lines = [line for line in text.splitlines() if line.startswith(_SAID_BY_WRK)]
    if not lines:
        raise SurroundingsError(f"wrk failed; take it off the path to use our own generator. It said: {text[-500:]}")
    answers, micros, refused, broken = (int(word) for word in lines[0].split()[1:])
    return Pressed(answers, micros / 1e6, refused, broken)


def _not_asked(seconds: float, body: bytes) -> None:
    """For who wants to know only how many answers there were."""


@dataclass(frozen=True, slots=True)
class Own:
    """A generator without anything to install. It costs more CPU than wrk, so the server may wait for it.

    on_answer: told of each answer's time, from the press on, and of its body.
    """

    connections: int = CONNECTIONS
    on_answer: Callable[[float, bytes], None] = _not_asked

    @property
    def name(self) -> str:
        """What the report calls it."""
        return "asyncio"

    async def press(self, port: int, presses: Sequence[Press], *, duration_s: float) -> Pressed:
        """See Generator."""
        requests = cycle([_request(one) for one in presses])
        loop = asyncio.get_running_loop()
        ends = time.perf_counter() + duration_s
        clients = [_Client(requests, ends=ends, on_answer=self.on_answer) for _ in range(self.connections)]
        started = time.perf_counter()
        for client in clients:
            await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.gather(*(client.ended for client in clients))
        seconds = time.perf_counter() - started
        answers, refused = sum(client.answers for client in clients), sum(client.refused for client in clients)
        return Pressed(answers, seconds, refused, sum(client.broken for client in clients))


class _Client(asyncio.Protocol):
    """One connection: the next request goes out when the answer before has come in."""

    def __init__(
        self, requests: Iterator[bytes], *, ends: float, on_answer: Callable[[float, bytes], None] = _not_asked
    ) -> None:
        self._requests = requests
        self._ends = ends
        self._on_answer = on_answer
        self._sent = 0.0
        self._got = b""
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answers = self.refused = self.broken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's don't say so of themselves
        self._send()

    def data_received(self, data: bytes) -> None:
        """Count the answer once it is whole, and send the next."""
        self._got += data
        head, found, body = self._got.partition(_HEAD_END)
        if not found or len(body) < _body_length(head):
            return
        self._got = b""
        self.answers += 1
        self.refused += int(head[9:12]) >= _FIRST_ERROR_STATUS
        self._on_answer(time.perf_counter() - self._sent, body)
        self._send()

    def connection_lost(self, trouble: Exception | None) -> None:
        """Lost before we hung up is broken."""
        if not self.ended.done():
            self.broken += 1
            self.ended.set_result(None)

    def _send(self) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        request = next(self._requests) if self._sent < self._ends else None
        if request is not None:
            self._transport.write(request)
            return
        self.ended.set_result(None)
        self._transport.close()


def _request(press: Press) -> bytes:
    return (
        f"POST {press.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n"
        f"authorization: Right {press.right}\r\nidempotency-key: {press.key}\r\n\r\n"
    ).encode()


def _body_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(_LENGTH)
    return int(rest.split(b"\r\n", 1)[0]) if found else 0
