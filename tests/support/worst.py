"""The worst clients, all at once, in a process of their own: python -m tests.support.worst PORT SALE RIGHT.

They open ten thousand connections and say nothing, send heads line by line, send bodies without end, and press a
thousand times a second as one fan. Each goes on until the process is ended, and comes again when it is hung up on.
Prints "at work" once all of it has begun, and at its end (SIGTERM) what came of the presses.
"""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

SILENT: Final = 10_000
_DRIBBLING: Final = 200
_STUFFING: Final = 20
_HAMMERING: Final = 20
_PRESSES_PER_S: Final = 1_000
_OPENED_AT_ONCE: Final = 100
_BASE: Final = "/api/v1"


async def _silent(port: int) -> None:
    """A connection that never says anything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.read()
    writer.close()


async def _dribbling(port: int) -> None:
    """A head that comes line by line and has no end."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {_BASE}/sales/s/reservation HTTP/1.1\r\nhost: shop\r\n".encode())
    while not writer.is_closing():
        await asyncio.sleep(0.5)
        writer.write(b"x-more: of the same\r\n")
        await writer.drain()


async def _stuffing(port: int, sale: str) -> None:
    """A body of many megabytes."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {_BASE}/sales/{sale}/reservation HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
    for _ in range(400):
        writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)
    writer.close()


async def _hammering(port: int, sale: str, right: str, told: Counter[int]) -> None:
    """One fan's share of the presses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    press = (
        f"POST {_BASE}/sales/{sale}/items/silver/purchase?retry=1 HTTP/1.1\r\nhost: shop\r\n"
        f"authorization: Right {right}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        writer.write(press)
        head = await reader.readuntil(b"\r\n\r\n")
        told[int(head[9:12])] += 1
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        due = max(due + _HAMMERING / _PRESSES_PER_S, loop.time() - 1)
        await asyncio.sleep(due - loop.time())


async def _again(what: Callable[..., Awaitable[None]], *given: object) -> None:
    while True:
        with suppress(OSError, EOFError):
            await what(*given)
        await asyncio.sleep(0.5)


async def main(port: int, sale: str, right: str) -> None:
    """All of them, until the process is told to end."""
    told: Counter[int] = Counter()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tasks = []
    for number in range(SILENT):
        tasks.append(asyncio.create_task(_again(_silent, port)))
        if number % _OPENED_AT_ONCE == 0:
            await asyncio.sleep(0.02)
    tasks += [asyncio.create_task(_again(_dribbling, port)) for _ in range(_DRIBBLING)]
    tasks += [asyncio.create_task(_again(_stuffing, port, sale)) for _ in range(_STUFFING)]
    tasks += [asyncio.create_task(_again(_hammering, port, sale, right, told)) for _ in range(_HAMMERING)]
    _say("at work")
    await stop.wait()
    _say(str(dict(told)))


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
