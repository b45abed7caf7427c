"""What the embedded pair and the embedded cluster share: a held folder, servers that end together, and Postgres.

All is plain and synchronous, so that a test, a command or a thread beside a running loop use it alike.
"""

import json
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from flashsale.embedded_binaries import postgres_account, postgres_programs
from flashsale.embedded_folder import StateFolder, remove
from flashsale.embedded_postgres_home import PostgresHome
from flashsale.embedded_server import (
    LOCK_S_MAX,
    Account,
    EmbeddedError,
    Server,
    end_leftover,
    farewell_of,
    spawn,
    stop_all,
)

POSTGRES: Final = "postgres"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where running servers answer, in the form that the configuration takes.

    redis_url: of a cluster, the addresses of all nodes, comma separated.
    """

    redis_url: str
    postgres_dsn: str


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started, so that one that was killed can be started again the same way."""

    command: list[str | Path]
    account: Account | None
    answers: Callable[[], bool]
    tidy: Callable[[], None]


class EmbeddedStores(ABC):
    """Starts and stops the servers of one state folder. Also for `with … as addresses:`.

    state: the folder of the data, which survives restarts; made when missing. One process at a time may use it.
    fresh: each start() begins without earlier data. The settings add to the default ones and win over them.
    """

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
        self._launches: dict[str, Launch] = {}
        self._servers: dict[str, Server] = {}
        self._undo: ExitStack | None = None
        self._addresses: Addresses | None = None

    def start(self) -> Addresses:
        """Start all servers and return once all answer. The thread that calls must live as long as they should:
        see die_with_parent().

        Raises EmbeddedError with what to do and how the log of a failed server ends; nothing runs then.
        """
        if self._undo is not None:
            raise EmbeddedError("These servers are already started: stop() them first.")
        with ExitStack() as undo:
            undo.enter_context(held(self._folder))
            if self._fresh:
                self._folder.empty()
            self._check_data()
            account = postgres_account()
            undo.callback(self._folder.remove_sockets)
            sockets = self._folder.make_sockets(account)
            undo.callback(self._stop_servers)
            self._addresses = self._start_servers(sockets, account)
            undo.callback(remove, self._folder.running)
            self._announce()
            self._undo = undo.pop_all()
        return self._addresses

    def stop(self) -> None:
        """Stop all in good order, within bounds, and remove the sockets. Safe to repeat."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo.close()

    def restart(self, name: str) -> None:
        """Start a server again that has been killed, with its data, and return once it answers.

        The thread that calls must live as long as the server should. Raises EmbeddedError when it still runs.
        """
        pid = self.pid_of(name)
        try:
            self._servers[name].process.wait(LOCK_S_MAX)  # A killed one takes a moment to be gone.
        except subprocess.TimeoutExpired:
            raise EmbeddedError(f"{name} still runs: end process {pid} first.") from None
        launch = self._launches[name]
        end_leftover(self._folder.lock(name), farewell=farewell_of(name))  # Children of it may outlive it by a moment.
        launch.tidy()
        self._run(name).await_ready(launch.answers)
        self._announce()

    def pid_of(self, name: str) -> int:
        """The process id of the server of that name. Raises EmbeddedError when it isn't started."""
        if name not in self._servers:
            known = ", ".join(self._servers) or "none"
            raise EmbeddedError(f"{name} isn't started: start() it first. Started are: {known}.")
        return self._servers[name].process.pid

    @property
    def postgres_pid(self) -> int:
        """The process id of Postgres's first process. Raises EmbeddedError when it isn't started."""
        return self.pid_of(POSTGRES)

    def __enter__(self) -> Addresses:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def _check_data(self) -> None:
        """Raises EmbeddedError when the data in the folder is of the other kind."""

    @abstractmethod
    def _start_servers(self, sockets: Path, account: Account | None) -> Addresses:
        """Start all and return once all answer."""

    @abstractmethod
    def _announced(self) -> dict[str, Any]:
        """What others may want to know of the running servers besides their addresses."""

    def _launch_postgres(self, sockets: Path, account: Account | None) -> PostgresHome:
        """Start Postgres, with new data if there is none; it may not answer yet."""
        home = PostgresHome(programs=postgres_programs(account), sockets=sockets / POSTGRES)
        data = self._folder.postgres_data(account)
        if not self._folder.postgres.exists():
            home.make_data(folder=self._folder, data=data, account=account)
        self._launches[POSTGRES] = Launch(
            command=home.command(data=data, settings=self._postgres_settings),
            account=account,
            answers=home.answers,
            # Its lock was free, so nobody uses the data; the number in this file may by now be any process's.
            tidy=lambda: remove(data / "postmaster.pid"),
        )
        self._launches[POSTGRES].tidy()
        self._run(POSTGRES)
        return home

    def _run(self, name: str) -> Server:
        launch, log, lock = self._launches[name], self._folder.log(name), self._folder.lock(name)
        self._servers[name] = spawn(name=name, command=launch.command, log=log, lock=lock, account=launch.account)
        return self._servers[name]

    def _await_ready(self, name: str) -> None:
        self._servers[name].await_ready(self._launches[name].answers)

    def _stop_servers(self) -> None:
        stop_all(self._servers.values())
        self._servers.clear()
        self._launches.clear()

    def _announce(self) -> None:
        assert self._addresses is not None, "servers are announced once they have addresses"
        pids = {"pid": os.getpid(), "postgres_pid": self.postgres_pid}
        unfinished = self._folder.running.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(self._addresses) | pids | self._announced()))
        unfinished.replace(self._folder.running)  # A reader sees all of it or nothing.


@contextmanager
def held(folder: StateFolder) -> Iterator[None]:
    """The folder is ours, and no server of an earlier run is left in it."""
    with folder.claimed():
        for name in folder.servers():
            end_leftover(folder.lock(name), farewell=farewell_of(name))
        remove(folder.running)
        yield
