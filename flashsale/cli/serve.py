"""flashsale up, migrate, serve, worker: the processes."""

import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from flashsale import config, stores
from flashsale.cli import apis, show
from flashsale.cli.listening import listen
from flashsale.cli.run import run
from flashsale.embedded import EmbeddedPair
from flashsale.embedded_cluster import EmbeddedCluster
from flashsale.embedded_stores import EmbeddedStores
from flashsale.worker import main as worker_process


class Topology(StrEnum):
    """How many Valkeys: one, or a cluster."""

    SINGLE = "single"
    CLUSTER = "cluster"


class WebServer(StrEnum):
    """Under which web server the api runs."""

    UVICORN = "uvicorn"
    GRANIAN = "granian"


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
    by: Annotated[
        WebServer, typer.Option("--server", help="The web server; granian is an extra that has to be installed.")
    ] = WebServer.UVICORN,
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
    if by is WebServer.GRANIAN:
        apis.serve_by_granian(settings, settings.processes or apis.cores())
        return
    number = settings.processes or apis.cores()
    if number > 1:
        apis.serve_together(settings, number)
        return
    listeners = [listen(settings.host, settings.port, shared=shared)]
    if settings.own_port:
        listeners.append(listen(settings.host, settings.own_port))
    server.run(api, listeners, on_started=lambda: show.text(f"Serving on {settings.base_url}"))


def worker() -> None:
    """Land orders in Postgres, expire what is not paid, put units back; until SIGTERM or Ctrl-C.

    Any number may run; each bucket is landed by one of them at a time.
    """
    run(worker_process.serve(config.load(), on_ready=lambda: show.text("The worker is at work.")))
