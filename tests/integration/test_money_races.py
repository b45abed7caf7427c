"""Money under races: whoever comes first, each payment has one end, each unit is in one place, each comes back once.

Many interleavings of the real code on real Postgres and HTTP, from a seed that is printed; and, where the order of two
matters, two connections with row locks held on purpose.
"""

import asyncio
import contextlib
import functools
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
import pytest

from flashsale import clock, order, payment
from flashsale.errors import StateError
from flashsale.payment import Event, State
from flashsale.queries import query
from tests.integration.conftest import Shops
from tests.integration.provider import asked, event, late, out_of_time, paid, refunded, state_of, told
from tests.integration.shop import Data, Shop
from tests.support import seeds
from tests.support.locks import until_somebody_waits
from tests.support.waiting import turns

pytestmark = pytest.mark.servers

FANS: Final = 24
ENDS: Final = (
    "select p.state as payment, o.state as order,"
    " (select count(*) from returns r where r.order_id = o.order_id) as back"
    " from payments p join orders o using (order_id) where o.sale = $1"
)
UNITS_TWICE: Final = (
    "select unit from orders where sale = $1 and state in ('confirmed', 'paid') group by unit having count(*) > 1"
)


async def all_asked(shop: Shop, fans: int = FANS) -> list[Data]:
    """A payment of each fan's landed order."""
    wins = await shop.crowd(fans)
    await shop.land()
    return [await shop.pay(f"fan{number}", win["order"]) for number, win in enumerate(wins)]


def chances(salt: str) -> random.Random:
    """What a test leaves to chance: by the seed that stands at the head of the run's report."""
    return random.Random(f"{seeds.walk_seed()} {salt}")  # noqa: S311 -- nothing secret


async def at_once(*deeds: Callable[[], Awaitable[object]], salt: str) -> None:
    """Begin all of them, each after a random few turns of the loop; what one raises, this raises."""
    chance = chances(salt)

    async def begun(deed: Callable[[], Awaitable[object]], wait: int) -> None:
        await turns(wait)
        await deed()

    shuffled = chance.sample(deeds, len(deeds))
    await asyncio.gather(*(begun(deed, chance.randrange(40)) for deed in shuffled))


def taken(shop: Shop, said: Data) -> Callable[[], Awaitable[object]]:
    """Send a webhook, which must be taken."""

    async def send() -> None:
        answer: httpx.Response = await told(shop, said)
        assert answer.status_code == 204, answer.text

    return send


def cancelling(shop: Shop, number: int, one: Data) -> Callable[[], Awaitable[object]]:
    """The fan of that number cancels; it may be too late for that."""
    return lambda: shop.post(f"fan{number}", f"orders/{one['order']}/cancellation")


async def ends(shop: Shop) -> "Counter[tuple[str, str, int]]":
    """How many payments ended how: state of the payment, of the order it was asked for, its returns."""
    return Counter((row["payment"], row["order"], row["back"]) for row in await shop.rows(ENDS))


async def all_back(shop: Shop, *, free: int) -> None:
    """Let everything come back; then it balances, so many units are free, and none is in two live orders."""
    await shop.give_back()
    found = await shop.audited()
    assert (found.balanced, found.items[0].free) == (True, free), found.items
    assert await shop.rows(UNITS_TWICE) == []


@pytest.mark.parametrize("turn", range(3))
async def test_pay_against_expire(shops: Shops, turn: int) -> None:
    """Given orders past their time / When their money comes while they expire / Then each is paid, or over and late."""
    shop = await shops(silver=FANS)
    payments = await all_asked(shop)

    def expiring(one: Data) -> Callable[[], Awaitable[object]]:
        async def end() -> None:
            await out_of_time(shop, one["order"])
            await shop.expire()

        return end

    deeds = [deed for one in payments for deed in (taken(shop, event(one)), expiring(one))]
    await at_once(*deeds, salt=f"expire {turn}")
    found = await ends(shop)
    assert set(found) <= {("succeeded", "paid", 0), ("late", "expired", 1)}
    await all_back(shop, free=found["late", "expired", 1])


