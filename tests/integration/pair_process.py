"""What the tests of the embedded pair share: a pair in another process, and what is seen of a pair from outside."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
from redis import Redis

import flashsale
from flashsale.embedded import Addresses, running

HOLD = """
import sys, json, signal
from pathlib import Path
from flashsale.embedded import EmbeddedPair
pair = EmbeddedPair(state=Path(sys.argv[1]))
addresses = pair.start()
facts = [addresses.redis_url, addresses.postgres_dsn, pair.valkey_pid, pair.postgres_pid]
print(json.dumps(facts), flush=True)
signal.pause()
"""


@contextmanager
def holder(state: Path) -> Iterator[tuple[subprocess.Popen[str], Addresses, list[int]]]:
    """Another process that runs a pair, with the pair's addresses and process ids; killed at the end."""
    command = [sys.executable, "-W", "error", "-c", HOLD, str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=child_environment()) as parent:
        try:
            assert parent.stdout is not None
            redis_url, postgres_dsn, *pids = json.loads(parent.stdout.readline())
            yield parent, Addresses(redis_url=redis_url, postgres_dsn=postgres_dsn), pids
        finally:
            parent.kill()


def run_python(code: str, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own that finds our package, and before all else what lies in path."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=child_environment(path))


def child_environment(path: Path | None = None) -> dict[str, str]:
    """Our environment, where a child finds the package under test, and before it what lies in path."""
    ours = Path(flashsale.__file__).parent.parent
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(part) for part in (path, ours) if part is not None),
    }


def redis(addresses: Addresses, *command: str) -> object:
    """What Valkey answers."""
    with Redis.from_url(addresses.redis_url, decode_responses=True) as client:
        return client.execute_command(*command)


def sql(addresses: Addresses, query: str) -> object:
    """The first value that Postgres answers."""

    async def ask() -> object:
        connection = await asyncpg.connect(addresses.postgres_dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(ask())


def write_something(addresses: Addresses) -> None:
    """A key and a table that has_something() finds; the key is on disk when this returns."""
    redis(addresses, "SET", "something", "here")
    redis(addresses, "WAITAOF", "1", "0", "5000")
    sql(addresses, "create table something as select 1")


def has_something(addresses: Addresses) -> bool:
    """Whether both have what write_something() wrote. It is an error when just one has."""
    key, table = redis(addresses, "GET", "something"), sql(addresses, "select to_regclass('something')::text")
    assert (key is None) == (table is None)
    return key is not None


def socket_paths(addresses: Addresses) -> list[Path]:
    """The files of the two sockets."""
    folder = Path(addresses.postgres_dsn.partition("?host=")[2])
    return [Path(addresses.redis_url.removeprefix("unix://")), folder / ".s.PGSQL.5432"]


def assert_nothing_is_left(state: Path, addresses: Addresses) -> None:
    """No socket, no folder of sockets, no word of a running pair."""
    assert not socket_paths(addresses)[0].parent.exists()
    assert not (state / "running.json").exists()
    assert running(state) is None


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
