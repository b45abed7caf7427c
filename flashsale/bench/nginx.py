"""A real nginx for as long as it is needed: the edge with its own files, or one that answers a constant.

Of the edge's files only what belongs to a place is replaced: where it listens, where the api is, and how much one
address may ask, since on one machine one address is the whole crowd.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

import flashsale
from flashsale.bench.processes import children_of, end
from flashsale.bench.uvicorns import free_port
from flashsale.embedded import die_with_parent
from flashsale.errors import SurroundingsError

DEPLOY: Final = Path(flashsale.__file__).parent.parent / "deploy"
MISSING: Final = "nginx is missing, so the edge can't be tried. On Debian: apt-get install nginx-light"
_LISTENS: Final = "listen 8080 default_server backlog=4096 reuseport;"
_API: Final = "api:8000"
_RATE: Final = "rate=200r/s"
_WORKERS: Final = "worker_processes auto;"
_START_S_MAX: Final = 10.0
_POLL_S: Final = 0.02
# As little as an nginx can do that answers with this status, these headers and this body.
_CONSTANT: Final = Template("""
worker_processes 1;
pid constant.pid;
error_log stderr warn;
events { worker_connections 16384; }
http {
    server_tokens off;
    sendfile off;
    access_log off;
    keepalive_timeout 60s;
    keepalive_requests 100000;
    default_type $content_type;
    client_body_temp_path temp_body;
    proxy_temp_path temp_proxy;
    fastcgi_temp_path temp_fastcgi;
    uwsgi_temp_path temp_uwsgi;
    scgi_temp_path temp_scgi;
    server {
        listen 127.0.0.1:$port;
        location / {
            add_header Cache-Control "public, max-age=1" always;
            return $status '$body';
        }
    }
}
""")


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running one. address: http://127.0.0.1:port."""

    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> list[int]:
        """The processes that do its work."""
        return children_of(self.process.pid)


def program() -> str | None:
    """nginx, also where a normal user's path does not lead."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def edge_command(
    folder: Path, *, port: int, api_port: int, limited: bool = False, workers: int | None = None
) -> list[str | Path]:
    """What starts the edge in this folder, its files copied there. limited: at the rate that an address really has;
    workers: so many, else one for each core. Raises SurroundingsError without nginx or the edge's files."""
    conf = folder / "conf"
    if not (DEPLOY / "nginx").is_dir():
        raise SurroundingsError("The edge's files are not here: they lie in deploy/nginx of a source tree.")
    shutil.copytree(DEPLOY / "nginx", conf)
    _replace(conf / "listen.conf", _LISTENS, f"listen 127.0.0.1:{port};")
    _replace(conf / "upstream.conf", _API, f"127.0.0.1:{api_port}")
    if not limited:
        _replace(conf / "limits.conf", _RATE, "rate=100000r/s")
    if workers is not None:
        _replace(conf / "nginx.conf", _WORKERS, f"worker_processes {workers};")
    return _command(folder, conf / "nginx.conf")


@contextmanager
def edge(folder: Path, *, api_port: int, limited: bool = False, workers: int | None = None) -> Iterator[Nginx]:
    """The edge in front of an api, in a folder that it makes. Raises SurroundingsError."""
    folder.mkdir()
    port = free_port()
    command = edge_command(folder, port=port, api_port=api_port, limited=limited, workers=workers)
    with _running(folder, command, port) as started:
        yield started


@contextmanager
def constant(folder: Path, *, status: int, content_type: str, body: str) -> Iterator[Nginx]:
    """One that answers everything so, in a folder that it makes. Raises SurroundingsError."""
    folder.mkdir()
    port, file = free_port(), folder / "nginx.conf"
    file.write_text(_CONSTANT.substitute(port=port, status=status, content_type=content_type, body=body))
    with _running(folder, _command(folder, file), port) as started:
        yield started


def _command(folder: Path, file: Path) -> list[str | Path]:
    found = program()
    if found is None:
        raise SurroundingsError(MISSING)
    # As root, nginx would give its workers away to an account that can't see the folder.
    more = "user root;" if os.geteuid() == 0 else ""
    return [found, "-p", f"{folder}/", "-e", "stderr", "-c", file, "-g", f"daemon off; {more}"]


@contextmanager
def _running(folder: Path, command: list[str | Path], port: int) -> Iterator[Nginx]:
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 -- nginx, with files of ours
            command,
            stdout=out,
            stderr=out,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509
        )
    try:
        _await(process, port, log)
        yield Nginx(port, process)
    finally:
        end(process)


def _await(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    ends = time.monotonic() + _START_S_MAX
    while time.monotonic() < ends and process.poll() is None:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_POLL_S)
    raise SurroundingsError(f"nginx did not start. It said:\n{log.read_text(errors='replace')}")


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    if old not in text:
        raise SurroundingsError(
            f"{file.name} of deploy/nginx has no line {old!r} any more; teach flashsale/bench/nginx.py"
        )
    file.write_text(text.replace(old, new), encoding="utf-8")
