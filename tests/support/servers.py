"""Real servers for the tests: the pair of the whole run, and private Valkeys that a test may starve or cluster.

FLASHSALE_TEST_REDIS_URL and FLASHSALE_TEST_POSTGRES_DSN, set together, take the place of the embedded pair. With
them, FLASHSALE_TEST_REDIS_SERVER may name the program for private servers, so that a run on a stock Redis 7.0 is
one throughout.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NoConnectionError

from flashsale.embedded import Addresses, EmbeddedError, EmbeddedPair, die_with_parent, erase
from flashsale.embedded_binaries import valkey_server
from tests.support.waiting import until

REDIS_URL: Final = "FLASHSALE_TEST_REDIS_URL"
POSTGRES_DSN: Final = "FLASHSALE_TEST_POSTGRES_DSN"
REDIS_SERVER: Final = "FLASHSALE_TEST_REDIS_SERVER"


def missing(what: str) -> NoReturn:
    """A server is away: at home the test is skipped with that sentence, under CI=true it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def configured() -> Addresses | None:
    """The servers that the environment names, or None for the embedded pair."""
    url, dsn = os.environ.get(REDIS_URL, ""), os.environ.get(POSTGRES_DSN, "")
    if bool(url) != bool(dsn):
        pytest.exit(f"Set {REDIS_URL} and {POSTGRES_DSN} together, or neither for the embedded pair.", returncode=3)
    return Addresses(redis_url=url, postgres_dsn=dsn) if url else None


@contextmanager
def pair(state: Path) -> Iterator[Addresses]:
    """The servers of the run."""
    given = configured()
    if given is not None:
        yield given
        return
    servers = EmbeddedPair(state=state, fresh=True)
    try:
        addresses = servers.start()
    except EmbeddedError as trouble:
        missing(str(trouble))
    try:
        yield addresses
    finally:
        servers.stop()
        erase(state)  # as root, Postgres's data lies outside of the folder that pytest clears


def server_program() -> Path:
    """The program for private servers."""
    if named := os.environ.get(REDIS_SERVER):
        return Path(named)
    try:
        return valkey_server()
    except EmbeddedError as trouble:
        missing(str(trouble))


@dataclass(frozen=True, slots=True)
class Private:
    """A server that only one test uses."""

    url: str
    port: int
    pid: int = 0

    def kill(self) -> None:
        """It dies with all it knows."""
        os.kill(self.pid, signal.SIGKILL)


@contextmanager
def private_valkey(
    folder: Path,
    *,
    cluster: bool = False,
    password: str = "",
    program: Path | None = None,
    settings: Mapping[str, str] | None = None,
    port: int = 0,
) -> Iterator[Private]:
    """A server on a loopback port, ended with the test. It keeps nothing. password: it wants that one. program: instead
    of the one of this run. settings: more of the server's own. port: 0 for a free one.

    cluster: it is a cluster of one node that owns the lower half of the slots, so that a key which a script doesn't
    declare is refused when it lies in the upper half.
    """
    port = port or _free_port()
    command = [str(program or server_program()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += [
        "--dir",
        str(folder),
        *(word for name, value in (settings or {}).items() for word in (f"--{name}", value)),
    ]
    if password:
        command += ["--requirepass", password]
    if cluster:
        command += ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"]
        command += ["--cluster-port", str(_free_port())]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 (it does little)
    )
    try:
        with Redis(port=port, password=password or None) as client:
            until(lambda: process.poll() is None and _answers(client), what="the private server answers")
            if cluster:
                client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 8191)
                until(lambda: b"cluster_state:ok" in _cluster_info(client), what="the cluster is up")
        yield Private(url=f"redis://127.0.0.1:{port}", port=port, pid=process.pid)
    finally:
        process.terminate()
        process.wait(10)


@dataclass(slots=True)
class Replica:
    """A server that follows a private one. It may be held, and take its place."""

    pid: int
    url: str

    def hold(self) -> None:
        """It does nothing until it goes on; what is sent to it waits in its socket."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """It does again."""
        os.kill(self.pid, signal.SIGCONT)

    def fall_behind(self, primary: Private) -> None:
        """It is held and cut off, so that nothing is left in its socket either."""
        self.hold()
        with Redis(port=primary.port) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")

    def take_over(self) -> None:
        """It goes on as a primary."""
        self.go_on()
        with Redis.from_url(self.url) as client:
            client.replicaof("NO", "ONE")


@contextmanager
def private_replica(folder: Path, primary: Private) -> Iterator[Replica]:
    """A server on a free loopback port that follows another one and has caught up."""
    port = _free_port()
    command = [str(server_program()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(
        [*command, "--replicaof", f"127.0.0.1 {primary.port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 (it does little)
    )
    replica = Replica(process.pid, f"redis://127.0.0.1:{port}")
    try:
        with Redis(port=primary.port) as client:
            until(lambda: _is_followed(client), what="the replica follows", deadline_s=30)
        yield replica
    finally:
        replica.go_on()
        process.terminate()
        process.wait(10)


def _is_followed(client: Redis) -> bool:
    """Whether a replica has said that it has what was written last. WAIT alone counts one that is still loading."""
    client.set("followed", 1)
    return int(client.wait(1, 100)) == 1 and int(client.role()[2][0][2]) > 0


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except NoConnectionError:
        return False


def _cluster_info(client: Redis) -> bytes:
    """The raw answer, before the client makes a dictionary of it."""
    client.set_response_callback("CLUSTER INFO", lambda reply, **_: reply)
    told: object = client.cluster("INFO")
    return told if isinstance(told, bytes) else str(told).encode()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
