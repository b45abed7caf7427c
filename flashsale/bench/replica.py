"""A replica of the ground's one Valkey, for as long as it is needed.

The ground's server listens on a unix socket only, where no replica can follow; so it is told to listen on a free port
of loopback as well. The replica listens there too.
"""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from redis.asyncio import Redis

from flashsale.bench.uvicorns import free_port
from flashsale.embedded import die_with_parent
from flashsale.embedded_valkey import LOOPBACK, valkey_command
from flashsale.errors import SurroundingsError

_FOLLOWS_S_MAX: Final = 60.0
_POLL_S: Final = 0.05
_LOG: Final = "replica.log"
_SAID_MAX: Final = 2_000


@asynccontextmanager
async def following(primary_url: str, *, folder: Path) -> AsyncIterator[str]:
    """A replica with a log of its own that has caught up; gives its address. Raises SurroundingsError."""
    port, own_port = free_port(), free_port()
    settings = {"replicaof": f"{LOOPBACK} {port}", "repl-diskless-sync-delay": "0"}
    command = valkey_command(data=folder, settings=settings, places={"bind": LOOPBACK, "port": str(own_port)})
    async with Redis.from_url(primary_url) as primary:
        await primary.config_set("bind", LOOPBACK)
        await primary.config_set("port", port)
        process = _started(command, folder)
        try:
            await _caught_up(primary, folder / _LOG)
            yield f"redis://{LOOPBACK}:{own_port}"
        finally:
            process.terminate()
            process.wait()


async def _caught_up(primary: "Redis", log: Path) -> None:
    ends_s = time.monotonic() + _FOLLOWS_S_MAX
    while (await primary.info("replication")).get("slave0", {}).get("state") != "online":
        if time.monotonic() > ends_s:
            raise SurroundingsError(f"The replica does not follow after {_FOLLOWS_S_MAX:.0f} s. Its log:\n{_tail(log)}")
        await asyncio.sleep(_POLL_S)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_SAID_MAX:]


def _started(command: Sequence[str | Path], folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / _LOG).open("wb") as log:
        return subprocess.Popen(  # noqa: S603 -- the embedded server, with words of ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 (what it calls is safe there)
        )
