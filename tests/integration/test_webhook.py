"""The provider's webhook: one effect, however often it comes; what is forged, old or wrong changes nothing."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from flashsale.payment import SUCCEEDED_EVENT
from tests.integration.conftest import Shops
from tests.integration.shop import BASE, Data, Shop, assert_problem

pytestmark = pytest.mark.servers

_ADDRESS = f"{BASE}/hooks/payment"


async def asked(shop: Shop, fan: str = "alice") -> Data:
    """A payment that the fan asked for, of a landed order. No worker is left running."""
    won = await shop.buy(fan)
    await shop.land()
    return await shop.pay(fan, won["order"])


def event(payment: Data, /, **changed: Any) -> Data:
    """What the provider says when the payment succeeded."""
    data = {name: payment[name] for name in ("payment", "order", "amount_minor", "currency")}
    return {"type": SUCCEEDED_EVENT, "data": data | changed}


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
    """The payments of the order, with the order's state."""
    sql = (
        "select p.state as payment, o.state as order from payments p join orders o using (order_id)"
        " where o.sale = $1 and p.payment = $2"
    )
    rows = await shop.operations.postgres.fetch(sql, shop.sale, uuid.UUID(payment["payment"]))
    return [dict(row) for row in rows]


async def test_one_effect_however_often(shops: Shops) -> None:
    """Given a payment / When its webhook comes, comes again and is sent anew / Then it is paid once, 204 each time."""
    shop = await shops()
    payment = await asked(shop)
    said = event(payment)
    assert (await told(shop, said)).status_code == 204
    assert await state_of(shop, payment) == [{"payment": "succeeded", "order": "paid"}]
    before = await shop.snapshot()
    assert [(await told(shop, said)).status_code for _ in range(3)] == [204] * 3
    assert await shop.snapshot() == before
    assert (await shop.audited()).balanced


async def test_with_two_signatures(shops: Shops) -> None:
    """Given a provider that rotates its secret / When it signs with both / Then the good one is enough."""
    shop = await shops()
    payment = await asked(shop)
    body, at = json.dumps(event(payment)).encode(), datetime.now(UTC)
    good = Webhook(shop.settings.webhook_secret).sign("msg", at, body.decode())
    headers = {"webhook-id": "msg", "webhook-signature": f"v1,b3RoZXI= {good}"}
    assert (await told(shop, body, headers=headers)).status_code == 204
    assert await state_of(shop, payment) == [{"payment": "succeeded", "order": "paid"}]


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldA=="},
        {"age": timedelta(minutes=6)},
        {"age": timedelta(minutes=-6)},
        {"headers": {"webhook-signature": "v1,bm9uc2Vuc2U="}},
        {"headers": {"webhook-signature": "nonsense"}},
        {"headers": {"webhook-signature": "v1,\u00e4"}},
        {"headers": {"webhook-signature": ""}},
        {"headers": {"webhook-timestamp": "yesterday"}},
        {"headers": {"webhook-timestamp": "9" * 400}},
        {"headers": {"webhook-timestamp": ""}},
        {"headers": {"webhook-id": "another"}},
        {"headers": {"webhook-id": ""}},
    ],
    ids=str,
)
async def test_forged_or_old_is_refused(shops: Shops, changed: dict[str, Any]) -> None:
    """Given a payment / When a webhook comes that the provider did not sign just now / Then nothing changes."""
    shop = await shops()
    payment = await asked(shop)
    before = await shop.snapshot()
    assert_problem(await told(shop, event(payment), **changed), 401, "forged")
    assert await shop.snapshot() == before


async def test_a_changed_body_is_refused(shops: Shops) -> None:
    """Given a signed webhook / When a byte of it is changed / Then it is forged."""
    shop = await shops()
    payment = await asked(shop)
    before, at = await shop.snapshot(), datetime.now(UTC)
    signature = Webhook(shop.settings.webhook_secret).sign("msg", at, json.dumps(event(payment)))
    other = json.dumps(event(payment, amount_minor=1)).encode()
    answer = await told(shop, other, headers={"webhook-id": "msg", "webhook-signature": signature})
    assert_problem(answer, 401, "forged")
    assert await shop.snapshot() == before


@pytest.mark.parametrize(
    "changed", [{"amount_minor": 1}, {"currency": "USD"}, {"order": str(uuid.UUID(int=1))}], ids=str
)
async def test_another_amount_or_order_is_refused(shops: Shops, changed: Data) -> None:
    """Given a payment / When the provider names another amount, currency or order / Then nothing changes."""
    shop = await shops()
    payment = await asked(shop)
    before = await shop.snapshot()
    assert_problem(await told(shop, event(payment, **changed)), 422, "payment-mismatch")
    assert await shop.snapshot() == before


async def test_an_unknown_payment_is_refused(shops: Shops) -> None:
    """Given a signed webhook of a payment that nobody asked for / Then 404, and nothing changes."""
    shop = await shops()
    payment = await asked(shop)
    before = await shop.snapshot()
    answer = await told(shop, event(payment, payment=str(uuid.UUID(int=1))))
    assert_problem(answer, 404, "unknown-payment")
    assert await shop.snapshot() == before


@pytest.mark.parametrize("how", ["expired", "cancelled"])
async def test_money_for_an_ended_order_is_due_back(shops: Shops, how: str) -> None:
    """Given an order that ended unpaid / When its money comes after all / Then it is noted once to be given back."""
    shop = await shops(silver=1)
    payment = await asked(shop)
    if how == "cancelled":
        await shop.post("alice", f"orders/{payment['order']}/cancellation")
    else:
        await shop.rows("update orders set pay_before_ms = accepted_ms where sale = $1 returning 1")
        await shop.expire()
    for _ in range(2):
        assert (await told(shop, event(payment))).status_code == 204
        assert await state_of(shop, payment) == [{"payment": "refund_due", "order": how}]
    await shop.give_back()
    assert (await shop.buy("bob"))["unit"] == 1
    assert (await shop.audited()).balanced


@pytest.mark.parametrize("data", [{"payment": str(uuid.UUID(int=1))}, {"customer": "c1"}, [], None], ids=str)
async def test_an_unreadable_event_is_refused(shops: Shops, data: object) -> None:
    """Given a signed payment.succeeded without what it must hold / Then 400, and nothing changes."""
    shop = await shops()
    before = await shop.snapshot()
    assert_problem(await told(shop, {"type": SUCCEEDED_EVENT, "data": data}), 400, "bad-input")
    assert await shop.snapshot() == before


async def test_a_signed_body_that_is_no_json_is_refused(shops: Shops) -> None:
    """Given a signed body that is not JSON / Then 400: the provider has a fault, and is nobody's forger."""
    shop = await shops()
    assert_problem(await told(shop, b"not json"), 400, "bad-input")


async def test_other_events_are_taken_and_passed_over(shops: Shops) -> None:
    """Given a signed event of another type with our payment's data / Then 204, and nothing changes."""
    shop = await shops()
    payment = await asked(shop)
    before = await shop.snapshot()
    assert (await told(shop, event(payment) | {"type": "payment.created"})).status_code == 204
    assert await shop.snapshot() == before


async def test_other_events_may_look_otherwise(shops: Shops) -> None:
    """Given a signed event of another type, with other data / Then 204, so that the provider goes on sending."""
    shop = await shops()
    assert (await told(shop, {"type": "customer.created", "data": {"customer": "c1"}})).status_code == 204
