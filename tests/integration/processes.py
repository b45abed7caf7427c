"""The api and the worker as tasks beside a test: assembled by the same code as the processes, on real sockets."""

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from flashsale import config, stores
from flashsale.api.app import Api
from flashsale.api.server import Server, configured
from flashsale.cli.listening import listen
from flashsale.config import Settings, settling_of
from flashsale.embedded import Addresses
from flashsale.metrics import WorkerMetrics, worker_metrics
from flashsale.settled import settler_for
from flashsale.worker import money
from flashsale.worker.main import Worker
from tests.support.waiting import soon


def settings_for(addresses: Addresses, state: Path) -> Settings:
    """The settings of a process in sandbox mode, with secrets of its own."""
    return config.load(
        sandbox=True,
        redis_url=addresses.redis_url,
        postgres_dsn=addresses.postgres_dsn,
        state_dir=state,
        right_keys=f"k1:{'5a' * 32}",
        jwt_key="the shop's key, long enough for HS256",
        webhook_secret=f"whsec_{base64.b64encode(b'the provider and we').decode()}",
    )


async def _served(server: Server, listener: socket.socket) -> None:
    """Run the server. One that can't start wants to end the whole process; that is not for a test."""
    with contextlib.suppress(SystemExit):
        await server.serve(sockets=[listener])


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """An api on a free port, with a client of it."""
    listener = listen(settings.host, 0)
    api = Api(settings)
    server = Server(configured(api, grace_s=2), api=api)
    task = asyncio.create_task(_served(server, listener))
    try:

        async def started() -> bool:
            return server.started or task.done()

        await soon(started, what="the api has started")
        assert server.started, "the api could not start; what it logged says why"
        address = f"http://{settings.host}:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=address, timeout=10) as client:
            yield client
    finally:
        server.should_exit = True
        await task
        listener.close()


@dataclass(frozen=True, slots=True)
class Working:
    """A worker at work, and what it counted."""

    worker: Worker
    metrics: WorkerMetrics
    task: "asyncio.Task[None]"

    async def stop(self) -> None:
        """End it; it may be ended already."""
        self.worker.stop()
        await self.task

    def counted(self, counter: str) -> float:
        """What a counter of metrics.py stands at."""
        found = self.metrics.registry.get_sample_value(f"flashsale_{counter}_total")
        assert found is not None, f"there is no counter {counter}"
        return found


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[Working]:
    """A worker at work."""
    metrics = worker_metrics()
    async with (
        stores.opened(redis_url=settings.redis_url, postgres_dsn=settings.postgres_dsn) as opened,
        money.provider_of(settings) as provider,
    ):
        router = await stores.open_router(settings.redis_url)
        settler = settler_for(router, settling_of(settings, cluster=True))
        worker = Worker(opened, router=router, settler=settler, metrics=metrics, provider=provider)
        found = Working(worker, metrics, asyncio.create_task(worker.run()))
        try:
            yield found
        finally:
            await found.stop()
            await router.aclose()
