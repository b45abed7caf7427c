"""The generators: what they send, and what they count."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flashsale.bench.generators import CONNECTIONS, Generator, Own, Press, Wrk, generator

PRESSES = [Press(f"/buy/{number}", f"right-{number}", f"key-{number}") for number in range(500)]


@asynccontextmanager
async def server(status_of: Callable[[bytes], int]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers each request by its head, and keeps the heads."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status_of(head))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1], heads


def both(folder: Path) -> list[Generator]:
    """Our own, and wrk where it is installed."""
    found = shutil.which("wrk")
    return [Own(), *([Wrk(Path(found), folder)] if found else [])]


async def test_every_request_carries_its_own_right_and_key(tmp_path: Path) -> None:
    """Given presses / When a generator sends them / Then each has its path, right and key, all of them in turn."""
    for one in both(tmp_path):
        async with server(lambda head: 201) as (port, heads):
            pressed = await one.press(port, PRESSES, duration_s=1)

        assert (pressed.refused, pressed.broken) == (0, 0)
        assert len(PRESSES) < pressed.answers <= len(heads) <= pressed.answers + CONNECTIONS
        seen = {head.lower() for head in heads}
        for press in PRESSES:
            assert any(
                f"post {press.path} http/1.1\r\n".encode() in head
                and f"authorization: right {press.right}\r\n".encode() in head
                and f"idempotency-key: {press.key}\r\n".encode() in head
                for head in seen
            ), f"{one.name} didn't send {press}"


async def test_refusals_are_counted(tmp_path: Path) -> None:
    """Given a server that refuses every second path / Then refused answers are told apart."""
    for one in both(tmp_path):
        async with server(lambda head: 409 if b"/buy/1" in head else 201) as (port, _heads):
            pressed = await one.press(port, PRESSES[:2], duration_s=1)

        assert 0 < pressed.refused < pressed.answers, one.name
        assert abs(pressed.refused * 2 - pressed.answers) <= CONNECTIONS * 2


def test_wrk_is_used_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a path with and without wrk / Then the generator's name says which it is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert generator(tmp_path).name == "asyncio"
    program = tmp_path / "wrk"
    program.write_text("")
    program.chmod(0o755)
    assert generator(tmp_path).name == "wrk"
