"""What the payment provider sends, and in sandbox mode the provider itself and a login."""

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import Final

import httpx
from standardwebhooks import Webhook
from starlette.requests import Request
from starlette.responses import Response

from flashsale import clock, payment, provider, rights
from flashsale.api import replies
from flashsale.api.bodies import read_body, read_json
from flashsale.api.replies import RefusedError, problem
from flashsale.errors import BadInputError
from flashsale.identity import Identities
from flashsale.payment import ForgedError
from flashsale.stores import Stores

_log = logging.getLogger(__name__)
_TRIES_AFTER_S: Final = (0.0, 0.5, 2.0, 5.0)


class Hooks:
    """POST hooks/payment."""

    def __init__(self, *, stores: Stores, webhook: Webhook) -> None:
        self._stores = stores
        self._webhook = webhook

    async def payment(self, request: Request) -> Response:
        """Settle what came or went back. 204 when it has had its effect, now or before: the provider stops sending."""
        body = await read_body(request.receive)
        if body is None:
            raise RefusedError(replies.TOO_LARGE)
        try:
            event = payment.read_event(self._webhook, body=body, headers=dict(request.headers))
        except ForgedError as forged:
            raise RefusedError(problem(401, "forged", "The signature does not fit", detail=str(forged))) from forged
        except BadInputError as fault:
            raise RefusedError(replies.bad_input(str(fault))) from fault
        if event is None:
            return Response(status_code=204)  # other events of the provider are none of ours
        try:
            async with self._stores.postgres.acquire() as connection:
                state = await payment.settle(connection, event)
        except BadInputError as fault:
            raise RefusedError(
                problem(422, "payment-mismatch", "This is not what was asked for", detail=str(fault))
            ) from fault
        if state is None:
            raise RefusedError(problem(404, "unknown-payment", "There is no payment of that number"))
        if state is payment.State.REFUND_DUE:
            _log.warning("payment.refund_due payment=%s order=%s", event.payment, event.order)
        if state is payment.State.LATE:
            _log.warning("payment.late payment=%s order=%s", event.payment, event.order)
        return Response(status_code=204)


class Sandbox:
    """A login for anybody and a payment provider with play money. hook_url: where its webhooks go, by real HTTP."""

    def __init__(
        self,
        *,
        stores: Stores,
        identities: Identities,
        webhook: Webhook,
        client: httpx.AsyncClient,
        hook_url: Callable[[Request], str],
    ) -> None:
        self._stores = stores
        self._identities = identities
        self._webhook = webhook
        self._client = client
        self._hook_url = hook_url
        self._sending: set[asyncio.Task[None]] = set()

    async def login(self, request: Request) -> Response:
        """POST sandbox/login {"fan": "alice"}: a token as a shop would give it."""
        data = await read_json(request.receive, dict(request.scope["headers"]))
        fan = data.get("fan")
        if not isinstance(fan, str) or not rights.is_fan(fan):
            raise RefusedError(replies.bad_input("fan: 1 to 64 of letters, digits and _.:@|+=-"))
        token = self._identities.sign(fan, now_s=clock.now_ms() // 1000)
        return replies.success(200, {"token": token, "fan": fan}).response()

    async def pay(self, request: Request) -> Response:
        """POST sandbox/payments/{payment}: play the fan who pays; the webhook follows."""
        try:
            payment_id = uuid.UUID(request.path_params["payment"])
        except ValueError:
            raise RefusedError(replies.NOT_FOUND) from None
        async with self._stores.postgres.acquire() as connection:
            asked = await payment.find(connection, payment_id)
        if asked is None:
            raise RefusedError(replies.NOT_FOUND)
        body = provider.event_body(payment.SUCCEEDED_EVENT, asked, at=clock.now())
        task = asyncio.create_task(self._deliver(body, f"msg_{asked.payment}", self._hook_url(request)))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return Response(status_code=202)

    async def _deliver(self, body: bytes, message_id: str, hook_url: str) -> None:
        """Send the webhook, and again when it is not taken."""
        for pause_s in _TRIES_AFTER_S:
            await asyncio.sleep(pause_s)
            headers = provider.signed(self._webhook, message_id, body, at=clock.now())
            try:
                answer = await self._client.post(hook_url, content=body, headers=headers)
            except httpx.HTTPError as trouble:
                _log.warning("sandbox.webhook_failed url=%s trouble=%s", hook_url, trouble)
                continue
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return
        _log.error("sandbox.webhook_given_up message=%s", message_id)
