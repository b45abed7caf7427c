"""Assembles an api process: opens the stores, makes the objects, hands them down."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from flashsale import config, doctor_facts, stores
from flashsale.api import pages, replies
from flashsale.api.challenges import ChallengeDesk
from flashsale.api.confirmations import Confirmations
from flashsale.api.connections import Connections
from flashsale.api.entrance import Entrance
from flashsale.api.events import Watchers
from flashsale.api.fcodes import Fcodes
from flashsale.api.hooks import Hooks, Sandbox
from flashsale.api.hot import Hot
from flashsale.api.looks import Looks
from flashsale.api.orders import Orders
from flashsale.api.picture import Pictures
from flashsale.api.protection import Protection, protection_of
from flashsale.api.replies import Receive, RefusedError, Scope, Send, problem
from flashsale.api.turns import Turns
from flashsale.challenge import Challenges
from flashsale.config import Settings, settling_of
from flashsale.errors import BadInputError
from flashsale.fcode import CodeKeys
from flashsale.identity import Identities, secrets_of
from flashsale.metrics import ApiMetrics, api_metrics
from flashsale.proof import Proofs
from flashsale.purchase import Purchases
from flashsale.redeem import Redemptions
from flashsale.reservation import Reservations
from flashsale.rights import RightKeys
from flashsale.router import Router
from flashsale.stores import Stores

_log = logging.getLogger(__name__)
_BASE = "/api/v1"
_POSTGRES_CONNECTIONS = 10
_GC_YOUNG_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Trust:
    """What a process checks others by."""

    right_keys: RightKeys
    code_keys: CodeKeys
    identities: Identities
    webhook: Webhook


def trust_of(settings: Settings) -> Trust:
    """From the settings; nothing is opened. Raises BadInputError that names the setting."""
    secrets = secrets_of(settings)
    try:
        webhook = Webhook(secrets.webhook_secret)
    except (ValueError, EmptyWebhookSecretError) as fault:
        raise BadInputError("FLASHSALE_WEBHOOK_SECRET: must be whsec_ and base64, as the provider gives it") from fault
    return Trust(secrets.right_keys, secrets.code_keys, Identities(settings, secrets.jwt_key), webhook)


class Api:
    """The ASGI application that a server runs: everything is opened at its start-up and closed at its end.

    trouble: what kept it from starting. Raises BadInputError that names the setting.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trust = trust_of(settings)
        self._opened = AsyncExitStack()
        self._metrics = api_metrics()
        self.connections = Connections(self._metrics)
        self._watchers = Watchers()
        self.hot: Hot | None = None
        self.trouble: Exception | None = None

    def quiet(self) -> None:
        """Called when the server is told to stop: streams that would keep it waiting come to their end."""
        self._watchers.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the server's start and stop."""
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        assert self.hot is not None, "servers start the application before they hand it requests"
        return await self.hot(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self.hot = await self._opened.enter_async_context(
                _assembled(self._settings, self._trust, self._watchers, self._metrics)
            )
        except Exception as trouble:  # noqa: BLE001 -- whoever runs the server raises it to the person who started it
            self.trouble = trouble
            await send({"type": "lifespan.startup.failed", "message": ""})
            return
        _settle_memory()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._opened.aclose()
        await send({"type": "lifespan.shutdown.complete"})


def _settle_memory() -> None:
    """What was made at the start stays; collecting garbage over and over would only look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_YOUNG_MAX, 50, 100)


def create() -> Api:
    """The application, configured by the environment. Raises BadInputError that names the setting."""
    return Api(config.load())


@asynccontextmanager
async def _assembled(settings: Settings, trust: Trust, watchers: Watchers, metrics: ApiMetrics) -> AsyncIterator[Hot]:
    addresses = stores.addresses_of(settings)
    async with (
        stores.opened(
            redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn, connections=_POSTGRES_CONNECTIONS
        ) as opened,
        httpx.AsyncClient(timeout=5) as client,
        _routers(addresses.redis_url) as (fast, waiting, proving, redeeming),
    ):
        await doctor_facts.refuse_unfit(addresses, opened.postgres)
        pictures = Pictures(opened, Turns(metrics.sold_out_seconds, metrics.back_seconds))
        await pictures.begin()
        confirmations = Confirmations()
        settling = settling_of(settings, cluster=fast.cluster)
        purchases = Purchases(fast, waiting=waiting, settling=settling, on_batch=metrics.batch)
        redemptions = Redemptions(redeeming, waiting=waiting, settling=settling, on_batch=metrics.batch)
        reservations = Reservations(fast)
        protection = protection_of(settings, metrics)
        proofs = Proofs(proving, settling=settling)
        routes = _routes(
            settings, opened=opened, pictures=pictures, proofs=proofs, watchers=watchers, trust=trust, client=client,
            metrics=metrics, redemptions=redemptions, confirmations=confirmations, protection=protection,
        )  # fmt: skip
        keeping = [
            asyncio.create_task(pictures.keep()),
            asyncio.create_task(confirmations.keep(opened.postgres)),
            asyncio.create_task(watchers.keep(opened.postgres, gauge=metrics.watchers)),
        ]
        try:
            yield Hot(
                below=_application(routes),
                pictures=pictures,
                purchases=purchases,
                confirmations=confirmations,
                entrance=_entrance(reservations, trust, metrics),
                challenges=_challenge_desk(settings, trust, metrics),
                protection=protection,
                right_keys=trust.right_keys,
                metrics=metrics,
                looks=Looks(pictures, sandbox=settings.sandbox),
            )
        finally:
            watchers.close()
            pictures.stop()
            for taken_in in (purchases, reservations, redemptions):
                await taken_in.drain()
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)


@asynccontextmanager
async def _routers(url: str) -> AsyncIterator[tuple[Router, Router, Router, Router]]:
    """The ways to the buckets: for what is answered at once, for presses that wait for a level, for looks that do, and
    for F-codes."""
    fast, waiting, proving, redeeming = [await stores.open_router(url) for _ in range(4)]
    try:
        yield fast, waiting, proving, redeeming
    finally:
        for router in (fast, waiting, proving, redeeming):
            await router.aclose()


def _challenge_desk(settings: Settings, trust: Trust, metrics: ApiMetrics) -> ChallengeDesk:
    challenges = Challenges(trust.right_keys, tries=settings.challenge_tries)
    return ChallengeDesk(challenges, trust.right_keys, metrics)


def _entrance(reservations: Reservations, trust: Trust, metrics: ApiMetrics) -> Entrance:
    return Entrance(
        reservations=reservations,
        right_keys=trust.right_keys,
        identities=trust.identities,
        reserved=metrics.reserved,
    )


def _routes(
    settings: Settings,
    *,
    opened: Stores,
    pictures: Pictures,
    proofs: Proofs,
    watchers: Watchers,
    trust: Trust,
    client: httpx.AsyncClient,
    metrics: ApiMetrics,
    redemptions: Redemptions,
    confirmations: Confirmations,
    protection: Protection,
) -> list[BaseRoute]:
    orders = Orders(
        stores=opened,
        pictures=pictures,
        proofs=proofs,
        identities=trust.identities,
        watchers=watchers,
        sandbox=settings.sandbox,
    )
    fcodes = Fcodes(
        pictures=pictures, redemptions=redemptions, confirmations=confirmations, identities=trust.identities,
        protection=protection, code_keys=trust.code_keys, metrics=metrics,
    )  # fmt: skip
    hooks = Hooks(stores=opened, webhook=trust.webhook)
    routes: list[BaseRoute] = [
        Route(f"{_BASE}/fcodes/redeem", fcodes.redeem, methods=["POST"]),
        Route(f"{_BASE}/orders", orders.listing),
        Route(f"{_BASE}/orders/{{order}}", orders.one),
        Route(f"{_BASE}/orders/{{order}}/events", orders.events),
        Route(f"{_BASE}/orders/{{order}}/payment", orders.pay, methods=["POST"]),
        Route(f"{_BASE}/orders/{{order}}/cancellation", orders.cancel, methods=["POST"]),
        Route(f"{_BASE}/hooks/payment", hooks.payment, methods=["POST"]),
        *_routes_for_all(pages.Machines(stores=opened, pictures=pictures, metrics=metrics), pages.Pages()),
    ]
    if settings.sandbox:
        sandbox = Sandbox(
            stores=opened, identities=trust.identities, webhook=trust.webhook, client=client,
            hook_url=lambda request: f"{_own_address(request)}{_BASE}/hooks/payment",
        )  # fmt: skip
        routes += [
            Route(f"{_BASE}/sandbox/login", sandbox.login, methods=["POST"]),
            Route(f"{_BASE}/sandbox/payments/{{payment}}", sandbox.pay, methods=["POST"]),
        ]
    return routes


def _routes_for_all(machines: pages.Machines, static: pages.Pages) -> list[Route]:
    """What asks for no identity."""
    return [
        Route("/healthz", machines.healthz),
        Route("/readyz", machines.readyz),
        Route("/metrics", machines.metrics),
        Route("/openapi.json", pages.description),
        Route("/docs", pages.docs),
        Route("/problems/{slug}", pages.problem_page),
        Route("/s", static.page),
        Route("/s/{sale}", static.page),
        Route("/static/{name}", static.static),
        Route("/", lambda request: RedirectResponse("/s")),
    ]


def _own_address(request: Request) -> str:
    """Where this process listens, whatever name the fan used: the sandbox's webhook comes back to it."""
    host, port = request.scope["server"]
    return f"http://{host}:{port}"


def _application(routes: list[BaseRoute]) -> Starlette:
    async def refused(request: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, RefusedError)
        return refusal.reply.response()

    async def by_framework(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, HTTPException)
        slug = {404: "not-found", 405: "method-not-allowed"}.get(fault.status_code, "http")
        answer = problem(fault.status_code, slug, fault.detail).response()
        answer.headers.update(fault.headers or {})
        return answer

    async def store_away(request: Request, trouble: Exception) -> Response:
        _log.warning("api.store_away path=%s trouble=%s: %s", request.url.path, type(trouble).__name__, trouble)
        return problem(
            503, "store-away", "Orders can't be looked up right now; nothing is lost", retry_after_s=2
        ).response()

    async def broken(request: Request, fault: Exception) -> Response:
        return replies.BROKEN.response()

    return Starlette(
        routes=routes,
        exception_handlers={
            RefusedError: refused,
            HTTPException: by_framework,
            **dict.fromkeys(stores.TROUBLE, store_away),
            Exception: broken,
        },
    )
