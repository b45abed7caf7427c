"""What is hot is answered by one write and without a task, and as HTTP wants it however a client behaves."""

import asyncio
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tests.integration.conftest import Shops
from tests.integration.line import line_to, pressed
from tests.integration.shop import BASE
from tests.support.waiting import soon

pytestmark = pytest.mark.servers
_MANY = 4_000


async def test_the_short_way_is_taken(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a press, a refusal, a sale's status and a look at orders / Then only the last one is a task of its own."""
    shop = await shops(silver=1)
    rights = [await shop.reserve(fan) for fan in ("alice", "bob")]
    by_asgi: list[str] = []

    def noted(self: HttpToolsProtocol, cycle: RequestResponseCycle, app: Any) -> None:
        by_asgi.append(cycle.scope["path"])
        start(self, cycle, app)

    start = HttpToolsProtocol._start_asgi_task
    monkeypatch.setattr(HttpToolsProtocol, "_start_asgi_task", noted)
    told = [(await shop.press(right)).status_code for right in rights]
    assert (told[0], told[1] >= 400) == (201, True)
    await shop.shown()
    await shop.client.get(f"{BASE}/orders", headers=shop.bearer("alice"))
    assert by_asgi == [f"{BASE}/orders"]


async def test_presses_right_behind_each_other_are_answered_in_order(shops: Shops) -> None:
    """Given a client that does not wait for answers / Then each of its presses is answered, in their order, between
    others that are answered at once."""
    shop = await shops(silver=5)
    rights = [await shop.reserve(fan) for fan in ("alice", "bob", "carol")]
    look = f"GET {BASE}/time HTTP/1.1\r\nhost: shop\r\n\r\n".encode()
    async with line_to(shop) as line:
        line.writer.write(look.join(pressed(shop, right, "k") for right in rights))
        told = [await line.answer() for _ in range(5)]
    assert [one.status for one in told] == [201, 200, 201, 200, 201]
    assert [b'"unit":%d' % unit in one.body for unit, one in zip((1, 2, 3), told[::2], strict=True)] == [True] * 3
    assert all({"date", "cache-control", "content-type"} <= set(one.headers) for one in told)


async def test_a_connection_that_is_to_close_closes(shops: Shops) -> None:
    """Given a client that wants it closed, or speaks HTTP/1.0 / Then it is answered, told so, and hung up on."""
    shop = await shops()
    right = await shop.reserve("alice")
    for request in (
        pressed(shop, right, "k", "connection: close"),
        pressed(shop, right, "k", version="1.0"),
        f"GET {BASE}/time HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n".encode(),
    ):
        async with line_to(shop) as line:
            line.writer.write(request)
            told = await line.answer()
            assert (told.status < 300, told.headers["connection"]) == (True, "close")
            assert await line.closed()


async def test_a_head_has_no_body(shops: Shops) -> None:
    """When the head alone is asked for / Then it is told with the body's length, and no body follows."""
    shop = await shops()
    path = f"{BASE}/sales/{shop.sale}"
    async with line_to(shop) as line:
        line.writer.write(
            f"HEAD {path} HTTP/1.1\r\nhost: shop\r\n\r\nGET {path} HTTP/1.1\r\nhost: shop\r\n\r\n".encode()
        )
        head = await line.answer(body=False)
        whole = await line.answer()
    assert (head.status, whole.status) == (200, 200)
    assert int(head.headers["content-length"]) == len(whole.body)


async def test_a_client_that_does_not_read_is_waited_for(shops: Shops) -> None:
    """Given a client that asks and asks and reads nothing / Then the server holds what fits, and goes on when it
    reads; nothing is left out."""
    shop = await shops()
    look = f"GET {BASE}/sales/{shop.sale} HTTP/1.1\r\nhost: shop\r\n\r\n".encode()
    async with line_to(shop) as line:
        line.writer.write(look * _MANY)
        await asyncio.sleep(0.5)
        told = [await asyncio.wait_for(line.answer(), 10) for _ in range(_MANY)]
    assert {one.status for one in told} == {200}


async def test_a_press_whose_fan_has_left_is_not_made(shops: Shops) -> None:
    """Given a press on its way, and one behind it that waits for its turn / When both hang up / Then the first may be
    won, the second was never made."""
    shop = await shops(silver=5)
    first, second = await shop.reserve("alice"), await shop.reserve("bob")
    redis = shop.operations.redis
    async with line_to(shop) as one, line_to(shop) as other:
        await redis.execute_command("CLIENT", "PAUSE", "1000", "WRITE")
        one.writer.write(pressed(shop, first, "k"))
        await asyncio.sleep(0.2)
        other.writer.write(pressed(shop, second, "k"))
        await asyncio.sleep(0.2)
    await redis.execute_command("CLIENT", "UNPAUSE")

    async def won() -> bool:
        return bool(await redis.hexists(shop.bucket.buyers_key, "alice"))

    await soon(won, what="the first is decided")
    third = await shop.buy("carol")
    assert third["unit"] == 2
    assert await redis.hkeys(shop.bucket.buyers_key) == [b"alice", b"carol"]


async def test_a_press_is_answered_when_the_server_is_to_stop(shops: Shops) -> None:
    """Given a press on its way / When the server is told to stop / Then it is answered, and the connection closed."""
    shop = await shops(silver=5)
    right = await shop.reserve("alice")
    redis = shop.operations.redis
    async with line_to(shop) as line:
        await redis.execute_command("CLIENT", "PAUSE", "1000", "WRITE")
        line.writer.write(pressed(shop, right, "k"))
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(shop.stack.aclose())
        await asyncio.sleep(0.3)
        await redis.execute_command("CLIENT", "UNPAUSE")
        told = await asyncio.wait_for(line.answer(), 5)
        assert (told.status, told.headers["connection"]) == (201, "close")
        assert await line.closed()
        await stopping


@pytest.mark.parametrize(
    "request_line",
    ["GET {base}/time#there HTTP/1.1", "GET {base}/t%69me HTTP/1.1", "GET {base}/time?x#y HTTP/1.1"],
)
async def test_a_path_with_more_to_it_is_answered_all_the_same(shops: Shops, request_line: str) -> None:
    """Given a path that is not written plainly / Then it is answered as the plain one, by the long way."""
    shop = await shops()
    async with line_to(shop) as line:
        line.writer.write(f"{request_line.format(base=BASE)}\r\nhost: shop\r\n\r\n".encode())
        told = await line.answer()
    assert (told.status, b"now_ms" in told.body) == (200, True)


async def test_who_wants_another_protocol_is_answered_in_this_one(shops: Shops) -> None:
    """Given a press that asks for an upgrade, to something or to websockets / Then it is answered as HTTP, and wins."""
    shop = await shops(silver=2)
    for protocol in ("h2c", "websocket"):
        right = await shop.reserve(f"fan-of-{protocol}")
        async with line_to(shop) as line:
            line.writer.write(pressed(shop, right, "k", "connection: upgrade", f"upgrade: {protocol}"))
            told = await asyncio.wait_for(line.answer(), 5)
        assert told.status == 201, protocol
