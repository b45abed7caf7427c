"""uvicorn's own HTTP protocol, with a short way for what is hot.

An ASGI server makes a scope, a cycle, an event and a task for each request, and writes head and body one after the
other. What the hot lane can answer from method, path and headers needs none of them: it is answered from here, at once
or when its batch is decided, by one write. All else goes uvicorn's own way; without this protocol all of it does.

What this knows of uvicorn: the callbacks of its parser, and the few attributes of a cycle that stand in _Short.
"""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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
    """One connection of a client. The application has a property hot."""

    _stamp: ClassVar[tuple[Any, bytes]] = (None, b"")
    cycle: Any

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

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        begun = self._begun()
        if isinstance(begun, Reply):
            self.cycle = _ANSWERED
            self._write(begun)
        elif isinstance(begun, Press):
            self.cycle = _Short(begun)
            begun.decided.add_done_callback(partial(self._decided, self.cycle))
        else:
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expects
            self.headers += headers
            super().on_headers_complete()

    def _begun(self) -> Reply | Press | None:
        """What the hot lane makes of the request; None where it has to go the long way: it has more to it than method,
        path and headers, one before it is under way, the connection is to be closed, the client does not read, the path
        is not written plainly."""
        parser, hot = self.parser, cast("Hot | None", getattr(self.app, "hot", None))
        if hot is None or self.root_path or self.limit_concurrency is not None or self.flow.write_paused:
            return None
        if not (self.cycle is None or self.cycle.response_complete):
            return None
        method = parser.get_method()
        if method == b"HEAD" or parser.get_http_version() != "1.1":
            return None
        if parser.should_upgrade() or not parser.should_keep_alive() or b"%" in self.url or b"#" in self.url:
            return None
        path, _, query = self.url.partition(b"?")
        return hot.begin(method.decode(), path.decode("latin-1"), query, self.headers)

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
        headers = self.server_state.default_headers
        if HotProtocol._stamp[0] is not headers:
            HotProtocol._stamp = (headers, b"".join(b"%s: %s\r\n" % header for header in headers))
        close = b"" if keep_alive else b"connection: close\r\n"
        self.transport.write(b"".join((_STATUS_LINES[reply.status], HotProtocol._stamp[1], close, reply.wire)))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()
