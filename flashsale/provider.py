"""The payment provider, seen from here: an adapter that takes refund requests. Its answers are signed webhooks.

A real shop has no adapter: it reads what is due with `flashsale payment list SALE --state refund_due --json`, gives the
money back at its provider, and the provider's webhook settles it. The sandbox has one, so that the whole way is walked.
"""

from datetime import datetime
from typing import Final, Protocol

import httpx
import orjson
from standardwebhooks import Webhook

from flashsale import clock
from flashsale.payment import REFUNDED_EVENT, EventType, Payment


class ProviderAwayError(Exception):
    """The provider could not be reached; ask again later."""


class Provider(Protocol):
    """Whom refunds are asked of."""

    async def refund(self, due: Payment) -> bool:
        """Hand one over; the provider knows it by its payment, so it may be asked again. False when nobody takes it.

        Raises ProviderAwayError.
        """


class ByHand:
    """Nobody is asked: what is due is listed for the shop, and the provider's webhook settles it."""

    async def refund(self, due: Payment) -> bool:
        """Leave it in the list."""
        return False


class SandboxProvider:
    """Play money goes back at once: the signed webhook follows, by real HTTP. hook_url: where it goes."""

    def __init__(self, *, webhook: Webhook, client: httpx.AsyncClient, hook_url: str) -> None:
        self._webhook = webhook
        self._client = client
        self._hook_url = hook_url

    async def refund(self, due: Payment) -> bool:
        """Send payment.refunded. Raises ProviderAwayError when it is not taken."""
        body = event_body(REFUNDED_EVENT, due, at=clock.now())
        headers = signed(self._webhook, f"msg_refund_{due.payment}", body, at=clock.now())
        try:
            answer = await self._client.post(self._hook_url, content=body, headers=headers)
        except httpx.HTTPError as trouble:
            raise ProviderAwayError(f"{self._hook_url}: {trouble!r}") from trouble
        if not answer.is_success:
            raise ProviderAwayError(f"{self._hook_url} answers {answer.status_code}: {answer.text[:200]}")
        return True


BY_HAND: Final = ByHand()


def event_body(kind: EventType, paid: Payment, *, at: datetime) -> bytes:
    """An event of the sandbox provider, as a provider would send it."""
    return orjson.dumps(
        {
            "type": kind,
            "timestamp": at.isoformat(),
            "data": {
                "payment": paid.payment,
                "order": paid.order,
                "amount_minor": paid.amount_minor,
                "currency": paid.currency,
            },
        }
    )


def signed(webhook: Webhook, message_id: str, body: bytes, *, at: datetime) -> dict[str, str]:
    """The headers of a webhook, by Standard Webhooks."""
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": webhook.sign(message_id, at, body.decode()),
    }
