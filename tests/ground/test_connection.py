"""The ordered connection on a bad line: replies in order whatever happens, and nobody left waiting."""

import asyncio
from collections.abc import Sequence

import pytest
from redis import exceptions

from flashsale.connection import OrderedConnection
from flashsale.embedded import Addresses
from tests.ground.conftest import Connect
from tests.support.proxy import Proxy
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


async def echo(connection: OrderedConnection, word: str) -> str:
    """What the server says to that word; only the same word is the right answer."""
    said: bytes = await connection.execute_command("ECHO", word)
    return said.decode()


async def all_told(calls: Sequence["asyncio.Task[str]"]) -> list[object]:
    """How each ended, answer or exception. Nobody waits for ever."""
    return list(await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), timeout=10))


def asking(connection: OrderedConnection, *words: str) -> list["asyncio.Task[str]"]:
    """Calls on their way."""
    return [asyncio.create_task(echo(connection, word)) for word in words]


async def on_hold(between: Proxy) -> None:
    """Wait until a reply has come as far as the proxy, which holds it."""

    async def held() -> bool:
        return between.held > 0

    await soon(held, what="a reply is on its way")


async def test_replies_come_to_those_who_asked(addresses: Addresses, connect: Connect) -> None:
    """Given the run's own address / When 2,000 ask at once, some to be refused / Then each hears what is theirs."""
    connection = connect(addresses.redis_url)

    async def ask(number: int) -> bool:
        if number % 10:
            return await echo(connection, f"w{number}") == f"w{number}"
        with pytest.raises(exceptions.ResponseError, match=f"no-such-{number}'"):
            await connection.execute_command(f"no-such-{number}")
        return True

    assert all(await asyncio.gather(*map(ask, range(2_000))))


async def test_those_who_come_first_together_share_one_socket(between: Proxy, connect: Connect) -> None:
    """Given no socket yet / When 50 ask at once / Then one is opened, and it stays."""
    connection = connect(between.url)
    words = [f"w{number}" for number in range(50)]
    assert await all_told(asking(connection, *words)) == words
    assert await echo(connection, "again") == "again"
    assert between.made == 1


@pytest.mark.parametrize("piece", [1, 7, 4096])
async def test_replies_in_pieces(between: Proxy, connect: Connect, piece: int) -> None:
    """Given a line that gives a few bytes at a time / Then replies are put together, also large and nested ones."""
    between.piece = piece
    connection = connect(between.url)
    words = ["", "é小\r\n$5", "x" * (200 * piece), "last"]
    assert await all_told(asking(connection, *words)) == words
    nested = await connection.execute_command("EVAL", "return {1, {'a', false, {2}}, {}}", 0)
    assert nested == [1, [b"a", None, [2]], []]


async def test_a_very_large_reply(addresses: Addresses, connect: Connect) -> None:
    """Given a reply of 20 MB / Then it comes whole, and the small one behind it is not lost."""
    connection = connect(addresses.redis_url)
    large = asyncio.create_task(connection.execute_command("EVAL", "return string.rep('0123456789', 2097152)", 0))
    (small,) = asking(connection, "small")
    assert await large == b"0123456789" * 2_097_152
    assert await small == "small"


async def test_a_broken_socket_is_told_to_all_and_the_next_call_has_a_new_one(between: Proxy, connect: Connect) -> None:
    """Given three on their way / When the socket breaks / Then each gets ConnectionError; the next call passes."""
    connection = connect(between.url)
    assert await echo(connection, "before") == "before"
    between.flow.clear()
    calls = asking(connection, "a", "b", "c")
    await on_hold(between)
    between.cut()
    assert [type(told) for told in await all_told(calls)] == [exceptions.ConnectionError] * 3
    between.flow.set()
    assert await echo(connection, "after") == "after"
    assert between.made == 2


@pytest.mark.parametrize("cut_after", [0, 1, 5])
async def test_a_reply_cut_in_the_middle_is_no_reply(between: Proxy, connect: Connect, cut_after: int) -> None:
    """When the socket breaks inside a reply / Then ConnectionError, and its rest is nobody else's."""
    connection = connect(between.url)
    between.cut_after = cut_after
    (told,) = await all_told(asking(connection, "0123456789"))
    assert type(told) is exceptions.ConnectionError
    assert await echo(connection, "after") == "after"


async def test_a_late_reply_reaches_nobody(between: Proxy, connect: Connect) -> None:
    """Given replies that are held back / When the time is up / Then TimeoutError; released, they are not mixed up.

    Who asked behind the late one on the same socket is told too, one way or the other.
    """
    connection = connect(between.url, timeout_s=0.2)
    assert await echo(connection, "before") == "before"
    between.flow.clear()
    told = await all_told(asking(connection, "late", "behind"))
    assert type(told[0]) is exceptions.TimeoutError
    assert type(told[1]) in {exceptions.TimeoutError, exceptions.ConnectionError}
    between.flow.set()
    words = [f"after {number}" for number in range(20)]
    assert await all_told(asking(connection, *words)) == words
    assert between.made == 2


async def test_who_goes_away_keeps_their_place(between: Proxy, connect: Connect) -> None:
    """Given three on their way / When the second is cancelled / Then the third hears its own word, not the second's."""
    connection = connect(between.url)
    between.flow.clear()
    first, gone, third = asking(connection, "first", "gone", "third")
    await on_hold(between)
    gone.cancel()
    between.flow.set()
    assert await all_told([first, third]) == ["first", "third"]
    assert between.made == 1


async def test_closed_and_opened_again(between: Proxy, connect: Connect) -> None:
    """When it is closed with one on its way / Then that one is told; a later call opens a new socket."""
    connection = connect(between.url)
    between.flow.clear()
    calls = asking(connection, "a")
    await on_hold(between)
    await connection.aclose()
    assert [type(told) for told in await all_told(calls)] == [exceptions.ConnectionError]
    between.flow.set()
    assert await echo(connection, "after") == "after"
    await connection.aclose()
    await connection.aclose()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///nonexistent/valkey.sock", "redis://no-such.invalid"])
async def test_nobody_at_the_address(connect: Connect, url: str) -> None:
    """Given nobody there / When two ask / Then both get ConnectionError."""
    told = await all_told(asking(connect(url), "a", "b"))
    assert [type(one) for one in told] == [exceptions.ConnectionError] * 2
