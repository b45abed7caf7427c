"""The conditions of a bench: which code, which versions, which machine."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from flashsale import __version__
from flashsale.bench.ground import Ground

_PACKAGES: Final = ("redis", "hiredis", "asyncpg", "starlette", "uvicorn", "uvloop", "httptools")
_NOT_TOLD: Final = "unknown"


async def of_ground(ground: Ground) -> dict[str, Any]:
    """Commit, versions and machine, with the servers' own versions. The load average tells whether others worked."""
    async with Redis.from_url(ground.addresses.redis_url.split(",")[0]) as one:  # of a cluster all are of one version
        server = await one.info("server")
    async with ground.postgres.acquire() as connection:
        postgres = connection.get_server_version()
    return {
        "commit": commit(),
        "versions": versions()
        | {
            "valkey": str(server.get("valkey_version") or server["redis_version"]),
            "postgres": f"{postgres.major}.{postgres.minor}",
        },
        "machine": machine(),
    }


def commit() -> str:
    """The commit of the checkout that this code runs from, "-dirty" when it was changed; else "unknown"."""
    # Whatever git is on the path; without one, or outside a checkout, the commit is not known.
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return _NOT_TOLD
    return told.stdout.strip() or _NOT_TOLD


def versions() -> dict[str, str]:
    """Python's version, and those of the packages whose speed is in the figures."""
    ours = {"flashsale": __version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in _PACKAGES}


def machine() -> Mapping[str, Any]:
    """Processor, cores that this process may use, system, and how busy it was at the start."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "system": f"{platform.system()} {platform.release()}",
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or _NOT_TOLD
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
