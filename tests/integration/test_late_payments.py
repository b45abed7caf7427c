"""A payment that comes late gets a unit if one is free, else its money is due back; whoever dies in between."""

import asyncio
import uuid
from dataclasses import replace
from typing import Final

import pytest

from flashsale import late_payment, ledger
from flashsale.errors import StateError
from flashsale.late_payment import Late
from flashsale.outcomes import Outcome
from flashsale.payment import State, late_order_of
from flashsale.purchase import Purchases
from flashsale.sale import Sale, Verb
from tests.integration.conftest import Shops
from tests.integration.processes import working
from tests.integration.provider import asked, event, late, out_of_time, refunded, state_of, told
from tests.integration.shop import BASE, Data, Shop, assert_problem
from tests.support.waiting import soon

pytestmark = pytest.mark.servers

REASON: Final = (
    "select p.reason from payments p join orders o using (order_id) where o.sale = $1 and reason is not null"
)
LATE_ORDERS: Final = "select unit, fan, state from orders where sale = $1 and lane = 'late'"


async def until_settled(shop: Shop, payment: Data, state: str) -> None:
    """Wait until the payment is in that state."""

    async def is_so() -> bool:
        return bool((await state_of(shop, payment))[0]["payment"] == state)

    await soon(is_so, what=f"the payment is {state}")


async def waiting(shop: Shop) -> tuple[Sale, list[Late]]:
    """The sale and its late payments, as a worker sees them."""
    async with shop.operations.postgres.acquire() as connection:
        return await ledger.find(connection, shop.sale), await late_payment.waiting(connection, shop.sale)


async def test_it_gets_a_unit_when_one_is_free(shops: Shops) -> None:
    """Given money for an order that had expired, and free units / When a worker runs / Then it has paid another unit,
    and the fan finds that order from the first."""
    shop = await shops(silver=2)
    payment = await late(shop)
    first = await shop.order("alice", payment["order"])
    assert (first["state"], first["payment_state"], first["late_order"]) == ("expired", "late", None)
    worker = await shop.work()
    await until_settled(shop, payment, "succeeded")
    first = await shop.order("alice", payment["order"])
    assert (first["state"], first["payment_state"]) == ("expired", "succeeded")
    assert first["late_order"] == str(late_order_of(uuid.UUID(payment["payment"])))
    second = await shop.order("alice", first["late_order"])
    assert (second["state"], second["payment_state"], second["late_order"]) == ("paid", "succeeded", None)
    listed = await shop.client.get(f"{BASE}/orders", headers=shop.bearer("alice"), params={"sale": shop.sale})
    assert listed.json()["orders"] == [second, first]
    assert worker.metrics.registry.get_sample_value("flashsale_late_payments_total", {"state": "succeeded"}) == 1
    assert (await told(shop, event(payment))).status_code == 204
    assert len(await shop.rows(LATE_ORDERS)) == 1
    assert (await shop.audited()).balanced


async def test_its_order_can_be_refunded(shops: Shops) -> None:
    """Given an order that a late payment paid / When ops refund it / Then it is over, and its unit comes back."""
    shop = await shops(silver=2)
    payment = await late(shop)
    async with working(shop.reached):
        await until_settled(shop, payment, "succeeded")
        found = (await shop.order("alice", payment["order"]))["late_order"]
        await shop.money_back(found)
        await shop.has_state("alice", found, "refunded")
    await shop.give_back()
    audited = await shop.audited()
    assert (audited.balanced, audited.items[0].free) == (True, 2)


async def test_sold_out_is_due_back(shops: Shops) -> None:
    """Given money for an ended order whose unit another fan has / When a worker runs / Then it goes back by itself."""
    shop = await shops(silver=1)
    payment = await late(shop)
    assert (await shop.buy("bob"))["unit"] == 1
    await shop.settle_late()
    assert await state_of(shop, payment) == [{"payment": "refund_due", "order": "expired"}]
    assert await shop.rows(REASON) == [{"reason": "it came late and got no unit: SOLD_OUT"}]
    assert (await shop.order("alice", payment["order"]))["payment_state"] == "refund_due"
    await shop.work()
    await until_settled(shop, payment, "refunded")
    assert (await shop.order("alice", payment["order"]))["payment_state"] == "refunded"
    assert [row["reason"] for row in await shop.rows("select reason from returns where sale = $1")] == ["expired"]
    assert (await shop.audited()).balanced


