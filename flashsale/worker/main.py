"""Assembles the worker: one lander for each bucket of each sale that may have orders, and the keeping loops."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator

from prometheus_client import start_http_server

from flashsale import doctor_facts, ledger, limits, stock, stores
from flashsale.balance import Balancer
from flashsale.config import Settings, settling_of
from flashsale.embedded import Addresses
from flashsale.errors import FlashsaleError, SurroundingsError
from flashsale.keys import Bucket
from flashsale.metrics import WorkerMetrics, worker_metrics
from flashsale.operations import Operations
from flashsale.provider import BY_HAND, Provider, ProviderAwayError
from flashsale.purchase import Purchases
from flashsale.router import Router
from flashsale.sale import Sale, State
from flashsale.settled import Settler, settler_for
from flashsale.stock import BucketFacts
from flashsale.stores import Stores
from flashsale.worker import codes, keep, money, replace
from flashsale.worker.auditor import Auditor
from flashsale.worker.even_out import Balance
from flashsale.worker.land import Lander
from flashsale.worker.watch import Watch

_log = logging.getLogger(__name__)
_BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_TROUBLE = (*stores.TROUBLE, FlashsaleError, ProviderAwayError)


class Worker:
    """The loops of one worker process. A loop that meets trouble says so, waits, and begins again.

    audited: where the audits of its sales find the stores; without it there are none.
    """

    def __init__(
        self,
        opened: Stores,
        *,
        router: Router,
        settler: Settler,
        metrics: WorkerMetrics,
        provider: Provider = BY_HAND,
        audited: Addresses | None = None,
    ) -> None:
        self._stores = opened
        self._provider = provider
        self._purchases = Purchases(opened.redis)
        self._metrics = metrics
        self._operations = Operations(redis=opened.redis, postgres=opened.postgres, actor="worker", settler=settler)
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._stop = asyncio.Event()
        self._auditor = Auditor(audited, opened.redis, holder=self._holder, metrics=metrics) if audited else None
        self._router = router
        self._settler = settler
        self._balance: dict[str, Balance] = {}
        self._watch = Watch(opened, router, metrics)
        self._landers: dict[Bucket, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._sales: list[Sale] = []
        self._aside: set[str] = set()  # sales in which an order waits for a unit, closed ones too
        self._planned: set[str] = set()  # closed sales whose next week this process has seen to

    def stop(self) -> None:
        """End after the step that each loop is in."""
        self._stop.set()

    async def run(self) -> None:
        """Work until stopped."""
        async with asyncio.TaskGroup() as loops:
            for name, step, every_s in (
                ("keep", self._keep, limits.PLAN_REFRESH_S),
                ("expire", self._expire, limits.PLAN_REFRESH_S),
                ("give_back", self._give_back, limits.PLAN_REFRESH_S / 2),
                ("set_aside", self._set_aside, limits.ASIDE_EVERY_S),
                ("late", self._late, limits.PLAN_REFRESH_S),
                ("refund", self._refund, limits.PLAN_REFRESH_S),
                ("balance", self._even_out, limits.BALANCE_EVERY_S),
                ("recover", self._recover, limits.PLAN_REFRESH_S),
                ("memory", self._memory, limits.PLAN_REFRESH_S),
                ("audit", self._audit, limits.PLAN_REFRESH_S),
            ):
                loops.create_task(self._loop(name, step, every_s, self._stop))
            await self._stop.wait()
        for _, over in self._landers.values():
            over.set()
        await asyncio.gather(*(landing for landing, _ in self._landers.values()))

    async def _loop(
        self, name: str, step: Callable[[], Awaitable[object]], every_s: float, over: asyncio.Event
    ) -> None:
        """Step until it is over. A flag, not a cancellation: a step that has begun is brought to its end."""
        failed = 0
        while not over.is_set():
            try:
                await step()
                failed = 0
            except _TROUBLE as trouble:
                self._metrics.trouble.labels(loop=name).inc()
                _log.warning("worker.trouble loop=%s trouble=%s: %s", name, type(trouble).__name__, trouble)
                await keep.pause_between(over, _BACK_OFF_S[min(failed, len(_BACK_OFF_S) - 1)])
                failed += 1
            else:
                await keep.pause_between(over, every_s)

    async def _keep(self) -> None:
        """Look after every sale; trouble with one is no trouble of the others, and landing comes before all."""
        async with self._stores.postgres.acquire() as connection:
            self._sales = await ledger.every(connection, drafts=False)
        facts = {sale.sale: await stock.facts(self._stores.redis, sale.all_buckets) for sale in self._sales}
        outbox = {name: sum(one.outbox for one in bucket_facts) for name, bucket_facts in facts.items()}
        for name, orders in outbox.items():
            self._metrics.outbox_orders.labels(sale=name).set(orders)
        self._start_landers([s for s in self._sales if s.state is not State.CLOSED or outbox[s.sale]])
        for sale in self._sales:
            try:
                await self._keep_one(sale, facts[sale.sale])
            except _TROUBLE as trouble:
                self._metrics.trouble.labels(loop=f"keep:{sale.sale}").inc()
                _log.warning("worker.trouble sale=%s trouble=%s: %s", sale.sale, type(trouble).__name__, trouble)

    async def _keep_one(self, sale: Sale, facts: list[BucketFacts]) -> None:
        current = await keep.keep_level(self._operations, sale, facts)
        if current.takes_fcodes:
            balancer = Balancer(self._router, sale=sale.sale, settler=self._settler)
            self._metrics.moved.inc(await codes.keep(self._stores.postgres, self._settler, balancer, current, facts))
        if current.state is State.CLOSED and sale.sale not in self._planned:
            await keep.plan_next_week(self._operations, current)
            self._planned.add(sale.sale)

    def _start_landers(self, active: list[Sale]) -> None:
        wanted = {bucket for sale in active for bucket in sale.all_buckets}
        for bucket in [bucket for bucket, (landing, _) in self._landers.items() if landing.done()]:
            # It should never end by itself; what it died of is told, and another takes its place.
            landing, _ = self._landers.pop(bucket)
            _log.error("worker.lander_died sale=%s fault=%r", bucket.sale, landing.exception())
        for bucket in wanted - self._landers.keys():
            lander = Lander(
                redis=self._stores.redis,
                postgres=self._stores.postgres,
                bucket=bucket,
                holder=self._holder,
                metrics=self._metrics,
            )
            over = asyncio.Event()
            self._landers[bucket] = asyncio.create_task(self._loop(f"land:{bucket.sale}", lander.step, 0, over)), over
        for bucket in self._landers.keys() - wanted:
            _, over = self._landers.pop(bucket)
            over.set()

    async def _expire(self) -> None:
        await keep.expire(self._stores, self._metrics)

    async def _even_out(self) -> None:
        """Move units between the buckets of each sale that has several and may sell, or owes somebody a unit."""
        several = {
            s.sale: s
            for s in self._sales
            if len(s.all_buckets) > 1 and (s.state is not State.CLOSED or s.sale in self._aside)
        }
        for name in self._balance.keys() - several.keys():
            del self._balance[name]
        for name, sale in several.items():
            if name not in self._balance:
                self._balance[name] = Balance(self._router, sale, settler=self._settler, metrics=self._metrics)
            await self._balance[name].step()

    async def _recover(self) -> None:
        await self._watch.step(self._sales)

    async def _memory(self) -> None:
        """Of its own, since it has to go on while Postgres is away: that is when memory fills."""
        await keep.watch_memory(
            self._stores.redis, [s for s in self._sales if s.state is not State.CLOSED], self._metrics
        )

    async def _audit(self) -> None:
        if self._auditor is not None:
            await self._auditor.step(self._sales, self._stop)

    async def _give_back(self) -> None:
        for sale in self._sales:
            await keep.give_back(self._stores.postgres, self._settler, sale, self._metrics)

    async def _set_aside(self) -> None:
        self._aside = await replace.settle_all(self._stores, self._sales, self._metrics)

    async def _late(self) -> None:
        await money.settle_all_late(self._stores, self._purchases, self._sales, self._metrics)

    async def _refund(self) -> None:
        await money.refund(self._stores, self._provider, self._metrics)


async def serve(settings: Settings, *, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run a worker until SIGTERM or SIGINT. Raises SurroundingsError when a store is away or unfit at the start."""
    addresses = stores.addresses_of(settings)
    async with (
        stores.opened(redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn) as opened,
        money.provider_of(settings) as provider,
    ):
        await doctor_facts.refuse_unfit(addresses, opened.postgres, selling=False)
        metrics = worker_metrics()
        router = await stores.open_router(addresses.redis_url)
        settler = settler_for(router, settling_of(settings, cluster=True))
        worker = Worker(opened, router=router, settler=settler, metrics=metrics, provider=provider, audited=addresses)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        with _metrics_served(settings, metrics):
            on_ready()
            try:
                await worker.run()
            finally:
                await router.aclose()


@contextlib.contextmanager
def _metrics_served(settings: Settings, metrics: WorkerMetrics) -> Iterator[None]:
    """Serve the worker's counters at FLASHSALE_WORKER_PORT, if one is set. Raises SurroundingsError."""
    if not settings.worker_port:
        yield
        return
    try:
        server, thread = start_http_server(settings.worker_port, settings.host, metrics.registry)
    except OSError as trouble:
        raise SurroundingsError(
            f"FLASHSALE_WORKER_PORT: can't listen on {settings.worker_port}: {trouble}"
        ) from trouble
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
