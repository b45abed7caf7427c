"""The ordered connection and what a server may answer: passwords, databases, refusals, forgotten scripts, nonsense."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import exceptions
from redis.asyncio import Redis

from flashsale import scripts, stock
from flashsale.outcomes import Effect, Outcome
from flashsale.purchase import Answer, Purchases
from tests.ground.conftest import Connect
from tests.support.holdings import check, holdings
from tests.support.proxy import Proxy, proxy
from tests.support.samples import bucket, sale
from tests.support.servers import private_valkey
from tests.support.verbs import Verbs
from tests.support.waiting import soon, turns

pytestmark = pytest.mark.servers
PASSWORD = "open se:same@/1%"


async def test_a_forgotten_script_is_sent(tmp_path: Path, connect: Connect) -> None:
    """Given a server without the script, and one that was flushed / Then NOSCRIPT leads to the text, and it runs."""
    with private_valkey(tmp_path) as server:
        connection = connect(server.url)
        lease = scripts.load("lease")
        with pytest.raises(exceptions.NoScriptError):
            await connection.execute_command("EVALSHA", lease.sha, 1, "k", "w", 1_000)
        at = lease.at(["k"])
        assert await at(connection, "w1", 60_000) == 1
        assert await connection.execute_command("EVALSHA", lease.sha, 1, "k", "w2", 1_000) == 0
        await connection.execute_command("SCRIPT", "FLUSH")
        assert await asyncio.gather(*(at(connection, holder, 60_000) for holder in ("w1", "w2", "w1"))) == [1, 0, 1]


@pytest.mark.parametrize("user", ["", "default", "fan"])
async def test_password_and_database_of_the_address(tmp_path: Path, connect: Connect, user: str) -> None:
    """Given a server with passwords / When user, password and database stand in the address / Then they are used."""
    with private_valkey(tmp_path, password=PASSWORD) as server:
        async with Redis(port=server.port, db=3, password=PASSWORD) as admin:
            await admin.acl_setuser("fan", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], categories=["+@all"])
            connection = connect(f"redis://{user}:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/3")
            told = await asyncio.gather(*(connection.execute_command("INCR", "counted") for _ in range(20)))
            assert told == list(range(1, 21))
            assert await admin.get("counted") == b"20"
            await admin.client_kill_filter(_type="normal", skipme=True)

            async def knows_who() -> bool:
                try:
                    told: bytes = await connection.execute_command("ACL", "WHOAMI")
                except exceptions.ConnectionError:
                    return False  # it has not heard yet that it was killed
                return told.decode() == (user or "default")

            await soon(knows_who, what="there is a new socket of the same user")
            assert await connection.execute_command("INCR", "counted") == 21


WRONG = {
    "wrong password": "redis://:wrong@127.0.0.1:{port}",
    "no password": "redis://127.0.0.1:{port}",
    "unknown user": "redis://nobody:wrong@127.0.0.1:{port}",
    "no such database": f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{{port}}/99",
}


@pytest.mark.parametrize("name", WRONG)
async def test_an_address_that_is_refused(tmp_path: Path, connect: Connect, name: str) -> None:
    """Given a wrong password, none, or a wrong database / Then every call is told so, never run elsewhere."""
    expected = exceptions.ResponseError if name == "no such database" else exceptions.AuthenticationError
    with private_valkey(tmp_path, password=PASSWORD) as server:
        connection = connect(WRONG[name].format(port=server.port))
        for _ in range(2):
            with pytest.raises(expected):
                await connection.execute_command("SET", "k", "v")
        async with Redis(port=server.port, password=PASSWORD) as admin:
            assert await admin.exists("k") == 0


@pytest.mark.parametrize("name", WRONG)
async def test_a_refused_address_leaves_no_sockets(tmp_path: Path, connect: Connect, name: str) -> None:
    """Given an address that is refused / When it is tried again and again / Then at most one socket stays open."""
    with private_valkey(tmp_path, password=PASSWORD) as server:
        async with proxy(server.url) as between:
            connection = connect(WRONG[name].format(port=between.port))
            for _ in range(5):
                with pytest.raises(exceptions.RedisError):
                    await connection.execute_command("PING")
            assert between.open <= 1


async def test_a_server_that_takes_no_password_in_time_leaves_no_sockets(tmp_path: Path, connect: Connect) -> None:
    """Given AUTH that is never answered / Then ConnectionError in time, and the socket is given up."""
    with private_valkey(tmp_path, password=PASSWORD) as server:
        async with proxy(server.url) as between:
            between.flow.clear()
            connection = connect(f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{between.port}", timeout_s=0.1)
            for _ in range(3):
                with pytest.raises(exceptions.ConnectionError):
                    await connection.execute_command("PING")
            assert between.open <= 1


async def test_a_win_whose_reply_was_lost_is_found_again(
    redis: Redis, sale_name: str, between: Proxy, connect: Connect
) -> None:
    """Given a win on the server / When the socket breaks before the reply / Then UNKNOWN; its key tells the win."""
    await stock.tell_sale(redis, sale(sale_name), create=True)
    assert await Verbs(redis, bucket(sale_name)).add_stock("a", "load", 1, 3) is Effect.APPLIED
    purchases = Purchases(connect(between.url))

    def press(fan: str) -> "asyncio.Task[Answer]":
        attempt = purchases.attempt(bucket=bucket(sale_name), item="a", fan=fan, channel="web", lane="public", key="k")
        return asyncio.create_task(attempt)

    assert (await press("bob")).outcome is Outcome.WON
    between.flow.clear()
    lost = press("alice")

    async def won() -> bool:
        return "alice" in (await holdings(redis, bucket(sale_name))).lines

    await soon(won, what="alice has won on the server")
    between.cut()
    assert (await lost).outcome is Outcome.UNKNOWN
    between.flow.set()
    found = await press("alice")
    held = await holdings(redis, bucket(sale_name))
    assert (found.outcome, found.unit, found.order) == (Outcome.WON, 2, held.lines["alice"][0].order)
    check(held, loaded={"a": 3}, limit=1)


async def test_refusals_are_those_of_redis_py(tmp_path: Path, connect: Connect) -> None:
    """Given a full server, a script's own error, a wrong type / Then the exceptions that the callers tell apart."""
    with private_valkey(tmp_path) as server:
        connection = connect(server.url)
        with pytest.raises(exceptions.ResponseError, match="ERR malformed x") as refusal:
            await connection.execute_command("EVAL", "return redis.error_reply('ERR malformed x')", 0)
        assert type(refusal.value) is exceptions.ResponseError
        await connection.execute_command("SET", "k", "v")
        with pytest.raises(exceptions.ResponseError, match="WRONGTYPE"):
            await connection.execute_command("HGET", "k", "f")
        await connection.execute_command("CONFIG", "SET", "maxmemory", 1)
        for command in (("SET", "k", "w"), ("EVAL", "#!lua\nreturn redis.call('SET', KEYS[1], 'w')", 1, "k")):
            with pytest.raises(exceptions.OutOfMemoryError):
                await connection.execute_command(*command)
        assert await connection.execute_command("GET", "k") == b"v"


