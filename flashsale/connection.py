"""The ordered connection: one socket to a bucket's primary, for the scripts that fans wait for.

A general client takes a connection from a pool, packs, reads through streams and gives it back: some 80 µs a call. The
hot scripts need none of it: calls go out in order over one socket and their replies come back in that order. Calls
made while others are on their way are sent at once behind them.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis
from redis import exceptions
from redis.asyncio.connection import parse_url

from flashsale import limits


class OrderedConnection:
    """Sends commands over one socket; connects at the first one and again after trouble.

    Raises what redis-py raises: ConnectionError and TimeoutError when it is not known whether the command had its
    effect, ResponseError when the server refused it.
    """

    def __init__(self, url: str, *, timeout_s: float = limits.CALL_TIMEOUT_S) -> None:
        self._facts = cast("dict[str, Any]", parse_url(url))
        self._timeout_s = timeout_s
        self._socket: _Socket | None = None
        self._connecting = asyncio.Lock()

    async def execute_command(self, *args: str | int | bytes, **options: Any) -> Any:
        """Send one command and wait for its reply."""
        socket = self._socket
        if socket is None or socket.broken:
            socket = await self._connected()
        return await self._awaited(socket, socket.send(args))

    async def execute_together(self, *commands: Sequence[str | int | bytes]) -> list[Any]:
        """Send commands one right behind the other; their replies in order.

        A refusal of one by the server stands in its place, so that what the others did is known.
        """
        socket = self._socket
        if socket is None or socket.broken:
            socket = await self._connected()
        replies = [socket.send(command) for command in commands]
        try:
            return [await self._told(socket, reply) for reply in replies]
        finally:
            for reply in replies:
                reply.cancel()  # whoever waited for the first has its trouble; nobody asks after the others

    async def _told(self, socket: "_Socket", reply: "asyncio.Future[Any]") -> Any:
        try:
            return await self._awaited(socket, reply)
        except exceptions.ResponseError as refusal:
            return refusal

    async def _awaited(self, socket: "_Socket", reply: "asyncio.Future[Any]") -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await reply
        except TimeoutError as trouble:
            # Replies come in order: one that is late makes the whole socket useless.
            socket.close()
            raise exceptions.TimeoutError(f"no reply within {self._timeout_s} s") from trouble

    async def aclose(self) -> None:
        """Close the socket. A later command opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _connected(self) -> "_Socket":
        """The socket, connected. Who waits for another's attempt waits no longer than for one of their own."""
        try:
            async with asyncio.timeout(self._timeout_s), self._connecting:
                if self._socket is None or self._socket.broken:
                    self._socket = await self._connect()
                return self._socket
        except (OSError, TimeoutError) as trouble:
            raise exceptions.ConnectionError(f"can't connect: {trouble}") from trouble

    async def _connect(self) -> "_Socket":
        loop, facts = asyncio.get_running_loop(), self._facts
        if "path" in facts:
            _, socket = await loop.create_unix_connection(_Socket, facts["path"])
        else:
            secure = _secure(facts) if "connection_class" in facts else None
            host, port = facts.get("host", "127.0.0.1"), facts.get("port", 6379)
            _, socket = await loop.create_connection(_Socket, host, port, ssl=secure)
        try:
            if facts.get("password"):
                user = (facts["username"],) if facts.get("username") else ()
                await socket.send(("AUTH", *user, facts["password"]))
            if facts.get("db"):
                await socket.send(("SELECT", facts["db"]))
        except BaseException:
            socket.close()
            raise
        return socket


class _Socket(asyncio.Protocol):
    """The socket itself: a queue of futures, one for each reply that is awaited."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(replyError=_error)
        self._awaited: deque[asyncio.Future[Any]] = deque()
        self._loop = asyncio.get_running_loop()
        self.broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken = True
        while self._awaited:
            reply = self._awaited.popleft()
            if not reply.done():
                reply.set_exception(
                    exceptions.ConnectionError(f"the connection broke: {exc or 'closed by the server'}")
                )

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (value := self._reader.gets()) is not False:
            reply = self._awaited.popleft()
            if reply.done():
                continue
            if isinstance(value, Exception):
                reply.set_exception(value)
            else:
                reply.set_result(value)

    def send(self, args: Sequence[str | int | bytes]) -> "asyncio.Future[Any]":
        """Write a command; the future gets its reply."""
        if self.broken or self._transport is None:
            raise exceptions.ConnectionError("the connection is closed")
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._awaited.append(reply)
        self._transport.write(hiredis.pack_command(cast("Any", tuple(args))))
        return reply

    def close(self) -> None:
        """Close it; whoever still waits is told."""
        self.broken = True
        if self._transport is not None:
            self._transport.abort()


def _secure(facts: dict[str, Any]) -> ssl.SSLContext:
    """TLS as a rediss:// address asks for it, with redis-py's names for the options."""
    context = ssl.create_default_context(cafile=facts.get("ssl_ca_certs"), capath=facts.get("ssl_ca_path"))
    if facts.get("ssl_certfile"):
        context.load_cert_chain(facts["ssl_certfile"], facts.get("ssl_keyfile"))
    if str(facts.get("ssl_check_hostname", True)).lower() == "false":
        context.check_hostname = False
    if facts.get("ssl_cert_reqs") == "none":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


# What a server says before it has done anything, and the exception for it; each takes the whole text, or, where the
# library reads an address out of it, what follows the first word.
_REFUSALS: Final[dict[str, Callable[[str], Exception]]] = {
    "NOSCRIPT": exceptions.NoScriptError,
    "OOM": exceptions.OutOfMemoryError,
    "NOAUTH": exceptions.AuthenticationError,
    "WRONGPASS": exceptions.AuthenticationError,
    "MOVED": exceptions.MovedError,
    "ASK": exceptions.AskError,
    "TRYAGAIN": exceptions.TryAgainError,
    "CLUSTERDOWN": exceptions.ClusterDownError,
    "MASTERDOWN": exceptions.MasterDownError,
    "READONLY": exceptions.ReadOnlyError,
    "LOADING": exceptions.BusyLoadingError,
}
_WITHOUT_FIRST_WORD: Final = {"NOSCRIPT", "MOVED", "ASK"}


def _error(text: str) -> Exception:
    """A server's refusal as redis-py would raise it."""
    kind, _, words = text.partition(" ")
    refusal = _REFUSALS.get(kind, exceptions.ResponseError)
    return refusal(words if kind in _WITHOUT_FIRST_WORD else text)
