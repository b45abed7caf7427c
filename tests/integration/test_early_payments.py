"""A payment before its time, or of somebody else's order: there is nothing to pay, and nothing is written."""

import uuid

import pytest

from tests.integration.conftest import Shops
from tests.integration.provider import event, paid, refunded, told
from tests.integration.shop import assert_problem

pytestmark = pytest.mark.servers


async def test_before_the_order_is_confirmed_there_is_nothing_to_pay(shops: Shops) -> None:
    """Given an order that is on its way to Postgres / When it is to be paid, and a webhook names it / Then both are
    refused with nothing written; once it has landed, it is paid. A webhook can't be faster than landing, because a
    payment is asked for a confirmed order only."""
    shop = await shops()
    won = await shop.buy("alice")
    before = await shop.snapshot()
    assert_problem(await shop.post("alice", f"orders/{won['order']}/payment"), 409, "not-confirmed-yet")
    early = {"payment": str(uuid.uuid4()), "order": won["order"], "amount_minor": 199_900, "currency": "CNY"}
    for said in (event(early), refunded(early)):
        assert_problem(await told(shop, said), 404, "unknown-payment")  # so that the provider sends it again
    assert await shop.snapshot() == before
    await shop.land()
    payment = await shop.pay("alice", won["order"])
    assert (await told(shop, event(payment))).status_code == 204
    assert (await shop.order("alice", won["order"]))["state"] == "paid"


async def test_a_payment_of_another_fans_order_is_not_asked_for(shops: Shops) -> None:
    """Given an order / When another fan asks to pay it / Then there is no such order, and nothing changes."""
    shop = await shops()
    payment = await paid(shop)
    before = await shop.snapshot()
    assert_problem(await shop.post("bob", f"orders/{payment['order']}/payment"), 404, "unknown-order")
    assert await shop.snapshot() == before
