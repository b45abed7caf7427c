"""Server programs, each a process of its own on its own port, for as long as they are needed."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import flashsale
from flashsale import rights
from flashsale.bench.processes import end, pin
from flashsale.config import ENV_PREFIX
from flashsale.embedded import Addresses, die_with_parent
from flashsale.errors import SurroundingsError

_START_S_MAX: Final = 20.0
_POLL_S: Final = 0.02
_TAIL: Final = 800


@dataclass(frozen=True, slots=True)
class Program:
    """A server program that was started."""

    name: str
    process: subprocess.Popen[bytes]
    port: int

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


def environment_of(addresses: Addresses, *, folder: Path, right_key: str) -> dict[str, str]:
    """What a program needs to know, and nothing of what our own environment says to the engine."""
    ours = {
        "REDIS_URL": addresses.redis_url,
        "POSTGRES_DSN": addresses.postgres_dsn,
        "STATE_DIR": str(folder),
        "RIGHT_KEYS": right_key,
        "JWT_KEY": secrets.token_hex(rights.KEY_BYTES),
        "WEBHOOK_SECRET": "whsec_" + secrets.token_hex(rights.KEY_BYTES),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    path = {"PYTHONPATH": str(Path(flashsale.__file__).parent.parent)}  # also where it is not installed
    return kept | path | {f"{ENV_PREFIX}{name}": value for name, value in ours.items()}


def reference(factory: str) -> list[str]:
    """The words after "python" that run a program of ours, module:function, as `flashsale serve` runs the product."""
    return [
        "-m", "uvicorn", factory, "--factory", "--host", "127.0.0.1", "--loop", "uvloop", "--http", "httptools",
        "--no-access-log", "--no-server-header", "--backlog", "4096", "--log-level", "warning",
    ]  # fmt: skip


@contextmanager
def running(
    name: str,
    words: Sequence[str],
    *,
    environment: dict[str, str],
    folder: Path,
    core: int | None = None,
    listens: bool = True,
) -> Iterator[Program]:
    """Start a program by the words after "python", and end it afterwards. Not yet awaited.

    listens: on a free port; one that does not has port 0.
    """
    port = free_port() if listens else 0
    command = [sys.executable, *words, *(["--port", str(port)] if listens else [])]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 -- this very interpreter, with words of ours
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 (what it calls is safe there)
        )
    try:
        pin(process.pid, core)
        yield Program(name, process, port)
    finally:
        end(process)


async def answering(program: Program, *, folder: Path) -> None:
    """Return once it takes connections. Raises SurroundingsError with the end of its log when it doesn't."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _START_S_MAX
    while loop.time() < deadline and program.process.poll() is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", program.port)
        except OSError:
            await asyncio.sleep(_POLL_S)
            continue
        writer.close()
        await writer.wait_closed()
        return
    log = (folder / f"{program.name}.log").read_text(errors="replace")[-_TAIL:]
    raise SurroundingsError(f"The program {program.name} did not start. Its log ends with:\n{log}")


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
