"""A real nginx with the edge's own files, on a free loopback port, in front of whatever a test puts behind it.

Only what belongs to a place is replaced: where it listens, where the api is, and how much one address may ask, since
in a test one address is the whole crowd.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

import flashsale
from flashsale.embedded import die_with_parent
from tests.support.servers import missing
from tests.support.waiting import until

DEPLOY: Final = Path(flashsale.__file__).parent.parent / "deploy"
_LISTENS: Final = "listen 8080 default_server backlog=4096 reuseport;"
_API: Final = "api:8000"
_RATE: Final = "rate=200r/s"


def nginx() -> str:
    """The program, also where a normal user's path does not lead."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return found or missing("nginx is missing, so the edge can't be tried. On Debian: apt-get install nginx-light")


def command(folder: Path, *, port: int, api_port: int, limited: bool = False) -> list[str | Path]:
    """What starts the edge in this folder, its files copied there. limited: at the rate that an address really has."""
    conf = folder / "conf"
    shutil.copytree(DEPLOY / "nginx", conf)
    _replace(conf / "listen.conf", _LISTENS, f"listen 127.0.0.1:{port};")
    _replace(conf / "upstream.conf", _API, f"127.0.0.1:{api_port}")
    if not limited:
        _replace(conf / "limits.conf", _RATE, "rate=100000r/s")
    # As root, nginx would give its workers away to an account that can't see a test's folder.
    more = "user root;" if os.geteuid() == 0 else ""
    return [nginx(), "-p", f"{folder}/", "-e", "stderr", "-c", conf / "nginx.conf", "-g", f"daemon off; {more}"]


@contextmanager
def edge(folder: Path, *, api_port: int, limited: bool = False) -> Iterator[str]:
    """A running edge; its address. It ends with the test."""
    folder.mkdir()
    port = free_port()
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command(folder, port=port, api_port=api_port, limited=limited),
            stdout=out, stderr=out, preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 (it does little)
        )  # fmt: skip
        try:
            until(lambda: _listens(port, process), what=f"nginx listens (its log is {log})")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def cached(answer: httpx.Response) -> bool:
    """Whether the edge gave this answer without asking the app."""
    return bool(answer.headers.get("x-edge-cache") == "HIT")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _listens(port: int, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "nginx ended instead of starting"
    with socket.socket() as client:
        refused: int = client.connect_ex(("127.0.0.1", port))
        return refused == 0


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text, f"{file.name} has changed its form; teach this"
    file.write_text(text.replace(old, new), encoding="utf-8")
