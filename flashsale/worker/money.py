"""What the worker does about money: late payments get a unit or are due back, and the provider is asked for refunds."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from standardwebhooks import Webhook

from flashsale import late_payment
from flashsale import refund as refunds
from flashsale.config import Settings
from flashsale.identity import secrets_of
from flashsale.metrics import WorkerMetrics
from flashsale.payment import State
from flashsale.provider import BY_HAND, Provider, SandboxProvider
from flashsale.purchase import Purchases
from flashsale.sale import Sale
from flashsale.stores import Stores

_log = logging.getLogger(__name__)
HOOK_PATH = "/api/v1/hooks/payment"


async def settle_late(stores: Stores, purchases: Purchases, sale: Sale, metrics: WorkerMetrics) -> int:
    """Take every late payment of a sale as far as it goes now. Safe to repeat, and for two workers at once.

    Returns how many have come to their end.
    """
    async with stores.postgres.acquire() as connection:
        waiting = await late_payment.waiting(connection, sale.sale)
        settled = 0
        for late in waiting:
            state = await late_payment.step(connection, purchases, sale, late)
            if state is State.LATE:
                continue
            settled += 1
            metrics.late_payments.labels(state=state).inc()
            _log.warning("payment.late_settled sale=%s payment=%s state=%s", sale.sale, late.payment, state)
    return settled


async def settle_all_late(stores: Stores, purchases: Purchases, sales: Sequence[Sale], metrics: WorkerMetrics) -> int:
    """Take the late payments of these sales as far as they go now, and end what was won in vain. How many ended."""
    async with stores.postgres.acquire() as connection:
        waiting = await late_payment.sales_waiting(connection)
    settled = 0
    for sale in sales:
        if sale.sale in waiting:
            settled += await settle_late(stores, purchases, sale, metrics)
    async with stores.postgres.acquire() as connection:
        for order_id in await late_payment.end_strays(connection):
            _log.warning("payment.late_order_ended order=%s", order_id)
    return settled


async def refund(stores: Stores, provider: Provider, metrics: WorkerMetrics) -> int:
    """Hand what is due back to the provider. Returns how many were handed over. Raises ProviderAwayError."""
    async with stores.postgres.acquire() as connection:
        due = await refunds.due_by_sale(connection)
    metrics.refunds_due.clear()
    for sale, payments in due.items():
        metrics.refunds_due.labels(sale=sale).set(payments)
    asked = await refunds.ask_provider(stores.postgres, provider) if due else 0
    metrics.refunds_asked.inc(asked)
    return asked


@asynccontextmanager
async def provider_of(settings: Settings) -> AsyncIterator[Provider]:
    """Whom this installation asks for refunds: the sandbox's provider, or nobody, which leaves them in ops' list."""
    if not settings.sandbox:
        yield BY_HAND
        return
    webhook = Webhook(secrets_of(settings).webhook_secret)
    async with httpx.AsyncClient(timeout=5) as client:
        yield SandboxProvider(webhook=webhook, client=client, hook_url=f"{settings.base_url}{HOOK_PATH}")