async def test_a_fan_at_the_limit_gets_it_back(shops: Shops) -> None:
    """Given a fan who bought again after their order had expired / When the first one's money comes / Then it is due
    back, as one fan may not have two."""
    shop = await shops()
    await late(shop)
    await shop.buy("alice")
    await shop.settle_late()
    assert await shop.rows(REASON) == [{"reason": "it came late and got no unit: ALREADY_BOUGHT"}]


async def test_it_waits_for_the_fans_own_unit_to_come_back(shops: Shops) -> None:
    """Given the only unit, on its way back from the very fan who paid late / When it is tried / Then it waits, since
    the bucket would still count that order against the limit; and then it gets that unit."""
    shop = await shops(silver=1)
    payment = await late(shop, given_back=False)
    assert await shop.settle_late() == 0
    assert (await state_of(shop, payment))[0]["payment"] == "late"
    await shop.work()
    await until_settled(shop, payment, "succeeded")
    assert await shop.rows(LATE_ORDERS) == [{"unit": 1, "fan": "alice", "state": "paid"}]


async def test_a_cancelled_orders_money_is_late_too(shops: Shops) -> None:
    """Given an order that its fan cancelled while paying / When the money comes / Then it is late, not lost."""
    shop = await shops(silver=1)
    payment = await asked(shop)
    await shop.post("alice", f"orders/{payment['order']}/cancellation")
    for _ in range(2):
        assert (await told(shop, event(payment))).status_code == 204
        assert await state_of(shop, payment) == [{"payment": "late", "order": "cancelled"}]
    await shop.work()
    await until_settled(shop, payment, "succeeded")


async def test_ops_need_not_wait(shops: Shops) -> None:
    """Given a late payment of a paused sale, which has won already / When ops give it back / Then it is due at once,
    its order ends, and to decide it again or after its end changes nothing."""
    shop = await shops()
    payment = await late(shop)
    await dies_after(shop, "landed")
    await shop.operations.move(shop.sale, Verb.PAUSE)
    for _ in range(2):
        await shop.money_back(payment["order"])
        assert (await state_of(shop, payment))[0]["payment"] == "refund_due"
    await shop.settle_late()
    assert [row["state"] for row in await shop.rows(LATE_ORDERS)] == ["cancelled"]
    assert (await told(shop, refunded(payment))).status_code == 204
    with pytest.raises(StateError, match="has gone back already"):
        await shop.money_back(payment["order"])


async def test_after_the_sale_it_is_due_back(shops: Shops) -> None:
    """Given a sale that is closed / When money comes late / Then it is due back."""
    shop = await shops()
    payment = await late(shop)
    await shop.operations.move(shop.sale, Verb.CLOSE)
    await shop.settle_late()
    assert (await state_of(shop, payment))[0]["payment"] == "refund_due"
    assert await shop.rows(REASON) == [{"reason": "it came late and got no unit: CLOSED"}]


async def test_while_the_sale_is_paused_it_waits(shops: Shops) -> None:
    """Given a paused sale / When money comes late / Then it waits and gets its unit after, but not for ever."""
    shop = await shops()
    one, other = await late(shop, "alice"), await late(shop, "bob")
    await shop.operations.move(shop.sale, Verb.PAUSE)
    assert await shop.settle_late() == 0
    long_ago = "update payments set late_at = now() - interval '1 hour' where payment = $1"
    await shop.operations.postgres.execute(long_ago, uuid.UUID(other["payment"]))
    assert await shop.settle_late() == 1
    assert (await state_of(shop, other))[0]["payment"] == "refund_due"
    await shop.operations.move(shop.sale, Verb.RESUME)
    await shop.work()
    await until_settled(shop, one, "succeeded")


async def test_a_dry_bucket_of_several_is_asked_again(shops: Shops) -> None:
    """Given a sale of two buckets / When money comes late / Then it gets a unit; where no bucket has one, it waits for
    the balancer to bring one, and is due back when none has come in time."""
    shop = await shops(top="buckets = 2", silver=2)
    async with working(shop.reached):
        won = await shop.buy("alice")
        await shop.has_state("alice", won["order"], "confirmed")
        payment = await shop.pay("alice", won["order"])
        await out_of_time(shop, won["order"])
        await shop.has_state("alice", won["order"], "expired")
        assert (await told(shop, event(payment))).status_code == 204
        await until_settled(shop, payment, "succeeded")
    one = Late(
        uuid.uuid4(), uuid.uuid4(), "bob", "black", "web", landed=False, aside=False, returning=False, waited_s=0
    )
    sale, _ = await waiting(shop)
    for bucket in sale.all_buckets:
        await shop.operations.redis.delete(bucket.free_key("black"))
    purchases = Purchases(shop.operations.redis)
    assert await late_payment.attempt(purchases, sale, one) is Outcome.WAIT
    assert await late_payment.attempt(purchases, sale, replace(one, waited_s=60)) is Outcome.SOLD_OUT


