"""A tiny api behind the edge: it says what a test tells it to, with the engine's own headers, and counts who asks."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flashsale.api.replies import Reply


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came through. Names of headers are in small letters."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(slots=True)
class Upstream:
    """What it answers, may be changed at any time; what it was asked so far. stream: sent piece by piece instead."""

    answer: Callable[[Asked], Reply]
    stream: Iterator[bytes] | None = None
    asked: list[Asked] = field(default_factory=list)
    port: int = 0


class _Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The edge hanging up is no trouble here."""


@contextmanager
def upstream(answer: Callable[[Asked], Reply]) -> Iterator[Upstream]:
    """Runs until the end of the block."""
    told = Upstream(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            asked = Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
            told.asked.append(asked)
            if told.stream is not None:
                self._send_stream(told.stream)
                return
            reply = told.answer(asked)
            self.send_response_only(reply.status)
            for name, value in reply.headers:
                self.send_header(name.decode(), value.decode())
            self.end_headers()
            self.wfile.write(reply.body)

        def do_GET(self) -> None:
            self.do_POST()

        def _send_stream(self, stream: Iterator[bytes]) -> None:
            self.send_response_only(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for piece in stream:
                self.wfile.write(piece)

        def log_message(self, *_: object) -> None:
            """Silent: asked tells it all."""

    with _Server(("127.0.0.1", 0), Handler) as server:
        told.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join(10)
