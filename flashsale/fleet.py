"""A fleet on this machine: the embedded pair, an api process and a worker, for demo and rehearsals.

Every process is a child of ours and ends with us, however we end.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import httpx

from flashsale import config
from flashsale.config import Settings
from flashsale.embedded import Addresses, EmbeddedPair, die_with_parent
from flashsale.errors import SurroundingsError

_READY_S: Final = 20.0
_STOP_S: Final = 15.0
_LOG_LINES: Final = 8


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours. log: where its output goes."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def tail(self) -> str:
        """The last lines that it said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


class Fleet:
    """Starts the processes one by one and stops them in reverse. settings: as for the processes; its state folder
    holds the data and the logs."""

    def __init__(self, settings: Settings, *, fresh: bool) -> None:
        self._settings = settings
        self._pair = EmbeddedPair(state=settings.state_dir, fresh=fresh)
        self._undo = ExitStack()
        self._children: list[Child] = []

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._undo.close()

    def start_pair(self) -> Addresses:
        """Start Valkey and Postgres."""
        addresses = self._pair.start()
        self._undo.callback(self._pair.stop)
        return addresses

    def start_api(self) -> str:
        """Start an api process and wait until it is ready. The schema has to be there. Returns its address."""
        child = self._spawn("serve", "--host", self._settings.host, "--port", str(self._settings.port))
        base_url = f"http://{self._settings.host}:{self._settings.port}"
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if child.process.poll() is not None:
                raise SurroundingsError(child.tail() or "The api ended at its start.")
            try:
                if httpx.get(f"{base_url}/readyz", timeout=1).is_success:
                    return base_url
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise SurroundingsError(f"The api is not ready after {_READY_S:.0f} s:\n{child.tail()}")

    def start_worker(self) -> None:
        """Start a worker."""
        self._spawn("worker")

    def check(self) -> None:
        """Raises SurroundingsError when one of our processes has ended."""
        for child in self._children:
            if child.process.poll() is not None:
                raise SurroundingsError(f"The {child.name} process ended by itself:\n{child.tail()}")

    def _spawn(self, *arguments: str) -> Child:
        name = arguments[0]
        log = self._settings.state_dir / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 -- our own program
                [sys.executable, "-m", "flashsale", *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we then stop them in order
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 -- no threads of ours hold locks here
            )
        child = Child(name, process, log)
        self._children.append(child)
        self._undo.callback(self._stop, child)
        return child

    def _environment(self) -> dict[str, str]:
        """Ours, with these settings in place of whatever was set."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(config.ENV_PREFIX)}
        set_here = {
            "REDIS_URL": self._settings.redis_url,
            "POSTGRES_DSN": self._settings.postgres_dsn,
            "STATE_DIR": str(self._settings.state_dir.resolve()),
            "SANDBOX": str(self._settings.sandbox).lower(),
            "RIGHT_KEYS": self._settings.right_keys,
            "JWT_KEY": self._settings.jwt_key,
            "WEBHOOK_SECRET": self._settings.webhook_secret,
        }
        return kept | {f"{config.ENV_PREFIX}{name}": value for name, value in set_here.items() if value}

    def _stop(self, child: Child) -> None:
        child.process.send_signal(signal.SIGTERM)
        try:
            child.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        self._children.remove(child)
