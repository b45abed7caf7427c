"""A late payment whose order was set aside: it pays the order if that gets another unit, else its money is due back."""

from typing import Final

import pytest

from flashsale import late_payment
from tests.integration.conftest import Shops
from tests.integration.provider import late, state_of
from tests.integration.test_late_payments import LATE_ORDERS, REASON, dies_after

pytestmark = pytest.mark.servers
RIVAL: Final = (
    "insert into orders (order_id, sale, item, unit, fan, bucket, channel, lane, price_minor, currency, accepted_ms,"
    " pay_before_ms) select gen_random_uuid(), sale, item, unit, 'rival', bucket, channel, lane, price_minor, currency,"
    " accepted_ms, pay_before_ms from orders where sale = $1 returning 1"
)


async def test_an_order_that_could_not_be_stored(shops: Shops) -> None:
    """Given a late payment whose win was set aside / Then it waits, without pressing again; when the order has landed
    with another unit, it is paid."""
    shop = await shops()
    payment = await late(shop)
    await dies_after(shop, "won")
    # It won the unit that came back from the fan's first order; a bucket that rolled back has sold that one before.
    await shop.rows(RIVAL)
    await shop.land()
    for _ in range(2):
        await shop.settle_late()
        assert (await state_of(shop, payment))[0]["payment"] == "late"
        assert not await shop.operations.redis.xlen(shop.bucket.outbox_key)
    await shop.settle_aside()
    await shop.land()
    await shop.settle_late()
    assert (await state_of(shop, payment))[0]["payment"] == "succeeded"
    assert await shop.rows(LATE_ORDERS) == [{"unit": 2, "fan": "alice", "state": "paid"}]


async def test_an_order_that_is_refused(shops: Shops) -> None:
    """Given a late payment whose win was set aside, and no other unit / When the order is refused / Then its money is
    due back."""
    shop = await shops(silver=1)
    payment = await late(shop)
    await dies_after(shop, "won")
    await shop.rows(RIVAL)
    await shop.land()
    await shop.rows("update set_aside set created_at = now() - interval '5 minutes' where sale = $1 returning 1")
    await shop.settle_aside()
    await shop.settle_late()
    assert await shop.rows(REASON) == [{"reason": late_payment.ORDER_ASIDE}]
    assert (await state_of(shop, payment))[0]["payment"] == "refund_due"
