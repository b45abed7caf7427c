"""A fleet on this machine: embedded servers, api processes and a worker, for demo and rehearsals.

Every process is a child of ours and ends with us, however we end. A fault may kill one; then check() starts it again,
as a supervisor of a real shop would.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

import httpx

from flashsale import config
from flashsale.config import Settings
from flashsale.embedded import Addresses, EmbeddedPair, die_with_parent
from flashsale.embedded_cluster import EmbeddedCluster
from flashsale.errors import SurroundingsError

_READY_S: Final = 20.0
_STOP_S: Final = 15.0
_LOG_LINES: Final = 8
_AGAIN_S: Final = 0.5  # between two starts of one child
_API: Final = "api"


@dataclass(slots=True)
class Child:
    """A process of ours. log: where its output goes; killed: a fault has ended it, so its end is no trouble."""

    name: str
    arguments: Sequence[str]
    process: "subprocess.Popen[bytes]"
    log: Path
    killed: bool = False
    started_again: int = 0
    again_at: float = 0.0

    def tail(self) -> str:
        """The last lines that it said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_LINES:])


@dataclass(frozen=True, slots=True)
class Parts:
    """What a fleet is made of. cluster: six Valkeys instead of one; ports: one api each, besides the settings' port.

    environment: what a kind of child ("serve", "worker") gets besides the settings. valkey_settings, postgres_settings:
    of the servers' own, besides the usual ones.
    """

    cluster: bool = False
    ports: tuple[int, ...] = ()
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    valkey_settings: Mapping[str, str] = field(default_factory=dict)
    postgres_settings: Mapping[str, str] = field(default_factory=dict)


class Fleet:
    """Starts the processes one by one and stops them in reverse. settings: as for the processes; its state folder
    holds the data and the logs. servers: the embedded pair or cluster, whose servers may be killed and restarted."""

    def __init__(self, settings: Settings, *, fresh: bool, parts: Parts | None = None) -> None:
        self._settings = settings
        self._parts = parts or Parts()
        kind = EmbeddedCluster if self._parts.cluster else EmbeddedPair
        self.servers: EmbeddedPair | EmbeddedCluster = kind(
            state=settings.state_dir,
            fresh=fresh,
            valkey_settings=self._parts.valkey_settings,
            postgres_settings=self._parts.postgres_settings,
        )
        self._addresses: Addresses | None = None
        self._undo = ExitStack()
        self._children: dict[str, Child] = {}

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._undo.close()

    def start_pair(self) -> Addresses:
        """Start Valkey and Postgres."""
        self._undo.callback(self.servers.stop)  # Also when the start is broken off.
        self._addresses = self.servers.start()
        return self._addresses

    @property
    def apis(self) -> list[str]:
        """The names of the api processes."""
        return [name for name in self._children if name.startswith(_API)]

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of the api processes, in the order of their names."""
        return (self._settings.port, *self._parts.ports)

    def start_api(self) -> str:
        """Start the api processes and wait until they are ready. The schema has to be there. Returns one's address."""
        children = [
            self._spawn(f"{_API}-{number}", "serve", "--host", self._settings.host, "--port", str(port))
            for number, port in enumerate(self.ports, start=1)
        ]
        for child, port in zip(children, self.ports, strict=True):
            self._await_api(child, f"http://{self._settings.host}:{port}")
        return f"http://{self._settings.host}:{self._settings.port}"

    def start_worker(self) -> None:
        """Start a worker."""
        self._spawn("worker", "worker")

    def pid_of(self, name: str) -> int:
        """The process id of a child (api-1, worker) or of a server (valkey, valkey-1, postgres)."""
        child = self._children.get(name)
        return child.process.pid if child else self.servers.pid_of(name)

    def tail(self, name: str) -> str:
        """The last lines that a child said."""
        return self._children[name].tail()

    def started_again(self, name: str) -> int:
        """How often a child was started again."""
        return self._children[name].started_again

    def kill(self, name: str) -> None:
        """End a child at once, as by kill -9; check() starts it again. Nothing when it has ended already."""
        child = self._children[name]
        child.killed = True
        child.process.kill()
        child.process.wait()

    def check(self, *, supervised: bool = False) -> None:
        """Start again what a fault has killed, and when supervised also what ended since a store was away.

        Raises SurroundingsError when one of our processes has ended otherwise.
        """
        for child in list(self._children.values()):
            status = child.process.poll()
            if status is None:
                continue
            if not child.killed and not (supervised and status == SurroundingsError.exit_status):
                raise SurroundingsError(f"The {child.name} process ended by itself ({status}):\n{child.tail()}")
            if time.monotonic() >= child.again_at:
                child.process, child.killed = self._run(child.name, child.arguments, child.log), False
                child.started_again += 1
                child.again_at = time.monotonic() + _AGAIN_S

    def _await_api(self, child: Child, base_url: str) -> None:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if child.process.poll() is not None:
                raise SurroundingsError(child.tail() or "The api ended at its start.")
            try:
                if httpx.get(f"{base_url}/readyz", timeout=1).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise SurroundingsError(f"The api is not ready after {_READY_S:.0f} s:\n{child.tail()}")

    def _spawn(self, name: str, *arguments: str) -> Child:
        log = self._settings.state_dir / f"{name}.log"
        log.unlink(missing_ok=True)
        child = Child(name, arguments, self._run(name, arguments, log), log)
        self._children[name] = child
        self._undo.callback(self._stop, child)
        return child

    def _run(self, name: str, arguments: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
        kind = arguments[0]
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 -- our own program
                [sys.executable, "-m", "flashsale", *arguments],
                env=self._environment() | dict(self._parts.environment.get(kind, {})),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we then stop them in order
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 -- no threads of ours hold locks here
            )

    def _environment(self) -> dict[str, str]:
        """Ours, with these settings in place of whatever was set. The servers are named, so that no child has to look
        for them; a fault may be in its way."""
        assert self._addresses is not None, "the servers come first"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(config.ENV_PREFIX)}
        set_here = {
            "REDIS_URL": self._addresses.redis_url,
            "POSTGRES_DSN": self._addresses.postgres_dsn,
            "STATE_DIR": str(self._settings.state_dir.resolve()),
            "HOST": self._settings.host,
            "PORT": str(self._settings.port),
            "SANDBOX": str(self._settings.sandbox).lower(),
            "RIGHT_KEYS": self._settings.right_keys,
            "JWT_KEY": self._settings.jwt_key,
            "WEBHOOK_SECRET": self._settings.webhook_secret,
        }
        return kept | {f"{config.ENV_PREFIX}{name}": value for name, value in set_here.items() if value}

    def _stop(self, child: Child) -> None:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM)
            child.process.send_signal(signal.SIGCONT)  # one that a fault holds could not hear it
        try:
            child.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
        self._children.pop(child.name, None)
