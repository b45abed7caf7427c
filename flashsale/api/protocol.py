"""uvicorn's own HTTP protocol, with a short way for what is hot.

An ASGI server makes a scope, a cycle, an event and a task for each request, and writes head and body one after the
other. What the hot lane can answer from method, path and headers needs none of them: it is answered from here, at once
or when its batch is decided, by one write. All else goes uvicorn's own way; without this protocol all of it does.

A client that sends too large a head is refused here; one that keeps the process waiting is found by api/connections.

What this knows of uvicorn: the callbacks of its parser, and the few attributes of a cycle that stand in _Short.
"""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from flashsale import limits
from flashsale.api import replies
from flashsale.api.connections import Awaited
from flashsale.api.hot import Hot, Press
from flashsale.api.replies import Reply

_STATUS_LINES: Final = {one.value: b"HTTP/1.1 %d %s\r\n" % (one.value, one.phrase.encode()) for one in HTTPStatus}


class _NobodyWaits:
    """In place of a cycle's event."""

    def set(self) -> None:
        """Nothing to wake up."""


class _Short:
    """A request on the short way, as the rest of uvicorn's protocol looks at the cycle of a request."""

    __slots__ = ("disconnected", "keep_alive", "more_body", "press", "response_complete")
    message_event: ClassVar = _NobodyWaits()

    def __init__(self, press: Press | None) -> None:
        self.press = press
        self.keep_alive = self.more_body = True
        self.disconnected = False
        self.response_complete = press is None


_ANSWERED: Final = _Short(None)


class HotProtocol(HttpToolsProtocol):
    """One connection of a client. The application has the properties hot and connections."""

    _stamp: ClassVar[tuple[Any, bytes]] = (None, b"")
    cycle: Any
    # Of the newest request: its number, whether its head is still to come, whether all of it has come.
    begun = 0
    _in_head = False
    _whole = True
    # How much of a head has come in chunks before this one, and how large this one is.
    _head_bytes = _chunk_bytes = 0
    turn: tuple[Awaited | None, int] = (None, 0)
    looks = 0
    _hot: Hot | None = None
    _peer = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the loop. With all places taken, the connection is cut off."""
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        # Without one, all goes the long way.
        if not self.root_path and self.limit_concurrency is None:
            self._hot = getattr(self.app, "hot", None)
        if not self.app.connections.has_place(len(self.connections)):
            transport.abort()

    @property
    def awaited(self) -> Awaited | None:
        """What the client is waited for; None while it waits for us."""
        if self.flow.write_paused:
            return Awaited.READ
        if self._in_head:
            return Awaited.HEAD
        if not self._whole:
            return Awaited.BODY
        return Awaited.IDLE if self.cycle is None or self.cycle.response_complete else None

    def end(self, awaited: Awaited) -> bool:
        """Hang up on a client that was waited for too long; False when it is gone already."""
        if self.transport.is_closing():
            return False
        if self._can_be_told(awaited):
            self.transport.write(self._bytes_of(replies.TOO_SLOW, keep_alive=False))
            self.transport.close()
        else:
            self.transport.abort()
        return True

    def _can_be_told(self, awaited: Awaited) -> bool:
        """Whether the request that did not come whole can be answered: nothing else is under way, nor was it before."""
        answered = self.cycle is None or self.cycle.response_complete
        if awaited is Awaited.HEAD:
            return self._in_head and answered
        return awaited is Awaited.BODY and not answered and not self.cycle.response_started

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._chunk_bytes = len(data)
        super().data_received(data)
        if self._in_head:
            # One that ends a long chunk may have begun near its end: it is counted from the next one on.
            self._head_bytes += self._chunk_bytes if self._chunk_bytes <= limits.HEAD_BYTES_MAX else 0
            if self._head_bytes > limits.HEAD_BYTES_MAX:
                self._refuse_head()

    def _refuse_head(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(self._bytes_of(replies.HEAD_TOO_LARGE, keep_alive=False))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop. A press that still waits for its turn is not made."""
        if isinstance(self.cycle, _Short) and self.cycle.press is not None and not self.cycle.response_complete:
            self.cycle.press.decided.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Called by the parser. The scope is made when it is known that somebody needs it."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.begun += 1
        self._in_head, self._whole, self._head_bytes = True, False, 0

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._whole = True
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._in_head = False
        if self._head_bytes + self._chunk_bytes > limits.HEAD_BYTES_MAX and self._head_too_large():
            self._refuse_head()
        if self.transport.is_closing():
            self.cycle = self.cycle or _ANSWERED
            return
        begun = self._begun()
        if isinstance(begun, Reply):
            self.cycle = _ANSWERED
            self._write(begun)
        elif isinstance(begun, Press):
            self.cycle = _Short(begun)
            begun.decided.add_done_callback(partial(self._decided, self.cycle))
        else:
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()  # makes the scope, and begins url and headers anew
            self.url, self.expect_100_continue = url, expects
            self.headers += headers
            super().on_headers_complete()

    def _begun(self) -> Reply | Press | None:
        """What the hot lane makes of the request; None where it has to go the long way: it has more to it than method,
        path and headers, one before it is under way, the connection is to be closed, the client does not read, the path
        is not written plainly."""
        parser, hot, url = self.parser, self._hot, self.url
        if hot is None or self.flow.write_paused or not (self.cycle is None or self.cycle.response_complete):
            return None
        method = parser.get_method()
        if method == b"HEAD" or parser.get_http_version() != "1.1":
            return None
        if parser.should_upgrade() or not parser.should_keep_alive() or b"%" in url or b"#" in url:
            return None
        path, _, query = url.partition(b"?")
        return hot.begin(method.decode(), path.decode("latin-1"), query, self.headers, peer=self._peer)

    def _head_too_large(self) -> bool:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > limits.HEAD_BYTES_MAX

    def on_response_complete(self) -> None:
        """Called when a request is answered: as uvicorn's own, without its timer (api/connections looks instead)."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """A client that wants another protocol is answered in this one; that is nothing to log."""

    def _decided(self, short: _Short, decided: "asyncio.Future[Any]") -> None:
        if short.disconnected:
            return
        reply = self.app.hot.end(short.press)
        if reply is not None:
            self._complete(short, reply)
            return
        task = self.loop.create_task(self._finish(short))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _finish(self, short: _Short) -> None:
        reply = await self.app.hot.finish(short.press)
        if not short.disconnected:
            self._complete(short, reply)

    def _complete(self, short: _Short, reply: Reply) -> None:
        short.response_complete = True
        self._write(reply, keep_alive=short.keep_alive)

    def _write(self, reply: Reply, *, keep_alive: bool = True) -> None:
        self.transport.write(self._bytes_of(reply, keep_alive=keep_alive))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _bytes_of(self, reply: Reply, *, keep_alive: bool) -> bytes:
        headers = self.server_state.default_headers
        if HotProtocol._stamp[0] is not headers:
            HotProtocol._stamp = (headers, b"".join(b"%s: %s\r\n" % header for header in headers))
        close = b"" if keep_alive else b"connection: close\r\n"
        return b"".join((_STATUS_LINES[reply.status], HotProtocol._stamp[1], close, reply.wire))
