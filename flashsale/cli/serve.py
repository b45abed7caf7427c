"""flashsale up, migrate, serve, worker: the processes."""

import errno
import signal
import socket
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from flashsale import config, stores
from flashsale.cli import show
from flashsale.cli.run import run
from flashsale.embedded import EmbeddedPair
from flashsale.embedded_cluster import EmbeddedCluster
from flashsale.embedded_stores import EmbeddedStores
from flashsale.errors import SurroundingsError
from flashsale.worker import main as worker_process

BACKLOG = 4096


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
) -> None:
    """Answer fans over HTTP until SIGTERM or Ctrl-C.

    Example: FLASHSALE_SANDBOX=true flashsale serve --port 8000
    """
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = config.load(**given)
    from flashsale.api import server  # noqa: PLC0415 -- only this verb needs the web framework
    from flashsale.api.app import Api  # noqa: PLC0415

    api = Api(settings)
    listener = listen(settings.host, settings.port)
    server.run(api, listener, on_started=lambda: show.text(f"Serving on {settings.base_url}"))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SurroundingsError when the port is taken or not ours to take."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
