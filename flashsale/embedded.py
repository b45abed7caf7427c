"""The embedded pair: a real Valkey and a real Postgres from packages, for demo, tests and rehearsals.

They listen on unix sockets only, keep their data in one state folder, and end with the process that started
them. All is plain and synchronous, so that a test, a command or a thread beside a running loop use it alike.
"""

import json
from pathlib import Path
from typing import Any

from flashsale.embedded_binaries import postgres_programs
from flashsale.embedded_folder import StateFolder
from flashsale.embedded_postgres_home import PostgresHome
from flashsale.embedded_server import Account, EmbeddedError, die_with_parent, is_held
from flashsale.embedded_stores import POSTGRES, Addresses, EmbeddedStores, Launch, held
from flashsale.embedded_valkey import VALKEY_SETTINGS, memory_limit, socket_places, valkey_answers, valkey_command

__all__ = ["VALKEY_SETTINGS", "Addresses", "EmbeddedError", "EmbeddedPair", "die_with_parent", "erase", "running"]

VALKEY = "valkey"


class EmbeddedPair(EmbeddedStores):
    """One Valkey and one Postgres: `with EmbeddedPair(state=folder) as addresses:`. Servers: valkey, postgres."""

    @property
    def valkey_pid(self) -> int:
        """Valkey's process id. Raises EmbeddedError when the pair isn't started."""
        return self.pid_of(VALKEY)

    def _check_data(self) -> None:
        if self._folder.cluster.exists():
            raise EmbeddedError(
                f"{self._folder.path} keeps the data of a cluster. Start it with --topology cluster, "
                "begin without that data (--fresh), or choose another state folder."
            )

    def _start_servers(self, sockets: Path, account: Account | None) -> Addresses:
        """Side by side: Valkey reads its data while Postgres makes or recovers its own."""
        url = f"unix://{sockets / 'valkey.sock'}"
        self._launches[VALKEY] = Launch(
            command=valkey_command(
                data=self._folder.valkey,
                settings={"maxmemory": memory_limit(1), **self._valkey_settings},
                places=socket_places(sockets / "valkey.sock"),
            ),
            account=None,
            answers=lambda: valkey_answers(url),
            tidy=lambda: None,
        )
        self._run(VALKEY)
        home = self._launch_postgres(sockets, account)
        self._await_ready(VALKEY)
        self._await_ready(POSTGRES)
        home.make_database()
        return Addresses(redis_url=url, postgres_dsn=home.dsn)

    def _announced(self) -> dict[str, Any]:
        return {"valkey_pid": self.valkey_pid}


def running(state: Path) -> Addresses | None:
    """The pair or cluster that some process runs on this state folder, if it is alive and answers; else None.

    A cluster answers when Postgres and any of its nodes do: one that has lost a node is still a cluster.
    Raises EmbeddedError when the folder is another user's.
    """
    folder = StateFolder(state.resolve())
    try:
        written = json.loads(folder.running.read_text())
        if not is_held(folder.lock(POSTGRES)) or not any(map(is_held, folder.valkey_locks())):
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise EmbeddedError(f"{state} belongs to another user ({error}). Run this as that user.") from error
    addresses = Addresses(redis_url=written["redis_url"], postgres_dsn=written["postgres_dsn"])
    sockets = Path(addresses.postgres_dsn.partition("?host=")[2])
    home = PostgresHome(programs=postgres_programs(None), sockets=sockets)
    answers = any(map(valkey_answers, addresses.redis_url.split(","))) and home.answers()
    return addresses if answers else None


def erase(state: Path) -> None:
    """Remove all that servers made in a state folder and outside of it, and the folder when it is empty then.

    Safe to repeat. Raises EmbeddedError when servers run on it, or when it isn't theirs.
    """
    folder = StateFolder(state.resolve())
    if folder.path.exists():
        with held(folder):
            folder.vanish()
