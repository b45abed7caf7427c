"""A proxy before a Valkey, in the test's own loop: it holds replies back, cuts them into pieces, and breaks sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from tests.support.waiting import turns

_READ: Final = 1 << 16


@dataclass(slots=True)
class Proxy:
    """What it does, may be changed at any time.

    flow: cleared, replies are held back; piece: replies are passed on in pieces of so many bytes (0: as they come);
    cut_after: after so many bytes of a reply the socket breaks, once; made: connections so far; open: those open now.
    """

    port: int = 0
    flow: asyncio.Event = field(default_factory=asyncio.Event)
    piece: int = 0
    cut_after: int | None = None
    made: int = 0
    held: int = 0
    clients: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where a client finds it."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self.clients)

    def cut(self) -> None:
        """Break every socket to a client."""
        for client in self.clients:
            client.transport.abort()

    async def pass_on(self, reply: bytes, client: asyncio.StreamWriter) -> None:
        """Send a reply as the test wants it. Raises ConnectionError."""
        self.held += len(reply)
        await self.flow.wait()
        self.held -= len(reply)
        if self.cut_after is not None:
            reply, self.cut_after = reply[: self.cut_after], None
            client.write(reply)
            await client.drain()
            client.close()
            return
        step = self.piece or len(reply)
        for at in range(0, len(reply), step):
            client.write(reply[at : at + step])
            await client.drain()
            await asyncio.sleep(0)


@asynccontextmanager
async def proxy(upstream: str) -> AsyncIterator[Proxy]:
    """A proxy on a free loopback port. upstream: unix://<path> or redis://<host>:<port>. All ends with the block."""
    told = Proxy()
    told.flow.set()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        told.made += 1
        told.clients.add(client)
        tasks.add(task := asyncio.create_task(_serve(told, upstream, reader, client)))
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    told.port = server.sockets[0].getsockname()[1]
    try:
        yield told
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await turns()  # for the loop to let go of what was closed
        await server.wait_closed()


async def _serve(told: Proxy, upstream: str, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    """One client, until it or the server hangs up."""
    writers = [client]

    async def commands(server: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(_READ):
                server.write(data)
                await server.drain()

    async def replies(server_reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            while data := await server_reader.read(_READ):
                await told.pass_on(data, client)

    both: list[asyncio.Task[None]] = []
    try:
        server_reader, server = await _connect(upstream)
        writers.append(server)
        both = [asyncio.create_task(commands(server)), asyncio.create_task(replies(server_reader))]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # Sockets first, without waiting: a second cancellation may come at any await.
        for writer in writers:
            writer.transport.abort()
        told.clients.discard(client)
        for task in both:
            task.cancel()
        await asyncio.gather(*both, *(writer.wait_closed() for writer in writers), return_exceptions=True)


async def _connect(upstream: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if upstream.startswith("unix://"):
        return await asyncio.open_unix_connection(upstream.removeprefix("unix://"))
    host, _, port = upstream.removeprefix("redis://").partition(":")
    return await asyncio.open_connection(host, int(port.partition("/")[0]))
