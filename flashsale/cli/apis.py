"""Several api processes on one port, and the api under another web server."""

import os
import sys
import time
from typing import Final

from flashsale import doctor_facts, limits, stores
from flashsale.children import Children
from flashsale.cli import show
from flashsale.cli.listening import BACKLOG, listen
from flashsale.cli.run import run
from flashsale.config import Settings
from flashsale.errors import BadInputError

_LOOK_S: Final = 0.2
_GRACE_S: Final = 15
_RESPAWN_S: Final = 0.5


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def serve_together(settings: Settings, number: int) -> None:
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


def serve_by_granian(settings: Settings, number: int) -> None:
    """The application under granian, which has processes of its own. Everything goes by ASGI there: the short way of
    decision 0022 is uvicorn's. Raises BadInputError where granian is missing or can't do what is asked for."""
    try:
        from granian.constants import HTTPModes, Interfaces, Loops  # noqa: PLC0415 -- an extra
        from granian.http import HTTP1Settings  # noqa: PLC0415
        from granian.log import LogLevels  # noqa: PLC0415
        from granian.server import Server  # noqa: PLC0415
    except ImportError as missing:
        raise BadInputError("--server granian: it is not installed; pip install 'flashsale[granian]'") from missing
    if settings.own_port:
        raise BadInputError("--own-port: granian's processes have no ports of their own; use --server uvicorn")
    listen(settings.host, settings.port).close()
    run(_fit(settings))
    os.environ |= {"FLASHSALE_HOST": settings.host, "FLASHSALE_PORT": str(settings.port)}
    server = Server(
        "flashsale.api.app:create",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=number,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=limits.CONNECTIONS_MAX,
        http1_settings=HTTP1Settings(
            header_read_timeout=limits.HEAD_S_MAX * 1000, max_buffer_size=limits.HEAD_BYTES_MAX
        ),
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
        respawn_interval=_RESPAWN_S,
        workers_kill_timeout=_GRACE_S,
    )
    server.on_startup(lambda: show.text(f"Serving on {settings.base_url}, by granian"))
    server.serve()


async def _fit(settings: Settings) -> None:
    addresses = stores.addresses_of(settings)
    async with stores.opened(redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn) as both:
        await doctor_facts.refuse_unfit(addresses, both.postgres)