@asynccontextmanager
async def saying(words: bytes) -> AsyncIterator[str]:
    """A server that says the same to everybody, whatever they ask, and then nothing. Its address."""

    async def say(reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        client.write(words)
        await reader.read()
        client.transport.abort()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("words", [b"nonsense\r\n", b"*2\r\n$1\r\na\r\n?\r\n", b"$x\r\n", b"\0\0"])
async def test_what_is_no_reply_breaks_the_socket(connect: Connect, words: bytes) -> None:
    """Given a server that speaks something else / When it is asked / Then ConnectionError, each time, no waiting."""
    async with saying(words) as url:
        connection = connect(url)
        for _ in range(2):
            with pytest.raises(exceptions.ConnectionError):
                await asyncio.wait_for(connection.execute_command("PING"), timeout=5)


async def test_a_server_with_too_many_clients(connect: Connect) -> None:
    """Given a server that refuses at the door, unasked / When it is asked / Then trouble, each time, no waiting."""
    async with saying(b"-ERR max number of clients reached\r\n") as url:
        connection = connect(url)
        for _ in range(2):
            with pytest.raises(exceptions.RedisError):
                await asyncio.wait_for(connection.execute_command("PING"), timeout=5)
            await connection.aclose()


async def test_a_reply_that_nobody_asked_for_reaches_nobody(connect: Connect) -> None:
    """Given a server that answers twice / When two ask one after the other / Then the second isn't told the stray."""
    async with saying(b"+FIRST\r\n+STRAY\r\n") as url:
        connection = connect(url)
        assert await connection.execute_command("PING") == b"FIRST"
        await turns()
        assert await asyncio.wait_for(connection.execute_command("PING"), timeout=5) == b"FIRST"
