"""A fleet on this machine: embedded servers, api processes and a worker, for demo and rehearsals.

Every process is a child of ours and ends with us, however we end. A fault may kill one; then check() starts it again,
as a supervisor of a real shop would.
"""

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

import httpx

from flashsale import config
from flashsale.children import Child, Children
from flashsale.config import Settings
from flashsale.embedded import Addresses, EmbeddedPair
from flashsale.embedded_cluster import EmbeddedCluster
from flashsale.errors import SurroundingsError

_READY_S: Final = 20.0
_API: Final = "api"


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
        self._children = Children()

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._undo.close()

    def start_pair(self) -> Addresses:
        """Start Valkey and Postgres."""
        self._undo.callback(self.servers.stop)  # Also when the start is broken off.
        self._undo.callback(self._children.stop)
        self._addresses = self.servers.start()
        return self._addresses

    @property
    def apis(self) -> list[str]:
        """The names of the api processes."""
        return [name for name in self._children.names if name.startswith(_API)]

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of the api processes, in the order of their names."""
        return (self._settings.port, *self._parts.ports)

    def start_api(self) -> str:
        """Start the api processes and wait until they are ready. The schema has to be there. Returns one's address."""
        serve = ("serve", "--processes", "1", "--host", self._settings.host, "--port")
        children = [
            self._spawn(f"{_API}-{number}", *serve, str(port)) for number, port in enumerate(self.ports, start=1)
        ]
        for child, port in zip(children, self.ports, strict=True):
            self._await_api(child, f"http://{self._settings.host}:{port}")
        return f"http://{self._settings.host}:{self._settings.port}"

    def start_worker(self) -> None:
        """Start a worker."""
        self._spawn("worker", "worker")

    def pid_of(self, name: str) -> int:
        """The process id of a child (api-1, worker) or of a server (valkey, valkey-1, postgres)."""
        child = self._children.find(name)
        return child.process.pid if child else self.servers.pid_of(name)

    def tail(self, name: str) -> str:
        """The last lines that a child said."""
        return self._child(name).tail()

    def started_again(self, name: str) -> int:
        """How often a child was started again."""
        return self._child(name).started_again

    def kill(self, name: str) -> None:
        """End a child at once, as by kill -9; check() starts it again. Nothing when it has ended already."""
        self._children.kill(name)

    def check(self, *, supervised: bool = False) -> None:
        """Start again what a fault has killed, and when supervised also what ended since a store was away.

        Raises SurroundingsError when one of our processes has ended otherwise.
        """
        self._children.check(tolerated=lambda _, status: supervised and status == SurroundingsError.exit_status)

    def _child(self, name: str) -> Child:
        child = self._children.find(name)
        if child is None:
            raise KeyError(name)
        return child

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
        environment = self._environment() | dict(self._parts.environment.get(arguments[0], {}))
        return self._children.spawn(
            name, *arguments, environment=environment, log=self._settings.state_dir / f"{name}.log"
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
