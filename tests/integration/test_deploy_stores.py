"""The stores' settings in deploy/, read by the real servers: they are accepted, and what the promises need is on."""

import signal
import subprocess
from pathlib import Path
from typing import Final

import pytest
from redis import Redis

from flashsale import limits
from flashsale.embedded import EmbeddedError, die_with_parent
from flashsale.embedded_binaries import postgres_programs
from tests.support.edge import DEPLOY
from tests.support.servers import missing, server_program
from tests.support.waiting import until

pytestmark = pytest.mark.servers

NEEDED_OF_VALKEY: Final = {
    "appendonly": "yes", "appendfsync": "everysec", "no-appendfsync-on-rewrite": "no", "save": "",
    "maxmemory-policy": "noeviction", "aof-load-truncated": "yes",
}  # fmt: skip
NEEDED_OF_POSTGRES: Final = {"synchronous_commit": "on", "fsync": "on", "full_page_writes": "on"}


def test_valkey_takes_its_settings(tmp_path: Path) -> None:
    """Given valkey.conf / When a server starts with it / Then no state is dropped, and the log is on."""
    given = (DEPLOY / "valkey" / "valkey.conf").read_text(encoding="utf-8")
    here = "\n".join(line for line in given.splitlines() if not line.startswith(("bind ", "port ", "dir ")))
    file, socket = tmp_path / "valkey.conf", tmp_path / "socket"
    file.write_text(f"{here}\nport 0\nunixsocket {socket}\ndir {tmp_path}\n", encoding="utf-8")
    process = subprocess.Popen(
        [server_program(), file],
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 (it does little)
    )
    try:
        until(lambda: process.poll() is not None or socket.exists(), what="the server listens")
        assert process.poll() is None, "it refused its settings"
        with Redis(unix_socket_path=str(socket)) as client:
            found = client.config_get(*NEEDED_OF_VALKEY, "set-max-intset-entries")
        assert int(found.pop("set-max-intset-entries")) > 2 * limits.FANS_PER_SLICE
        assert found == NEEDED_OF_VALKEY
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("name", NEEDED_OF_POSTGRES)
def test_postgres_takes_its_settings(tmp_path: Path, name: str) -> None:
    """Given postgresql.conf / When a server reads it / Then it knows every name, and commits are on the disk."""
    file = DEPLOY / "postgres" / "postgresql.conf"
    try:
        postgres = postgres_programs(None) / "postgres"
    except EmbeddedError as trouble:
        missing(str(trouble))
    # Asked for one setting, it reads all of them, says the one, and ends; as root too.
    done = subprocess.run(
        [postgres, "-C", name, "-D", tmp_path, "-c", f"config_file={file}"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, NEEDED_OF_POSTGRES[name]), done.stderr
