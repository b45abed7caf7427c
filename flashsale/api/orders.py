"""A fan's orders over HTTP: list, see, watch, pay, cancel. Everything here asks for an identity."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from flashsale import clock, order, payment
from flashsale.api import replies
from flashsale.api.bodies import pass_over_body
from flashsale.api.events import TooManyWatchersError, Watchers
from flashsale.api.picture import Pictures
from flashsale.api.replies import RefusedError, problem
from flashsale.api.who import fan_of
from flashsale.identity import Identities
from flashsale.order import Order
from flashsale.proof import Proofs
from flashsale.sale import SLUG
from flashsale.stores import Stores


class Orders:
    """The order resources. base_url: where the payment address begins in sandbox mode."""

    def __init__(
        self,
        *,
        stores: Stores,
        pictures: Pictures,
        proofs: Proofs,
        identities: Identities,
        watchers: Watchers,
        sandbox: bool,
    ) -> None:
        self._stores = stores
        self._pictures = pictures
        self._proofs = proofs
        self._identities = identities
        self._watchers = watchers
        self._sandbox = sandbox

    async def listing(self, request: Request) -> Response:
        """GET orders[?sale=]: the fan's orders, newest first, those on their way included; and whether it is all."""
        fan = await self._fan(request)
        sale = request.query_params.get("sale")
        if sale is not None and not SLUG.fullmatch(sale):
            raise RefusedError(replies.UNKNOWN_SALE)
        async with self._stores.postgres.acquire() as connection:
            landed = await order.of_fan(connection, fan, sale=sale)
        known = {one.order for one in landed}
        in_buckets, complete = await self._accepted(fan, sale)
        on_way = [one for one in in_buckets if one.order not in known]
        accepted = await asyncio.gather(*map(self._proved, on_way))
        found = sorted([*accepted, *landed], key=lambda one: one.accepted_ms, reverse=True)
        return replies.success(200, {"orders": [shown(one) for one in found], "complete": complete}).response()

    async def one(self, request: Request) -> Response:
        """GET orders/{order}."""
        return replies.success(200, shown(await self._proved(await self._own(request)))).response()

    async def events(self, request: Request) -> Response:
        """GET orders/{order}/events: server-sent events, one at once and one at each change."""
        own = await self._proved(await self._own(request))
        try:
            changes = self._watchers.watch(own)
        except TooManyWatchersError:
            raise RefusedError(replies.CROWDED) from None

        async def stream() -> AsyncIterator[bytes]:
            async with changes as stream_of_orders:
                async for change in stream_of_orders:
                    yield b": still here\n\n" if change is None else _event(change)

        return StreamingResponse(
            stream(),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def pay(self, request: Request) -> Response:
        """POST orders/{order}/payment: a payment to settle with the provider; asked again, the same."""
        own = await self._own_confirmed(request)
        async with self._stores.postgres.acquire() as connection:
            asked = await payment.ask(connection, order_id=uuid.UUID(own.order), fan=own.fan, now_ms=clock.now_ms())
        if asked is None:
            raise RefusedError(_over(await self._own(request), "paid"))
        data: dict[str, Any] = {
            "payment": asked.payment,
            "order": asked.order,
            "amount_minor": asked.amount_minor,
            "currency": asked.currency,
            "pay_url": f"/api/v1/sandbox/payments/{asked.payment}" if self._sandbox else None,
        }
        return replies.success(201, data).response()

    async def cancel(self, request: Request) -> Response:
        """POST orders/{order}/cancellation: end a confirmed, unpaid order; its unit goes back on sale."""
        own = await self._own_confirmed(request)
        async with self._stores.postgres.acquire() as connection:
            cancelled = await order.cancel(connection, order_id=uuid.UUID(own.order), fan=own.fan)
        now = await self._own(request)
        if not cancelled and now.state is not order.State.CANCELLED:
            raise RefusedError(_over(now, "cancelled"))
        return replies.success(200, shown(now)).response()

    async def _fan(self, request: Request) -> str:
        return await fan_of(self._identities, request.headers.get("authorization", ""))

    async def _own_confirmed(self, request: Request) -> Order:
        """The asker's order, once it is in Postgres; there alone it can be paid and cancelled."""
        await pass_over_body(request.receive, dict(request.scope["headers"]))
        own = await self._own(request)
        if own.state is order.State.ACCEPTED:
            raise RefusedError(
                problem(409, "not-confirmed-yet", "The order is being written down, ask again", retry_after_s=1)
            )
        return own

    async def _own(self, request: Request) -> Order:
        """The order in the path, if it is the asker's; another fan's order looks like none. While a bucket that may
        have it is closed, nobody knows."""
        fan = await self._fan(request)
        try:
            order_id = uuid.UUID(request.path_params["order"])
        except ValueError:
            raise RefusedError(replies.UNKNOWN_ORDER) from None
        async with self._stores.postgres.acquire() as connection:
            found = (await order.by_id(connection, [order_id])).get(order_id)
        if found is None:
            accepted, complete = await self._accepted(fan, None)
            found = next((one for one in accepted if one.order == str(order_id)), None)
            if found is None and not complete:
                raise RefusedError(replies.ORDERS_CLOSED)
        if found is None or found.fan != fan:
            raise RefusedError(replies.UNKNOWN_ORDER)
        return found

    async def _proved(self, own: Order) -> Order:
        """The order with the level that its bucket's servers prove now, while it is on its way to Postgres."""
        picture = self._pictures.find(own.sale)
        if own.state is not order.State.ACCEPTED or picture is None:
            return own
        level = await self._proofs.level_of(picture.sale, own.fan, uuid.UUID(own.order).hex)
        return replace(own, reached=level)

    async def _accepted(self, fan: str, sale: str | None) -> tuple[list[Order], bool]:
        """The fan's orders in the buckets of the sales, and whether all of these buckets could tell."""
        redis, pictures = self._stores.redis, self._pictures.all
        asked = [one.sale for one in pictures if sale is None or one.sale.sale == sale]
        told = await asyncio.gather(*(order.accepted_of(redis, one, fan) for one in asked))
        return [one for orders in told for one in orders or ()], None not in told


def shown(one: Order) -> dict[str, Any]:
    """An order's public form. Times in ms since 1970 UTC, null until they have come."""
    return {
        "order": one.order,
        "sale": one.sale,
        "item": one.item,
        "unit": one.unit,
        "state": one.state,
        "level": one.level,
        "price_minor": one.price_minor,
        "currency": one.currency,
        "channel": one.channel or None,
        "accepted_ms": one.accepted_ms,
        "pay_before_ms": one.pay_before_ms,
        "confirmed_ms": one.confirmed_ms,
        "paid_ms": one.paid_ms,
        "closed_ms": one.closed_ms,
        "payment_state": one.payment_state,
        "late_order": one.late_order,
        "checking": one.checking,
    }


def _event(one: Order) -> bytes:
    return b"event: order\ndata: %s\n\n" % orjson.dumps(shown(one))


def _over(one: Order, verb: str) -> replies.Reply:
    return problem(
        409,
        "order-over",
        f"This order can't be {verb} any more",
        detail=f"it is {one.state}",
        state=one.state,
    )
