"""Postgres's part of the embedded pair: making its data, its command line, and the few questions it is asked.

The questions go through psql of the same package, which needs no event loop and works beside a running one.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flashsale.embedded_folder import StateFolder, own_folder, remove
from flashsale.embedded_server import Account, EmbeddedError, environment, spawn

ANSWER_S_MAX: Final = 30
CONNECT_S_MAX: Final = 5
DATABASE: Final = "flashsale"
SETTINGS: Final = {
    "fsync": "on",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "min_wal_size": "80MB",
    "max_wal_senders": "0",  # Nobody replicates from here.
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class PostgresHome:
    """The folder of Postgres's programs, and the folder of its socket."""

    programs: Path
    sockets: Path

    @property
    def dsn(self) -> str:
        """The address of our database."""
        return f"postgresql://postgres@/{DATABASE}?host={self.sockets}"

    def command(self, *, data: Path, settings: Mapping[str, str]) -> list[str | Path]:
        """What starts the server. Where it listens comes last: that isn't for settings to change."""
        places = {"listen_addresses": "", "port": "5432", "unix_socket_directories": str(self.sockets)}
        pairs = {**SETTINGS, **settings, **places}.items()
        return [
            self.programs / "postgres",
            "-D",
            data,
            *(word for name, value in pairs for word in ("-c", f"{name}={value}")),
        ]

    def make_data(self, *, folder: StateFolder, data: Path, account: Account | None) -> None:
        """Make an empty cluster, under another name at first: data that has its name is whole."""
        unfinished = data.with_name("postgres.new")
        remove(unfinished)
        remove(data)  # The state folder doesn't know of it: it is left of one that was removed by hand.
        own_folder(unfinished, 0o700, account)
        form = [
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        initdb = spawn(
            name="initdb",
            command=[self.programs / "initdb", "-D", unfinished, *form],
            log=folder.log("initdb"),
            lock=folder.lock("postgres"),
            account=account,
        )
        initdb.await_success()
        unfinished.rename(data)
        if data != folder.postgres:
            folder.postgres.symlink_to(data)

    def answers(self) -> bool:
        """Whether it takes connections and queries."""
        return self._ask("select 1").returncode == 0

    def make_database(self) -> None:
        """Make our database unless it exists. Raises EmbeddedError when it can't be made."""
        found = self._ask(f"select 1 from pg_database where datname = '{DATABASE}'")  # noqa: S608 (a constant)
        if found.returncode == 0 and not found.stdout.strip():
            found = self._ask(f"create database {DATABASE}")
        if found.returncode != 0:
            raise EmbeddedError(f"The database {DATABASE} can't be made: {found.stderr.strip()}. Start with --fresh.")

    def _ask(self, sql: str) -> subprocess.CompletedProcess[str]:
        form = [
            "--no-psqlrc",
            "--no-align",
            "--tuples-only",
            "--quiet",
            "--username=postgres",
            "--dbname=postgres",
        ]
        try:
            # All of the SQL is written in this class, and no shell reads the command.
            return subprocess.run(  # noqa: S603
                [self.programs / "psql", *form, f"--host={self.sockets}", f"--command={sql}"],
                capture_output=True,
                check=False,
                text=True,
                timeout=ANSWER_S_MAX,
                env=environment() | {"PGCONNECT_TIMEOUT": f"{CONNECT_S_MAX}"},
            )
        except subprocess.TimeoutExpired:
            raise EmbeddedError(
                f"Postgres gave no answer within {ANSWER_S_MAX} s. Stop the pair and start again."
            ) from None
        except OSError as error:
            raise EmbeddedError(
                f"psql can't be run ({error}). Install again: pip install 'flashsale[embedded]'."
            ) from error
