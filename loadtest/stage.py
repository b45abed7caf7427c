"""The stage of a rehearsal: servers and processes of its own, with what its faults need around them."""

import asyncio
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from flashsale import scripts, stores
from flashsale.config import ENV_PREFIX, Settings
from flashsale.durability import Level
from flashsale.embedded import Addresses
from flashsale.errors import SurroundingsError
from flashsale.fleet import Fleet, Parts
from flashsale.sale import Sale
from flashsale.stores import Stores
from loadtest.crowds import Crowds
from loadtest.faults.base import CLUSTER, Fault, Wishes
from loadtest.faults.clocks import set_clock
from loadtest.faults.proxy import Proxy
from loadtest.faults.scene import Scene
from loadtest.job import Job
from loadtest.records import Seen

READY_S: Final = 30.0
DISK_BYTES: Final = 320 << 20
_LOOK_S: Final = 0.05
SMALL_LOG: Final = {"max_wal_size": "96MB", "min_wal_size": "32MB"}  # so that the disk is full by a fault alone


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stage:
    """Use as a context; start() starts all, leaving ends and removes all but the state folder."""

    def __init__(
        self, settings: Settings, *, faults: Sequence[Fault], topology: str, apis: int, seed: int, ack: str = ""
    ) -> None:
        self.settings = settings
        self._wishes = Wishes()
        for fault in faults:
            fault.wish(self._wishes)
        self._seed = seed
        self._undo = ExitStack()
        self._proxy: Proxy | None = None
        self._disk: Path | None = None
        self._why_no_disk = ""
        self._stay_s = 0.0
        self._clocks = settings.state_dir.parent / "clocks"
        self._worker_port = free_port()
        self._environment: dict[str, dict[str, str]] = {}
        parts = Parts(
            cluster=topology == CLUSTER,
            ports=tuple(free_port() for _ in range(apis - 1)),
            environment=self._environment,
            valkey_settings={"appendfsync": "always"} if ack == Level.FSYNCED else {},
            postgres_settings=SMALL_LOG if self._wishes.small_disk else {},
        )
        self.fleet = Fleet(settings, fresh=not self._wishes.small_disk, parts=parts)
        self.addresses = Addresses(redis_url="", postgres_dsn="")

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._undo.close()

    def start(self) -> None:
        """Start servers, api processes and worker. Raises SurroundingsError."""
        if self._wishes.small_disk:
            self._mount()
        self._undo.enter_context(self.fleet)
        self.addresses = self.fleet.start_pair()
        self._surround()
        asyncio.run(stores.migrate(self.addresses.postgres_dsn))
        self.fleet.start_worker()
        self.fleet.start_api()
        self._await_worker()

    def _await_worker(self) -> None:
        """Return once the worker works: it serves its counters then. A fault that came before would meet no landing."""
        deadline = time.monotonic() + READY_S
        while True:
            self.fleet.check()
            with suppress(OSError), socket.create_connection((self.settings.host, self._worker_port), timeout=1):
                return
            if time.monotonic() > deadline:
                raise SurroundingsError(f"The worker is not ready after {READY_S:.0f} s; look at its log.")
            time.sleep(_LOOK_S)

    def crowds(self, job: Job) -> Crowds:
        """The crowd of this job."""
        self._stay_s = job.stay_s
        folder = self.settings.state_dir / "crowd"
        folder.mkdir()
        return Crowds(
            job,
            processes=max(1, (os.cpu_count() or 2) // 2),
            jwt_key=self.settings.jwt_key,
            folder=folder,
            environment=self._environment.get("crowd"),
        )

    def scene(self, *, both: Stores, sale: Sale, told: Callable[[], Mapping[str, Any]]) -> Scene:
        """What the faults act on."""
        return Scene(
            fleet=self.fleet,
            settings=self.settings,
            addresses=self.addresses,
            both=both,
            sale=sale,
            told=told,
            random=random.Random(f"scene {self._seed}"),
            proxy=self._proxy,
            disk=self._disk,
            worker_port=self._worker_port,
            clocks=self._clocks,
            why_no_disk=self._why_no_disk,
            stay_s=self._stay_s,
        )

    def right_clock(self, seen: Seen) -> Seen:
        """What a crowd with a wrong clock saw, in right times."""
        if self._wishes.clock_ahead_s:
            for answers in (seen.reservations, seen.purchases):
                for column in (answers.sent, answers.answered):
                    column[:] = type(column)("d", (at - self._wishes.clock_ahead_s for at in column))
        return seen

    def keep_logs(self) -> str:
        """Copy what servers and processes have logged to a new folder outside of this stage. Returns its path."""
        kept = Path(tempfile.mkdtemp(prefix="flashsale-logs-"))
        for log in self.settings.state_dir.glob("**/*.log"):
            shutil.copy(log, kept)
        return str(kept)

    def _surround(self) -> None:
        """What processes get besides the settings: a proxy, clocks, a port for the worker's metrics."""
        wishes = self._wishes
        if wishes.proxy:
            marks = (scripts.load("purchase").sha.encode(), b"-- purchase: ")
            proxy = Proxy(self.addresses.redis_url, marks=marks, seed=self._seed)
            self._proxy = self._undo.enter_context(proxy)
            own = {"REDIS_URL": proxy.url, "POSTGRES_DSN": self.addresses.postgres_dsn}
            self._environment["serve"] = {f"{ENV_PREFIX}{name}": value for name, value in own.items()}
        self._environment["worker"] = {f"{ENV_PREFIX}WORKER_PORT": str(self._worker_port)}
        if wishes.environment:
            self._clocks.mkdir()
            for kind, variables in wishes.environment.items():
                set_clock(self._clocks, kind, wishes.clock_ahead_s if kind == "crowd" else 0)
                filled = {name: value.format(clocks=self._clocks) for name, value in variables.items()}
                self._environment[kind] = self._environment.get(kind, {}) | filled

    def _mount(self) -> None:
        """Postgres's data on a small file system, where we may mount one."""
        self.fleet.start_pair()  # It makes the data, where it belongs.
        self.fleet.servers.stop()
        link = self.settings.state_dir / "postgres"
        data = link.resolve()
        moved = data.with_name("postgres.moved")
        data.rename(moved)
        data.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "flashsale-small-disk", str(data)]
        try:
            mounted = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            status, said = mounted.returncode, mounted.stderr.strip()
        except OSError as trouble:
            status, said = 1, str(trouble)
        if status:
            data.rmdir()
            moved.rename(data)
            self._why_no_disk = f"no small file system can be mounted here: {said}"
            return
        self._undo.callback(subprocess.run, ["umount", str(data)], check=False, capture_output=True)
        shutil.copytree(moved, data, dirs_exist_ok=True, symlinks=True)
        _give(moved, data)
        shutil.rmtree(moved)
        self._disk = data


def _give(model: Path, copy: Path) -> None:
    """Let the copied files belong to whom the copied ones do."""
    owner = model.stat()
    for path in (copy, *copy.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    copy.chmod(owner.st_mode & 0o777)