async def test_a_bucket_without_memory_keeps_it_waiting(shops: Shops) -> None:
    """Given a bucket that lost its memory / When money comes late / Then nothing is decided."""
    shop = await shops()
    payment = await late(shop)
    await shop.operations.redis.delete(shop.bucket.sale_key)
    assert await shop.settle_late() == 0
    assert (await state_of(shop, payment))[0]["payment"] == "late"


def test_what_is_a_reason() -> None:
    """Given every outcome / Then those which decided are a reason to give money back, a possible win never is."""
    fresh = Late(
        uuid.uuid4(), uuid.uuid4(), "alice", "silver", "web", landed=False, aside=False, returning=False, waited_s=0
    )
    old = replace(fresh, waited_s=10**6)
    again = {Outcome.WAIT, Outcome.UNKNOWN, Outcome.PAUSED, Outcome.UNAVAILABLE, Outcome.NOT_OPEN}
    for outcome in Outcome:
        decided = outcome not in again and outcome is not Outcome.WON
        assert bool(late_payment.reason_to_refund(fresh, outcome)) is decided
        never = outcome in (Outcome.WON, Outcome.UNKNOWN)
        assert bool(late_payment.reason_to_refund(old, outcome)) is not never


async def test_trying_again_is_one_win(shops: Shops) -> None:
    """Given a late payment / When it is tried by four at once and again / Then it has one order and one unit."""
    shop = await shops()
    await late(shop)
    sale, (one,) = await waiting(shop)
    purchases = [Purchases(shop.operations.redis) for _ in range(4)]
    for _ in range(2):
        assert {await late_payment.attempt(each, sale, one) for each in purchases} == {Outcome.WON}
    await shop.land()
    assert await late_payment.attempt(purchases[0], sale, one) is Outcome.WON
    assert await shop.rows(LATE_ORDERS) == [{"unit": 1, "fan": "alice", "state": "confirmed"}]


STEPS: Final = ("late", "won", "landed", "paid")


async def dies_after(shop: Shop, step: str) -> None:
    """Do what a worker did that was killed right after this step."""
    place = STEPS.index(step)
    if place >= STEPS.index("won"):
        sale, found = await waiting(shop)
        for one in found:
            assert await late_payment.attempt(Purchases(shop.operations.redis), sale, one) is Outcome.WON
    if place >= STEPS.index("landed"):
        await shop.land()
    if place >= STEPS.index("paid"):
        await shop.settle_late()


@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_killed_after_each_step(shops: Shops, step: str) -> None:
    """Given a worker that died after this step of two late payments / When the next runs / Then each has one unit."""
    shop = await shops()
    payments = [await late(shop, fan) for fan in ("alice", "bob")]
    await dies_after(shop, step)
    assert (await shop.audited()).balanced
    await shop.work()
    for payment in payments:
        await until_settled(shop, payment, "succeeded")
    rows = await shop.rows(LATE_ORDERS)
    assert sorted((row["fan"], row["state"]) for row in rows) == [("alice", "paid"), ("bob", "paid")]
    assert len({row["unit"] for row in rows}) == 2
    assert (await shop.audited()).balanced


async def test_several_workers_at_once(shops: Shops) -> None:
    """Given late payments whose orders have landed / When four workers that saw them as late finish each / Then each is
    paid once and stays so, also when the last of them comes after the money has gone back."""
    shop = await shops()
    payments = [await late(shop, fan) for fan in ("alice", "bob")]
    await dies_after(shop, "landed")
    _, found = await waiting(shop)

    async def finishes(one: Late) -> State:
        async with shop.operations.postgres.acquire() as connection:
            return await late_payment.finish(connection, one)

    assert set(await asyncio.gather(*(finishes(one) for one in found * 4))) == {State.SUCCEEDED}
    for payment in payments:
        assert (await state_of(shop, payment))[0]["payment"] == "succeeded"
        assert (await told(shop, refunded(payment))).status_code == 204
    assert set(await asyncio.gather(*(finishes(one) for one in found))) == {State.REFUNDED}
    assert [row["state"] for row in await shop.rows(LATE_ORDERS)] == ["refunded"] * 2


