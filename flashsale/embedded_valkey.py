"""One Valkey server of the embedded kind: its settings, its command line, and whether it answers.

A server alone listens on a unix socket. A node of a cluster must be found by others, so it has two ports, on loopback.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flashsale.embedded_binaries import valkey_server

ANSWER_S_MAX: Final = 5.0
LOOPBACK: Final = "127.0.0.1"
VALKEY_SETTINGS: Final = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
    "set-max-intset-entries": "512",
}


def memory_limit(servers: int) -> str:
    """A maxmemory in bytes for each of so many servers, half of this machine's memory for all of them."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return str(machine // 2 // servers)


def socket_places(path: Path) -> dict[str, str]:
    """The settings of a server that listens on this unix socket only."""
    return {"port": "0", "unixsocket": str(path), "unixsocketperm": "700"}


def valkey_command(*, data: Path, settings: Mapping[str, str], places: Mapping[str, str]) -> list[str | Path]:
    """What starts a server. Where it listens and keeps data comes last: that isn't for settings to change."""
    fixed = {
        **places,
        "dir": str(data),
        "daemonize": "no",
        "logfile": "",  # It speaks to its output, which is a file in the log folder.
    }
    pairs = {**VALKEY_SETTINGS, **settings, **fixed}.items()
    return [valkey_server(), *(word for name, value in pairs for word in (f"--{name}", value))]


def client_of(url: str, *, timeout_s: float = ANSWER_S_MAX) -> Redis:
    """A plain client of one server, which tries once: whoever asks knows how to wait."""
    client: Redis = Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    return client


def ask(client: Redis, *command: str | int) -> Any:
    """What the server answers, as it came. Raises what redis-py raises."""
    return cast("Any", client).execute_command(*command)


def valkey_answers(url: str) -> bool:
    """Whether the server at this unix:// or redis:// address answers a PING; it does not while it reads its data."""
    place = urlsplit(url)
    family = socket.AF_UNIX if place.scheme == "unix" else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(ANSWER_S_MAX)
        try:
            connection.connect(place.path if family == socket.AF_UNIX else (place.hostname, place.port))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
