"""flashsale up, migrate, serve, worker: the processes."""

import errno
import os
import signal
import socket
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from flashsale import config, doctor_facts, stores
from flashsale.children import Children
from flashsale.cli import show
from flashsale.cli.run import run
from flashsale.config import Settings
from flashsale.embedded import EmbeddedPair
from flashsale.embedded_cluster import EmbeddedCluster
from flashsale.embedded_stores import EmbeddedStores
from flashsale.errors import BadInputError, SurroundingsError
from flashsale.worker import main as worker_process

BACKLOG = 4096
_LOOK_S: Final = 0.2


class Topology(StrEnum):
    """How many Valkeys: one, or a cluster."""

    SINGLE = "single"
    CLUSTER = "cluster"


_SERVERS: Final[dict[Topology, type[EmbeddedPair] | type[EmbeddedCluster]]] = {
    Topology.SINGLE: EmbeddedPair,
    Topology.CLUSTER: EmbeddedCluster,
}


def up(
    state: Annotated[Path | None, typer.Option(help="The state folder; else FLASHSALE_STATE_DIR.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin without what is there from before.")] = False,
    topology: Annotated[
        Topology, typer.Option(help="One Valkey, or a cluster of three primaries with a replica each.")
    ] = Topology.SINGLE,
) -> None:
    """Run the embedded Valkey and Postgres in this terminal until Ctrl-C.

    Other commands with the same state folder find them by themselves.

    Example: flashsale up --topology cluster --state /var/tmp/drop
    """
    settings = config.load(**({"state_dir": state} if state else {}))
    servers: EmbeddedStores = _SERVERS[topology](state=settings.state_dir, fresh=fresh)
    with servers as addresses:
        steps = run(stores.migrate(addresses.postgres_dsn))
        for place in addresses.redis_url.split(","):
            show.text(f"Valkey    {place}")
        show.text(f"Postgres  {addresses.postgres_dsn}")
        show.text(f"Schema    {len(steps)} new steps. Ctrl-C ends all; the data stays in {settings.state_dir}.")
        try:
            signal.pause()
        except KeyboardInterrupt:
            show.text("Stopping.")


def migrate() -> None:
    """Bring the database's schema to this version. Safe to repeat."""
    addresses = stores.addresses_of(config.load())
    steps = run(stores.migrate(addresses.postgres_dsn))
    show.text("\n".join(f"done: {step}" for step in steps) or "The schema is up to date.")


def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on; else FLASHSALE_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on; else FLASHSALE_PORT.")] = None,
    processes: Annotated[
        int | None, typer.Option(help="How many share the port; else FLASHSALE_PROCESSES, else one for each core.")
    ] = None,
    own_port: Annotated[
        int | None,
        typer.Option(help="Where this process alone can be asked, for its metrics; the next ones have the next ports."),
    ] = None,
    shared: Annotated[bool, typer.Option("--shared", help="Others that say so too may listen on the port.")] = False,
) -> None:
    """Answer fans over HTTP until SIGTERM or Ctrl-C.

    Example: FLASHSALE_SANDBOX=true flashsale serve --port 8000

    With metrics of each process: flashsale serve --processes 4 --own-port 9101
    """
    named = (("host", host), ("port", port), ("processes", processes), ("own_port", own_port))
    settings = config.load(**{name: value for name, value in named if value is not None})
    from flashsale.api import server  # noqa: PLC0415 -- only this verb needs the web framework
    from flashsale.api.app import Api  # noqa: PLC0415

    api = Api(settings)
    number = settings.processes or _cores()
    if number > 1:
        _serve_together(settings, number)
        return
    listeners = [listen(settings.host, settings.port, shared=shared)]
    if settings.own_port:
        listeners.append(listen(settings.host, settings.own_port))
    server.run(api, listeners, on_started=lambda: show.text(f"Serving on {settings.base_url}"))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _serve_together(settings: Settings, number: int) -> None:
    """Several processes on one port, looked after until Ctrl-C. What keeps one from starting is told once, here."""
    listen(settings.host, settings.port).close()
    run(_fit(settings))
    children = Children()
    base = ("serve", "--processes", "1", "--shared", "--host", settings.host, "--port", str(settings.port))
    try:
        for place in range(number):
            own = ("--own-port", str(settings.own_port + place)) if settings.own_port else ()
            children.spawn(f"api-{place + 1}", *base, *own, environment=dict(os.environ))
        while True:
            time.sleep(_LOOK_S)
            children.check(tolerated=lambda child, status: status != BadInputError.exit_status)
    except KeyboardInterrupt:
        show.text("Stopping.")
    finally:
        children.stop(together=True)


async def _fit(settings: Settings) -> None:
    addresses = stores.addresses_of(settings)
    async with stores.opened(redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn) as both:
        await doctor_facts.refuse_unfit(addresses, both.postgres)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket. shared: other processes may listen beside it, and the kernel shares connections out.

    Raises SurroundingsError when the port is taken or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as trouble:
        listener.close()
        words = {
            errno.EADDRINUSE: f"Port {port} on {host} is taken; stop what listens there, or give another --port.",
            errno.EACCES: f"Port {port} needs more rights; give one above 1023 with --port.",
        }
        raise SurroundingsError(words.get(trouble.errno or 0, f"Can't listen on {host}:{port}: {trouble}")) from trouble
    listener.listen(BACKLOG)
    return listener


def worker() -> None:
    """Land orders in Postgres, expire what is not paid, put units back; until SIGTERM or Ctrl-C.

    Any number may run; each bucket is landed by one of them at a time.
    """
    run(worker_process.serve(config.load(), on_ready=lambda: show.text("The worker is at work.")))
