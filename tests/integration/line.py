"""A connection of a client that writes what it likes, as bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.integration.shop import BASE, Shop


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """A connection of a client that writes what it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, *, body: bool = True) -> Answer:
        """The next one."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers["content-length"]) if body else 0
        return Answer(int(first.split(" ")[1]), headers, await self.reader.readexactly(length))

    async def closed(self) -> bool:
        """Whether the server hangs up, and says nothing more."""
        return await asyncio.wait_for(self.reader.read(), 5) == b""


@asynccontextmanager
async def line_to(shop: Shop) -> AsyncIterator[Line]:
    """A connection to the shop's api."""
    url = shop.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


def pressed(shop: Shop, right: str, key: str, *lines: str, version: str = "1.1") -> bytes:
    """A press of buy as bytes."""
    path = f"{BASE}/sales/{shop.sale}/items/silver/purchase"
    head = [f"POST {path} HTTP/{version}", "host: shop", f"authorization: Right {right}", f"idempotency-key: {key}"]
    return "\r\n".join([*head, *lines, "", ""]).encode()
