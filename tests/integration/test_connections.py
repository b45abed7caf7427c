"""Clients that keep a process waiting are hung up on, and those that send too much are refused."""

import asyncio
from functools import partial

import pytest

from flashsale import limits
from flashsale.api import app, connections
from flashsale.api.connections import Awaited
from tests.integration.conftest import Shops
from tests.integration.line import Line, line_to, pressed
from tests.integration.shop import BASE, Shop

pytestmark = pytest.mark.servers
_LOOK = f"GET {BASE}/time HTTP/1.1\r\nhost: shop\r\n\r\n".encode()
_PATIENCE_S = 2


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits for two seconds and no more."""
    monkeypatch.setattr(connections, "_PATIENCE_S", dict.fromkeys(Awaited, _PATIENCE_S))


async def ended(shop: Shop, awaited: Awaited) -> float:
    """How many connections the process has ended by itself for that."""
    told = (await shop.client.get("/metrics")).text.splitlines()
    name = f'flashsale_connections_ended_total{{awaited="{awaited}"}} '
    return sum(float(line.removeprefix(name)) for line in told if line.startswith(name))


async def hung_up(line: Line) -> bytes:
    """All that comes until the server hangs up, which is soon."""
    try:
        return await asyncio.wait_for(line.reader.read(), _PATIENCE_S + 4)
    except ConnectionResetError:
        return b""


async def cut_off(line: Line, piece: bytes) -> bool:
    """Whether the server ends it while this is sent again and again."""
    try:
        async with asyncio.timeout(_PATIENCE_S + 8):
            while True:
                line.writer.write(piece)
                await line.writer.drain()
                await asyncio.sleep(0.01)
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def reservation(shop: Shop, fan: str, *lines: str) -> bytes:
    """The head of a reservation that has a body."""
    path = f"{BASE}/sales/{shop.sale}/reservation"
    token = shop.bearer(fan)["authorization"]
    head = [f"POST {path} HTTP/1.1", "host: shop", f"authorization: {token}", "content-type: application/json"]
    return "\r\n".join([*head, *lines, "", ""]).encode()


@pytest.mark.usefixtures("impatient")
async def test_a_head_that_does_not_come_whole_is_not_waited_for(shops: Shops) -> None:
    """Given a client that sends its head line by line, and one that sends nothing / Then the first is told, however
    busily it goes on, and both are hung up on."""
    shop = await shops()
    async with line_to(shop) as slow, line_to(shop) as silent:
        slow.writer.write(_LOOK.splitlines(keepends=True)[0])

        async def dribble() -> None:
            while True:
                await asyncio.sleep(0.2)
                slow.writer.write(b"x-more: 1\r\n")

        dribbling = asyncio.create_task(dribble())
        told = await hung_up(slow)
        dribbling.cancel()
        assert (told.split(b"\r\n")[0], b"too-slow" in told) == (b"HTTP/1.1 408 Request Timeout", True)
        assert await hung_up(silent) == b""
    assert (await ended(shop, Awaited.HEAD), await ended(shop, Awaited.IDLE)) == (1, 1)


@pytest.mark.usefixtures("impatient")
async def test_a_body_that_does_not_come_is_not_waited_for(shops: Shops) -> None:
    """Given a fan whose body comes byte by byte / Then they are told and hung up on, and no right was given out."""
    shop = await shops()
    async with line_to(shop) as slow:
        slow.writer.write(reservation(shop, "alice", "content-length: 1000") + b"{")
        told = await hung_up(slow)
        assert told.startswith(b"HTTP/1.1 408 ")
    assert await ended(shop, Awaited.BODY) == 1
    assert (await shop.shown())["reservation"]["count"] == 0


@pytest.mark.usefixtures("impatient")
async def test_a_body_without_end_is_cut_off(shops: Shops) -> None:
    """Given a body in chunks that never ends / Then it is refused as too large, and the connection does not stay."""
    shop = await shops()
    async with line_to(shop) as line:
        line.writer.write(reservation(shop, "alice", "transfer-encoding: chunked"))
        assert await cut_off(line, b"1000\r\n" + b" " * 0x1000 + b"\r\n")
    assert (await shop.shown())["reservation"]["count"] == 0


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_does_not_read_is_not_waited_for(shops: Shops) -> None:
    """Given a client that asks a lot and reads nothing / Then it is hung up on."""
    shop = await shops()
    async with line_to(shop) as line:
        assert await cut_off(line, _LOOK * 1_000)
    assert await ended(shop, Awaited.READ) == 1


@pytest.mark.usefixtures("impatient")
async def test_who_asks_nothing_more_is_let_go_and_who_waits_for_us_is_not(shops: Shops) -> None:
    """Given a client that was answered and is silent, and one whose press takes longer than that / Then the first is
    hung up on, and the second has its answer."""
    shop = await shops()
    right = await shop.reserve("alice")
    redis = shop.operations.redis
    async with line_to(shop) as idle, line_to(shop) as waiting:
        idle.writer.write(_LOOK)
        assert (await idle.answer()).status == 200
        await redis.execute_command("CLIENT", "PAUSE", str(_PATIENCE_S * 1000 + 2000), "WRITE")
        waiting.writer.write(pressed(shop, right, "k"))
        assert await hung_up(idle) == b""
        await asyncio.sleep(1)
        await redis.execute_command("CLIENT", "UNPAUSE")
        assert (await waiting.answer()).status == 201


async def test_a_head_that_is_too_large_is_refused(shops: Shops) -> None:
    """Given a head beyond the limit, in one piece or in many / Then 431, and the connection is closed; one within it
    is answered."""
    shop = await shops()
    large = b"GET /api/v1/time HTTP/1.1\r\nx-large: " + b"x" * limits.HEAD_BYTES_MAX
    for pieces in (1, 7):
        async with line_to(shop) as line:
            step = len(large) // pieces + 1
            for at in range(0, len(large), step):
                line.writer.write(large[at : at + step] + (b"\r\n\r\n" if at + step >= len(large) else b""))
                await asyncio.sleep(0.05)
            told = await line.answer()
            assert (told.status, told.headers["connection"], b"head-too-large" in told.body) == (431, "close", True)
            assert await line.closed()
    async with line_to(shop) as line:
        line.writer.write(large[: limits.HEAD_BYTES_MAX - 100] + b"\r\n\r\n")
        assert (await line.answer()).status == 200


async def test_many_requests_in_a_row_are_not_taken_for_one_large_head(shops: Shops) -> None:
    """Given requests sent without waiting, cut in odd places / Then each is answered."""
    shop = await shops()
    many = _LOOK * 2_000
    async with line_to(shop) as line:
        for at in range(0, len(many), 20_011):
            line.writer.write(many[at : at + 20_011])
            await line.writer.drain()
        told = [await asyncio.wait_for(line.answer(), 10) for _ in range(2_000)]
    assert {one.status for one in told} == {200}


async def test_there_are_as_many_connections_as_there_are_places(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a process with places for five / When eight come / Then those that have one are answered, the others are
    cut off, and a place that is free again can be taken."""
    monkeypatch.setattr(app, "Connections", partial(connections.Connections, most=5))
    shop = await shops()
    await shop.client.aclose()
    lines: list[Line] = []
    answered = 0
    for _ in range(8):
        reader, writer = await asyncio.open_connection(shop.client.base_url.host, shop.client.base_url.port)
        lines.append(Line(reader, writer))
        writer.write(_LOOK)
        try:
            answered += (await asyncio.wait_for(lines[-1].answer(), 5)).status == 200
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()
    assert answered == 5
    lines[0].writer.close()
    await asyncio.sleep(0.2)
    async with line_to(shop) as late:
        late.writer.write(_LOOK)
        assert (await late.answer()).status == 200
    for line in lines:
        line.writer.close()