async def test_its_order_expires_before_it_is_paid(shops: Shops) -> None:
    """Given a worker that died between landing and paying, for long / When the next runs / Then the order is over, its
    unit comes back once, and the money is due back."""
    shop = await shops()
    payment = await late(shop)
    await dies_after(shop, "landed")
    await out_of_time(shop)
    await shop.expire()
    await shop.settle_late()
    assert await shop.rows(REASON) == [{"reason": late_payment.ORDER_OVER}]
    await shop.give_back()
    audited = await shop.audited()
    assert (audited.balanced, audited.items[0].free) == (True, 5)
    assert (await state_of(shop, payment))[0]["payment"] == "refund_due"


async def test_refunded_while_it_waits_for_landing(shops: Shops) -> None:
    """Given a late payment that has won / When the provider gives the money back, and the order lands then / Then the
    order ends by itself, with its unit, and can't be paid."""
    shop = await shops()
    payment = await late(shop)
    await dies_after(shop, "won")
    assert (await told(shop, refunded(payment))).status_code == 204
    await shop.land()
    await shop.settle_late()
    assert await shop.rows(LATE_ORDERS) == [{"unit": 1, "fan": "alice", "state": "cancelled"}]
    await shop.give_back()
    audited = await shop.audited()
    assert (audited.balanced, audited.items[0].free) == (True, 5)
    assert (await state_of(shop, payment))[0] == {"payment": "refunded", "order": "expired"}


async def test_such_a_unit_is_held_too_where_units_are_held(shops: Shops) -> None:
    """Given a sale that holds what comes back / When an order that nobody will pay ends / Then its unit is held."""
    shop = await shops(top='returned = "hold"')
    payment = await late(shop)
    await dies_after(shop, "landed")
    assert (await told(shop, refunded(payment))).status_code == 204
    await shop.settle_late()
    await shop.give_back()
    found = await shop.audited()
    assert (found.balanced, found.items[0].free, found.items[0].held) == (True, 3, 2)


async def test_a_refusal_after_a_lost_win(shops: Shops) -> None:
    """Given a win whose reply was lost and an end that was decided without it / When it lands / Then the order ends."""
    shop = await shops()
    await late(shop)
    sale, (one,) = await waiting(shop)
    async with shop.operations.postgres.acquire() as connection:
        await late_payment.finish(connection, one, refusal="decided meanwhile")
    assert await late_payment.attempt(Purchases(shop.operations.redis), sale, one) is Outcome.WON
    await shop.land()
    await shop.settle_late()
    assert [row["state"] for row in await shop.rows(LATE_ORDERS)] == ["cancelled"]


async def test_the_fan_does_not_pay_the_late_order_again(shops: Shops) -> None:
    """Given an order that a late payment is about to pay / When the fan asks to pay it / Then refused; it says why."""
    shop = await shops()
    payment = await late(shop)
    await dies_after(shop, "landed")
    order = str(late_order_of(uuid.UUID(payment["payment"])))
    assert (await shop.order("alice", order))["payment_state"] == "late"
    before = await shop.snapshot()
    assert_problem(await shop.post("alice", f"orders/{order}/payment"), 409, "order-over")
    assert await shop.snapshot() == before


async def test_money_for_an_order_that_another_payment_paid(shops: Shops) -> None:
    """Given a fan who may have two and paid one order by a second payment / When the first one's money comes too / Then
    it buys no second unit: it is due back."""
    shop = await shops(top="per_fan_limit = 2")
    first = await asked(shop)
    await shop.rows("delete from payments p using orders o where o.order_id = p.order_id and sale = $1 returning 1")
    second = await shop.pay("alice", first["order"])
    await shop.operations.postgres.execute(
        "update payments set state = 'succeeded', paid_order = order_id where payment = $1",
        uuid.UUID(second["payment"]),
    )
    await shop.rows("update orders set state = 'paid' where sale = $1 returning 1")
    await shop.operations.postgres.execute(
        "insert into payments (payment, order_id, amount_minor, currency) values ($1, $2, 199900, 'CNY')",
        uuid.UUID(first["payment"]), uuid.UUID(first["order"]),
    )  # fmt: skip
    assert (await told(shop, event(first))).status_code == 204
    assert (await state_of(shop, first))[0] == {"payment": "refund_due", "order": "paid"}
    await shop.settle_late()
    assert await shop.rows(LATE_ORDERS) == []
