"""A lean HTTP/1.1 connection for load: one request at a time, no more parsing than our own replies need.

A full client costs several times what the server spends on a press; on one machine it would measure itself.
"""

import asyncio
import re
from typing import Final, cast

_LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"


class Wire(asyncio.Protocol):
    """One keep-alive connection. Raises ConnectionError from ask() when it breaks."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop; whoever waits learns of it."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Called by the loop; completes the answer when all of it is there."""
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(_HEAD_END)
        if head < 0:
            self._buffer = buffer
            return
        length = _LENGTH.search(buffer, 0, head)
        end = head + len(_HEAD_END) + (int(length[1]) if length else 0)
        if len(buffer) < end:
            self._buffer = buffer
            return
        self._buffer = b""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((int(buffer[9:12]), buffer[head + len(_HEAD_END) : end]))

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        """Send a whole request; the future gives status and body."""
        if self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()


async def connect(host: str, port: int) -> Wire:
    """A new connection. Raises OSError."""
    _, wire = await asyncio.get_running_loop().create_connection(Wire, host, port)
    return wire
