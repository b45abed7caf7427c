"""The provider's webhook: one effect, however often it comes; what is forged, old or wrong changes nothing."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook

from flashsale.payment import SUCCEEDED_EVENT
from tests.integration.conftest import Shops
from tests.integration.provider import asked, event, state_of, told
from tests.integration.shop import Data, assert_problem

pytestmark = pytest.mark.servers


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