@pytest.mark.parametrize("turn", range(3))
async def test_pay_against_cancel(shops: Shops, turn: int) -> None:
    """Given orders that are being paid / When their fans cancel them / Then each is paid, or over and late."""
    shop = await shops(silver=FANS)
    payments = await all_asked(shop)
    deeds = [taken(shop, event(one)) for one in payments]
    deeds += [cancelling(shop, number, one) for number, one in enumerate(payments)]
    await at_once(*deeds, salt=f"cancel {turn}")
    found = await ends(shop)
    assert set(found) <= {("succeeded", "paid", 0), ("late", "cancelled", 1)}
    await all_back(shop, free=found["late", "cancelled", 1])


async def test_a_webhook_twice_at_once(shops: Shops) -> None:
    """Given payments / When each webhook comes four times at once / Then each order is paid by one, 204 each time."""
    shop = await shops(silver=FANS)
    payments = await all_asked(shop, FANS // 2)
    await at_once(*(taken(shop, event(one)) for one in payments for _ in range(4)), salt="twice")
    assert await ends(shop) == {("succeeded", "paid", 0): FANS // 2}


@pytest.mark.parametrize("turn", range(3))
async def test_webhooks_out_of_order(shops: Shops, turn: int) -> None:
    """Given payments that succeed and are refunded / When both webhooks come at once, twice / Then each is refunded; an
    order that was paid in between is over and its unit comes back once, else it is still to be paid."""
    shop = await shops(silver=FANS)
    payments = await all_asked(shop)
    said = [words(one) for one in payments for words in (event, refunded, event, refunded)]
    await at_once(*(taken(shop, one) for one in said), salt=f"order {turn}")
    found = await ends(shop)
    assert set(found) <= {("refunded", "refunded", 1), ("refunded", "confirmed", 0)}
    await all_back(shop, free=found["refunded", "refunded", 1])


@pytest.mark.parametrize("turn", range(2))
async def test_ops_refund_against_the_providers_webhook(shops: Shops, turn: int) -> None:
    """Given paid orders / When ops refund them while the provider does / Then each is refunded once, in any order."""
    shop = await shops(silver=FANS)
    payments = await all_asked(shop)
    for one in payments:
        await taken(shop, event(one))()

    def deciding(one: Data) -> Callable[[], Awaitable[object]]:
        async def decide() -> None:
            with contextlib.suppress(StateError):  # it may have gone back already
                await shop.money_back(one["order"])

        return decide

    deeds = [*(taken(shop, refunded(one)) for one in payments for _ in range(2)), *map(deciding, payments)]
    await at_once(*deeds, salt=f"ops {turn}")
    assert await ends(shop) == {("refunded", "refunded", 1): FANS}
    await all_back(shop, free=FANS)


async def test_two_payments_of_one_order_are_never_asked_for(shops: Shops) -> None:
    """Given a confirmed order / When its fan asks to pay it many times at once / Then it is one payment."""
    shop = await shops()
    won = await shop.buy("alice")
    await shop.land()
    asked_for = await asyncio.gather(*(shop.pay("alice", won["order"]) for _ in range(12)))
    assert len({one["payment"] for one in asked_for}) == 1


@pytest.mark.parametrize("turn", range(2))
async def test_everything_at_once(shops: Shops, turn: int) -> None:
    """Given orders / When money comes, goes back, fans cancel, time runs out and units come back, all at once, and then
    those who can buy again / Then every unit is in one place, and returned ones are sold again once each."""
    shop = await shops(silver=FANS)
    payments = await all_asked(shop)
    chance = chances(f"all {turn}")
    await out_of_time(shop, payments[0]["order"])
    deeds: list[Callable[[], Awaitable[object]]] = [shop.expire, shop.give_back, shop.settle_late, shop.land] * 3
    for number, one in enumerate(payments):
        deeds += [taken(shop, event(one))] * 2
        if chance.random() < 0.4:
            deeds.append(taken(shop, refunded(one)))
        if chance.random() < 0.4:
            deeds.append(cancelling(shop, number, one))
    await at_once(*deeds, salt=f"all {turn}")
    for _ in range(4):
        for deed in (shop.give_back, shop.settle_late, shop.land):
            await deed()
    found = await shop.audited()
    assert found.balanced
    assert (
        await shop.rows(
            "select 1 from payments join orders using (order_id) where sale = $1 and payments.state = 'late'"
        )
        == []
    )
    for number in range(found.items[0].free):
        await shop.buy(f"again{number}")
    await shop.land()
    live = await shop.rows("select unit from orders where sale = $1 and state in ('confirmed', 'paid') order by unit")
    assert [row["unit"] for row in live] == list(range(1, FANS + 1))
    assert (await shop.audited()).items[0].free == 0


@pytest.mark.parametrize("turn", range(2))
async def test_late_payments_against_each_other(shops: Shops, turn: int) -> None:
    """Given more late payments than free units / When several workers settle them at once, fans press, and orders land
    / Then each payment has a unit of its own or is due back, and no unit is sold twice."""
    shop = await shops(silver=FANS)
    payments = [await late(shop, f"fan{number}") for number in range(FANS // 2)]
    rights = [await shop.reserve(f"rival{number}") for number in range(FANS)]
    presses: list[Callable[[], Awaitable[object]]] = [functools.partial(shop.press, right) for right in rights]
    await at_once(*presses, *[shop.settle_late, shop.land] * 4, salt=f"late {turn}")
    for _ in range(3):
        await shop.land()
        await shop.settle_late()
    found = await shop.rows(
        "select p.state, p.paid_order from payments p join orders o using (order_id) where sale = $1"
    )
    assert {row["state"] for row in found} <= {"succeeded", "refund_due"}
    tied = {row["paid_order"] for row in found if row["state"] == "succeeded"}
    late_paid = await shop.rows("select order_id from orders where sale = $1 and lane = 'late' and state = 'paid'")
    assert tied == {row["order_id"] for row in late_paid}
    assert len(payments) == len(found)
    await all_back(shop, free=0)


def _event(said: Data) -> Event:
    return Event.model_validate({**said["data"], "type": said["type"]})


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_money_that_comes_while_an_order_is_being_ended(shops: Shops, ending: str) -> None:
    """Given an expiry that has the row and has not committed / When the money comes / Then it waits, and is late when
    the expiry commits, and pays when it does not."""
    shop = await shops()
    one = await asked(shop)
    await out_of_time(shop)
    async with shop.operations.postgres.acquire() as connection:
        expiry = connection.transaction()
        await expiry.start()
        assert await order.expire(connection, now_ms=clock.now_ms()) >= 1
        webhook = asyncio.create_task(told(shop, event(one)))
        await until_somebody_waits(shop.operations.postgres)
        await (expiry.commit() if ending == "commit" else expiry.rollback())
    assert (await webhook).status_code == 204
    expected = (
        {"payment": "late", "order": "expired"} if ending == "commit" else {"payment": "succeeded", "order": "paid"}
    )
    assert await state_of(shop, one) == [expected]


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_an_expiry_that_meets_money(shops: Shops, ending: str) -> None:
    """Given a payment that has the row and has not committed / When orders expire / Then this one is passed over; if
    the payment does not commit after all, it expires next time."""
    shop = await shops()
    one = await asked(shop)
    await out_of_time(shop)
    async with shop.operations.postgres.acquire() as connection:
        paying = connection.transaction()
        await paying.start()
        assert await payment.settle(connection, _event(event(one))) is State.SUCCEEDED
        await shop.expire()
        await (paying.commit() if ending == "commit" else paying.rollback())
    await shop.expire()
    expected = "paid" if ending == "commit" else "expired"
    assert (await state_of(shop, one))[0]["order"] == expected


@pytest.mark.parametrize("first", [State.SUCCEEDED, State.REFUNDED])
async def test_the_second_webhook_waits_for_the_first(shops: Shops, first: State) -> None:
    """Given one webhook of a payment in the middle of its transaction / When the other comes / Then it waits, and what
    both leave behind is what either order leaves behind."""
    shop = await shops()
    one = await asked(shop)
    said = {State.SUCCEEDED: event(one), State.REFUNDED: refunded(one)}
    other = State.REFUNDED if first is State.SUCCEEDED else State.SUCCEEDED
    async with shop.operations.postgres.acquire() as connection:
        telling = connection.transaction()
        await telling.start()
        assert await payment.settle(connection, _event(said[first])) is first
        second = asyncio.create_task(told(shop, said[other]))
        await until_somebody_waits(shop.operations.postgres)
        await telling.commit()
    assert (await second).status_code == 204
    ended = "refunded" if first is State.SUCCEEDED else "confirmed"
    assert await state_of(shop, one) == [{"payment": "refunded", "order": ended}]
    await shop.give_back()
    assert (await shop.audited()).balanced


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("state = 'late'", "payments_late_order"),
        ("state = 'succeeded'", "payments_paid_something"),
        ("state = 'lost'", "payments_state_check"),
    ],
)
async def test_postgres_itself_refuses_half_a_state(shops: Shops, change: str, name: str) -> None:
    """Given a payment / When it is given a state without what belongs to it, past all code / Then Postgres refuses."""
    shop = await shops()
    one = await asked(shop)
    with pytest.raises(Exception, match=name):
        await shop.operations.postgres.execute(
            f"update payments set {change} where payment = $1",  # noqa: S608
            uuid.UUID(one["payment"]),
        )


async def test_postgres_itself_allows_one_late_order_a_payment(shops: Shops) -> None:
    """Given a late payment / When another is to have the same late order, past all code / Then Postgres refuses."""
    shop = await shops()
    one, other = await late(shop, "alice"), await asked(shop, "bob")
    with pytest.raises(Exception, match="payments_late_orders"):
        await shop.operations.postgres.execute(
            query("payments", "payment_late"),
            uuid.UUID(other["payment"]),
            payment.late_order_of(uuid.UUID(one["payment"])),
        )


async def test_ops_wait_for_a_webhook(shops: Shops) -> None:
    """Given the provider's refund in the middle of its transaction / When ops decide the same / Then they wait, and are
    told that it has gone back; it is not due once more."""
    shop = await shops()
    one = await paid(shop)
    async with shop.operations.postgres.acquire() as connection, connection.transaction():
        assert await payment.settle(connection, _event(refunded(one))) is State.REFUNDED
        deciding = asyncio.create_task(shop.money_back(one["order"]))
        await until_somebody_waits(shop.operations.postgres)
    with pytest.raises(StateError, match="has gone back already"):
        await deciding
    assert await state_of(shop, one) == [{"payment": "refunded", "order": "refunded"}]


async def test_only_a_paid_order_is_refunded_and_once(shops: Shops) -> None:
    """Given a confirmed and a paid order / When both are refunded twice, past all code / Then the paid one is, once."""
    shop = await shops()
    one, other = await asked(shop, "alice"), await paid(shop, "bob")
    refunding = query("payments", "refund_order")
    for order_id, found in ((one["order"], [None, None]), (other["order"], [uuid.UUID(other["order"]), None])):
        postgres = shop.operations.postgres
        assert [await postgres.fetchval(refunding, uuid.UUID(order_id)) for _ in range(2)] == found
    assert (await state_of(shop, one))[0]["order"] == "confirmed"


async def test_postgres_itself_allows_one_payment_an_order(shops: Shops) -> None:
    """Given a paid order / When another payment is to be tied to it, past all code / Then Postgres refuses that."""
    shop = await shops()
    one, other = await paid(shop, "alice"), await paid(shop, "bob")
    with pytest.raises(Exception, match="payments_that_paid"):
        await shop.operations.postgres.execute(
            query("payments", "payment_succeeded"), uuid.UUID(other["payment"]), uuid.UUID(one["order"])
        )
