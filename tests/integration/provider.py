"""The payment provider as the tests play it: payments asked for, its events, and webhooks that it signs."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import httpx
from standardwebhooks import Webhook

from flashsale.payment import REFUNDED_EVENT, SUCCEEDED_EVENT
from tests.integration.shop import BASE, Data, Shop

_ADDRESS = f"{BASE}/hooks/payment"


async def asked(shop: Shop, fan: str = "alice") -> Data:
    """A payment that the fan asked for, of a landed order. No worker is left running."""
    won = await shop.buy(fan)
    await shop.land()
    return await shop.pay(fan, won["order"])


async def paid(shop: Shop, fan: str = "alice") -> Data:
    """A payment whose money has come."""
    payment = await asked(shop, fan)
    assert (await told(shop, event(payment))).status_code == 204
    return payment


def event(payment: Data, /, **changed: Any) -> Data:
    """What the provider says when the payment succeeded."""
    data = {name: payment[name] for name in ("payment", "order", "amount_minor", "currency")}
    return {"type": SUCCEEDED_EVENT, "data": data | changed}


def refunded(payment: Data, /, **changed: Any) -> Data:
    """What the provider says when the money went back."""
    return event(payment, **changed) | {"type": REFUNDED_EVENT}


async def told(
    shop: Shop,
    said: Data | bytes,
    *,
    age: timedelta = timedelta(),
    secret: str = "",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> httpx.Response:
    """The answer to a signed webhook; headers overwrites those of the signature."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    at, message = datetime.now(UTC) - age, f"msg_{uuid.uuid4()}"
    signature = Webhook(secret or shop.settings.webhook_secret).sign(message, at, body.decode())
    signed = {"webhook-id": message, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}
    sent = {"content-type": "application/json", **signed, **headers}
    raw = [(name.encode(), value.encode()) for name, value in sent.items() if value]
    return await shop.client.post(_ADDRESS, content=body, headers=raw)


async def state_of(shop: Shop, payment: Data) -> list[Data]:
    """The payment's state, with that of the order which it was asked for."""
    sql = (
        "select p.state as payment, o.state as order from payments p join orders o using (order_id)"
        " where o.sale = $1 and p.payment = $2"
    )
    rows = await shop.operations.postgres.fetch(sql, shop.sale, uuid.UUID(payment["payment"]))
    return [dict(row) for row in rows]


async def out_of_time(shop: Shop, order: str | None = None) -> None:
    """Let the time to pay be over, of one order or of all."""
    sql = "update orders set pay_before_ms = accepted_ms where sale = $1 and ($2::uuid is null or order_id = $2)"
    await shop.operations.postgres.execute(sql, shop.sale, order and uuid.UUID(order))


async def late(shop: Shop, fan: str = "alice", *, given_back: bool = True) -> Data:
    """A payment whose money came when its order had expired; the unit is free again, or still on its way back."""
    payment = await asked(shop, fan)
    await out_of_time(shop, payment["order"])
    await shop.expire()
    if given_back:
        await shop.give_back()
    assert (await told(shop, event(payment))).status_code == 204
    assert (await state_of(shop, payment))[0] == {"payment": "late", "order": "expired"}
    return payment
