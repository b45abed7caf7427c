"""A proxy between the api and Valkey, in a thread of its own: it delays, cuts, and drops replies of requests that went
through. What is dropped is counted, since a fault that hit nothing shows nothing."""

import asyncio
import random
import threading
from contextlib import suppress
from typing import Final, Self

_READ: Final = 1 << 16


class Proxy:
    """All attributes may be changed at any time, from any thread.

    delay_s: before each reply; drop: share of the purchase calls whose reply is dropped, the socket then broken;
    hold_others_s: before each reply to what is not a purchase call, so that pictures become old. purchase: the marks by
    which a purchase call is known. dropped, cut, delayed: how often it was done.
    """

    def __init__(self, upstream: str, *, marks: tuple[bytes, ...], seed: int) -> None:
        self._upstream = upstream
        self._marks = marks
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.delay_s = self.hold_others_s = self.drop = 0.0
        self.dropped = self.cut = self.delayed = self.held = 0

    @property
    def url(self) -> str:
        """Where a client finds it."""
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *trouble: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut_all(self) -> None:
        """Break every socket to a client, and wait until it is done."""
        asyncio.run_coroutine_threadsafe(self._cut_all(), self._loop).result(10)

    async def _cut_all(self) -> None:
        for client in tuple(self._clients):
            client.transport.abort()
            self.cut += 1

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._clients.add(client)
        server: asyncio.StreamWriter | None = None
        purchases = _Asked()
        try:
            server_reader, server = await self._connect()
            ways = [
                asyncio.create_task(self._requests(reader, server, purchases)),
                asyncio.create_task(self._replies(server_reader, client, purchases)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # Valkey is away, or the proxy ends: the client's socket breaks, as it would without us.
        finally:
            client.transport.abort()
            if server is not None:
                server.transport.abort()
            self._clients.discard(client)
            self._tasks.discard(task)

    async def _requests(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, asked: "_Asked") -> None:
        with suppress(ConnectionError):
            while data := await reader.read(_READ):
                if any(mark in data for mark in self._marks):
                    asked.purchase = True
                server.write(data)
                await server.drain()

    async def _replies(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, asked: "_Asked") -> None:
        with suppress(ConnectionError):
            while data := await reader.read(_READ):
                if asked.purchase and self._random.random() < self.drop:
                    self.dropped += 1
                    return  # It went through; nobody will hear of it on this socket.
                if self.delay_s:
                    self.delayed += 1
                    await asyncio.sleep(self.delay_s)
                if self.hold_others_s and not asked.purchase:
                    self.held += 1
                    await asyncio.sleep(self.hold_others_s)
                client.write(data)
                await client.drain()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream.startswith("unix://"):
            return await asyncio.open_unix_connection(self._upstream.removeprefix("unix://"))
        host, _, port = self._upstream.removeprefix("redis://").partition(":")
        return await asyncio.open_connection(host, int(port.partition("/")[0]))


class _Asked:
    """Whether a socket carries purchase calls: the api keeps one ordered socket for its hot scripts."""

    __slots__ = ("purchase",)

    def __init__(self) -> None:
        self.purchase = False
