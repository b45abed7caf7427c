"""The site as fans meet it: an api process and a worker process on given servers, in sandbox mode."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import httpx

from flashsale import config
from flashsale.embedded import Addresses, die_with_parent
from tests.support.waiting import until

_START_S: Final = 30.0
_STOP_S: Final = 15.0


@contextmanager
def site(addresses: Addresses, folder: Path) -> Iterator[str]:
    """Start both and give the address. folder: their state and their logs. The schema has to be there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    environment = _environment(addresses, folder)
    with ExitStack() as stack:
        api = stack.enter_context(_process(["serve", "--processes", "1", "--port", str(port)], environment, folder))
        stack.enter_context(_process(["worker"], environment, folder))
        base_url = f"http://127.0.0.1:{port}"
        until(lambda: _ready(api, base_url, folder), what="the api is ready", deadline_s=_START_S)
        yield base_url


def _environment(addresses: Addresses, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(config.ENV_PREFIX)}
    ours = {
        "SANDBOX": "true",
        "STATE_DIR": str(folder),
        "REDIS_URL": addresses.redis_url,
        "POSTGRES_DSN": addresses.postgres_dsn,
    }
    return kept | {f"{config.ENV_PREFIX}{name}": value for name, value in ours.items()}


@contextmanager
def _process(arguments: list[str], environment: dict[str, str], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / f"{arguments[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flashsale", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 (it does little)
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(api: "subprocess.Popen[bytes]", base_url: str, folder: Path) -> bool:
    assert api.poll() is None, (folder / "serve.log").read_text(errors="replace")
    try:
        return httpx.get(f"{base_url}/readyz", timeout=1).is_success
    except httpx.HTTPError:
        return False
