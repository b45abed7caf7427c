"""The web server of an api process: uvicorn, told what this application needs of it."""

import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Final

import uvicorn

from flashsale.api.app import Api
from flashsale.api.connections import places
from flashsale.api.protocol import HotProtocol
from flashsale.errors import SurroundingsError

BACKLOG: Final = 4096
GRACE_S: Final = 10
_TICKS_PER_S: Final = 10
_log: Final = logging.getLogger(__name__)


def run(api: Api, listeners: Sequence[socket.socket], *, on_started: Callable[[], None] = lambda: None) -> None:
    """Answer on listening sockets until told to stop. on_started: called when requests are taken.

    Raises what kept the application from starting: SurroundingsError when a store is away.
    """
    api.connections.most = places()
    server = Server(configured(api), api=api, on_started=on_started)
    with suppress(SystemExit):  # an application that does not start ends uvicorn so; the reason is raised below
        server.run(sockets=list(listeners))
    if api.trouble is not None:
        raise api.trouble
    if not server.started:
        raise SurroundingsError("The web server could not start; its log above says why.")


def configured(api: Api, *, grace_s: int = GRACE_S) -> uvicorn.Config:
    """What uvicorn is told. grace_s: how long requests under way may take when it is to stop."""
    return uvicorn.Config(
        api,
        interface="asgi3",
        loop="uvloop",
        http=HotProtocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
        backlog=BACKLOG,
    )


class Server(uvicorn.Server):
    """uvicorn's server, that says when it takes requests, and ends connections that keep it waiting."""

    def __init__(self, config: uvicorn.Config, *, api: Api, on_started: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._api = api
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        try:
            if counter % _TICKS_PER_S == 0:
                await self._api.connections.look(self.server_state.connections)
        except Exception:  # noqa: BLE001 -- whatever it is, fans go on being answered; the next look may go well
            _log.exception("connections.not_looked_at")
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Told to stop, once politely and a second time at once. Stopping when told to is no failure: exit 0."""
        self._api.quiet()
        self.force_exit, self.should_exit = self.should_exit, True
