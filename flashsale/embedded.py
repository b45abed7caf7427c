"""The embedded pair: a real Valkey and a real Postgres from packages, for demo, tests and rehearsals.

They listen on unix sockets only, keep their data in one state folder, and end with the process that started
them. All is plain and synchronous, so that a test, a command or a thread beside a running loop use it alike.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from flashsale.embedded_binaries import postgres_account, postgres_programs, valkey_server
from flashsale.embedded_folder import StateFolder, remove
from flashsale.embedded_postgres_home import PostgresHome
from flashsale.embedded_server import (
    FAREWELLS,
    Account,
    EmbeddedError,
    Server,
    die_with_parent,
    end_leftover,
    is_held,
    spawn,
    stop_all,
)

__all__ = ["Addresses", "EmbeddedError", "EmbeddedPair", "die_with_parent", "erase", "running"]

PING_S_MAX: Final = 5.0
VALKEY_SETTINGS: Final = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "set-max-intset-entries": "512",
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running pair answers, in the form that the configuration takes."""

    redis_url: str
    postgres_dsn: str


class EmbeddedPair:
    """Starts and stops the two servers. Also for `with EmbeddedPair(state=folder) as addresses:`.

    state: the folder of the data, which survives restarts; made when missing. One pair at a time may use it.
    fresh: each start() begins without earlier data. The settings add to the default ones and win over them.
    """

    __slots__ = ("_folder", "_fresh", "_postgres_settings", "_servers", "_undo", "_valkey_settings")

    def __init__(
        self,
        *,
        state: Path,
        fresh: bool = False,
        valkey_settings: Mapping[str, str] | None = None,
        postgres_settings: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = StateFolder(state.resolve())
        self._fresh = fresh
        self._valkey_settings = dict(valkey_settings or {})
        self._postgres_settings = dict(postgres_settings or {})
        self._servers: dict[str, Server] = {}
        self._undo: ExitStack | None = None

    def start(self) -> Addresses:
        """Start both and return once both answer. The thread that calls must live as long as the pair should:
        see die_with_parent().

        Raises EmbeddedError with what to do and how the log of a failed server ends; nothing runs then.
        """
        if self._undo is not None:
            raise EmbeddedError("This pair is already started: stop() it first.")
        with ExitStack() as undo:
            undo.enter_context(_held(self._folder))
            if self._fresh:
                self._folder.empty()
            account = postgres_account()
            undo.callback(self._folder.remove_sockets)
            sockets = self._folder.make_sockets(account)
            undo.callback(self._stop_servers)
            addresses = self._start_servers(sockets, account)
            undo.callback(remove, self._folder.running)
            self._announce(addresses)
            self._undo = undo.pop_all()
        return addresses

    def stop(self) -> None:
        """Stop both in good order, within bounds, and remove the sockets. Safe to repeat."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo.close()

    def __enter__(self) -> Addresses:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def valkey_pid(self) -> int:
        """Valkey's process id. Raises EmbeddedError when the pair isn't started."""
        return self._pid("valkey")

    @property
    def postgres_pid(self) -> int:
        """The process id of Postgres's first process. Raises EmbeddedError when the pair isn't started."""
        return self._pid("postgres")

    def _start_servers(self, sockets: Path, account: Account | None) -> Addresses:
        """Side by side: Valkey reads its data while Postgres makes or recovers its own."""
        valkey_socket = sockets / "valkey.sock"
        valkey = self._spawn("valkey", _valkey_command(self._folder, valkey_socket, self._valkey_settings), None)
        home = PostgresHome(programs=postgres_programs(account), sockets=sockets / "postgres")
        data = self._folder.postgres_data(account)
        if not self._folder.postgres.exists():
            home.make_data(folder=self._folder, data=data, account=account)
        # Its lock was free, so nobody uses the data; the number in this file may by now be any process's.
        remove(data / "postmaster.pid")
        postgres = self._spawn("postgres", home.command(data=data, settings=self._postgres_settings), account)
        valkey.await_ready(lambda: _valkey_answers(valkey_socket))
        postgres.await_ready(home.answers)
        home.make_database()
        return Addresses(redis_url=f"unix://{valkey_socket}", postgres_dsn=home.dsn)

    def _spawn(self, name: str, command: list[str | Path], account: Account | None) -> Server:
        log, lock = self._folder.log(name), self._folder.lock(name)
        self._servers[name] = spawn(name=name, command=command, log=log, lock=lock, account=account)
        return self._servers[name]

    def _stop_servers(self) -> None:
        stop_all(self._servers.values())
        self._servers.clear()

    def _announce(self, addresses: Addresses) -> None:
        pids = {"pid": os.getpid(), "valkey_pid": self.valkey_pid, "postgres_pid": self.postgres_pid}
        unfinished = self._folder.running.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(addresses) | pids))
        unfinished.replace(self._folder.running)  # A reader sees all of it or nothing.

    def _pid(self, name: str) -> int:
        if name not in self._servers:
            raise EmbeddedError("This pair isn't started: start() it first.")
        return self._servers[name].process.pid


def running(state: Path) -> Addresses | None:
    """The pair that some process runs on this state folder, if both servers are alive and answer; else None.

    Raises EmbeddedError when the folder is another user's.
    """
    folder = StateFolder(state.resolve())
    try:
        written = json.loads(folder.running.read_text())
        if not all(is_held(folder.lock(name)) for name in ("valkey", "postgres")):
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise EmbeddedError(f"{state} belongs to another user ({error}). Run this as that user.") from error
    addresses = Addresses(redis_url=written["redis_url"], postgres_dsn=written["postgres_dsn"])
    valkey_socket = Path(addresses.redis_url.removeprefix("unix://"))
    home = PostgresHome(programs=postgres_programs(None), sockets=valkey_socket.parent / "postgres")
    return addresses if _valkey_answers(valkey_socket) and home.answers() else None


def erase(state: Path) -> None:
    """Remove all that a pair made in a state folder and outside of it, and the folder when it is empty then.

    Safe to repeat. Raises EmbeddedError when a pair runs on it, or when it isn't a pair's.
    """
    folder = StateFolder(state.resolve())
    if folder.path.exists():
        with _held(folder):
            folder.vanish()


@contextmanager
def _held(folder: StateFolder) -> Iterator[None]:
    """The folder is ours, and no server of an earlier run is left in it."""
    with folder.claimed():
        for name in ("valkey", "postgres"):
            end_leftover(folder.lock(name), farewell=FAREWELLS[name])
        remove(folder.running)
        yield


def _valkey_command(folder: StateFolder, valkey_socket: Path, settings: Mapping[str, str]) -> list[str | Path]:
    """What starts Valkey. Where it listens and keeps data comes last: that isn't for settings to change."""
    places = {
        "port": "0",
        "unixsocket": str(valkey_socket),
        "unixsocketperm": "700",
        "dir": str(folder.valkey),
        "daemonize": "no",
        "logfile": "",  # It speaks to its output, which is a file in the log folder.
    }
    pairs = {**VALKEY_SETTINGS, **settings, **places}.items()
    return [valkey_server(), *(word for name, value in pairs for word in (f"--{name}", value))]


def _valkey_answers(valkey_socket: Path) -> bool:
    """Whether it answers a PING; it does not while it reads its data."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PING_S_MAX)
        try:
            connection.connect(str(valkey_socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
