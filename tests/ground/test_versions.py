"""Servers that are too old are refused at the start, by name and with what is needed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flashsale.errors import SurroundingsError
from flashsale.stores import open_redis


@asynccontextmanager
async def server_that_says(info: str) -> AsyncIterator[str]:
    """The address of a server that knows INFO and answers so; a real old one can't be had from a package here."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2])
            body = info.encode()
            writer.write(b"$%d\r\n%s\r\n" % (len(body), body) if words[0] == b"INFO" else b"+OK\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}?protocol=2"


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ("redis_version:6.2.14\r\n", "6.2.14"),
        ("redis_version:7.2.4\r\nvalkey_version:7.2.8\r\n", "7.2.8"),
    ],
)
async def test_too_old(info: str, told: str) -> None:
    """Given Redis 6.2 or Valkey 7.2 / When it is opened / Then a sentence with its version and what is needed."""
    async with server_that_says(info) as address:
        with pytest.raises(SurroundingsError, match=rf"{told}.*Redis 7.0 or Valkey 8"):
            await open_redis(address)


@pytest.mark.parametrize("info", ["redis_version:7.0.0\r\n", "redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n"])
async def test_new_enough(info: str) -> None:
    """Given just the versions that are needed / Then they are taken."""
    async with server_that_says(info) as address:
        client = await open_redis(address)
        await client.aclose()
