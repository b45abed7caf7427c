"""The main job over HTTP: reserve, wait for noon, buy, see it confirmed, pay; and every honest answer on the way."""

import pytest

from flashsale import clock, limits
from flashsale.sale import Verb
from tests.integration.conftest import Shops
from tests.integration.shop import BASE, assert_problem, is_uuid, until_status
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


async def test_from_reservation_to_paid(shops: Shops) -> None:
    """Given a fan who reserved / When the time comes, with no command / Then they buy, it is confirmed, they pay."""
    shop = await shops(opens="+1500ms")
    await shop.work()
    login = await shop.client.post(f"{BASE}/sandbox/login", json={"fan": "alice"})
    bearer = {"authorization": f"Bearer {login.json()['token']}"}
    reserved = await shop.client.post(
        f"{BASE}/sales/{shop.sale}/reservation", headers=bearer, json={"channel": "wechat"}
    )
    assert (reserved.json()["outcome"], reserved.json()["channel"]) == ("RESERVED", "wechat")
    right = reserved.json()["right"]
    early = assert_problem(await shop.press(right, key="noon"), 409, "not-open")
    assert early["outcome"] == "NOT_OPEN"
    won = await until_status(lambda: shop.press(right, key="noon"), 201)
    order = won.json()["order"]
    assert is_uuid(order)
    assert won.headers["location"] == f"{BASE}/orders/{order}"
    assert won.json() | {"pay_before_ms": 0} == {
        "outcome": "WON", "order": order, "sale": shop.sale, "item": "silver", "unit": 1, "level": "accepted",
        "pay_before_ms": 0,
    }  # fmt: skip
    confirmed = await shop.has_state("alice", order, "confirmed")
    assert confirmed["accepted_ms"] >= early["opens_ms"]
    assert (confirmed["level"], confirmed["channel"], confirmed["unit"]) == ("confirmed", "wechat", 1)
    assert confirmed["pay_before_ms"] == won.json()["pay_before_ms"] == confirmed["accepted_ms"] + 900_000
    payment = await shop.pay("alice", order)
    assert (payment["amount_minor"], payment["currency"], payment["order"]) == (199_900, "CNY", order)
    assert (await shop.client.post(payment["pay_url"])).status_code == 202
    paid = await shop.has_state("alice", order, "paid")
    assert paid["paid_ms"] >= paid["confirmed_ms"] >= paid["accepted_ms"]
    assert (await shop.audited()).balanced


async def test_reserving_again_gives_the_same(shops: Shops) -> None:
    """Given a fan who reserved / When they do it again, even through another channel / Then it is the same right."""
    shop = await shops()
    first = await shop.reserve("alice", "wechat")
    assert await shop.reserve("alice") == first == await shop.reserve("alice", "web")
    await shop.shows(lambda sale: sale["reservation"]["count"] == 1, what="one has reserved")


async def test_the_same_key_tells_the_win_after_the_close(shops: Shops) -> None:
    """Given a win, and the sale closed / When the fan asks again with the key / Then they are told that win."""
    shop = await shops()
    right, other = await shop.reserve("alice"), await shop.reserve("bob")
    won = await shop.press(right, key="noon")
    assert (await shop.press(right, key="noon")).json() == won.json()
    await shop.operations.move(shop.sale, Verb.CLOSE)
    again = await shop.press(right, key="noon")
    assert (again.status_code, again.json()) == (201, won.json())
    assert_problem(await shop.press(other), 410, "closed")


async def test_the_same_key_tells_the_win_after_the_end(shops: Shops) -> None:
    """Given a win in the last moment / When the fan asks again after the sale's end / Then they are told that win."""
    shop = await shops()
    right, other = await shop.reserve("alice"), await shop.reserve("bob")
    won = await shop.press(right, key="noon")
    assert won.status_code == 201
    # Its end is now, by the bucket's clock; a sale that is short from the start may be over before alice has pressed.
    await shop.operations.redis.hset(shop.bucket.sale_key, "closes_ms", str(clock.now_ms()))
    await shop.shows(lambda sale: sale["state"] == "closed", what="the sale is over")
    assert_problem(await shop.press(other, retry=False), 410, "closed")
    again = await shop.press(right, key="noon")
    assert (again.status_code, again.json()) == (201, won.json())


async def test_a_double_press_is_told_its_order(shops: Shops) -> None:
    """Given a win / When the fan presses again without a key / Then they hear of the order they have."""
    shop = await shops()
    right = await shop.reserve("alice")
    won = await shop.press(right)
    refused = assert_problem(await shop.press(right), 409, "already-bought")
    assert (refused["outcome"], refused["order"]) == ("ALREADY_BOUGHT", won.json()["order"])
    assert_problem(await shop.press(right, "black"), 409, "already-bought")


async def test_a_key_is_for_one_thing(shops: Shops) -> None:
    """Given a win under a key / When the key comes with another item / Then it is refused and takes nothing."""
    shop = await shops(top="per_fan_limit = 2")
    right = await shop.reserve("alice")
    assert (await shop.press(right, key="noon")).status_code == 201
    before = await shop.snapshot()
    assert_problem(await shop.press(right, "black", key="noon"), 422, "key-reused")
    assert await shop.snapshot() == before
    assert (await shop.press(right, "black", key="other")).status_code == 201


async def test_two_for_each(shops: Shops) -> None:
    """Given a limit of two / When a fan presses three times / Then they have two."""
    shop = await shops(top="per_fan_limit = 2")
    right = await shop.reserve("alice")
    units = [(await shop.press(right)).json()["unit"] for _ in range(2)]
    assert units == [1, 2]
    assert_problem(await shop.press(right), 409, "already-bought")


async def test_a_cancelled_unit_is_sold_again(shops: Shops) -> None:
    """Given a sold-out item / When an order is cancelled / Then its unit, and no other, is sold to the next fan."""
    shop = await shops(silver=1)
    await shop.work()
    won = await shop.buy("alice")
    await shop.shows(lambda sale: sale["items"][0]["stock"] == "sold_out", what="it shows as sold out")
    right = await shop.reserve("bob")
    assert_problem(await shop.press(right), 409, "sold-out")
    await shop.has_state("alice", won["order"], "confirmed")
    for _ in range(2):
        cancelled = await shop.post("alice", f"orders/{won['order']}/cancellation")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert cancelled.json()["closed_ms"] is not None
    again = await until_status(lambda: shop.press(right), 201)
    assert again.json()["unit"] == won["unit"]
    await shop.has_state("bob", again.json()["order"], "confirmed")
    assert_problem(await shop.post("alice", f"orders/{won['order']}/payment"), 409, "order-over")
    assert (await shop.audited()).balanced


async def test_an_unpaid_unit_is_sold_again(shops: Shops) -> None:
    """Given a sold-out item and an order past its time to pay / Then it expires and its unit is sold again."""
    shop = await shops(silver=1)
    await shop.work()
    won = await shop.buy("alice")
    await shop.has_state("alice", won["order"], "confirmed")
    await shop.rows("update orders set pay_before_ms = accepted_ms where sale = $1 returning 1")
    expired = await shop.has_state("alice", won["order"], "expired")
    assert expired["closed_ms"] is not None
    right = await shop.reserve("bob")
    again = await until_status(lambda: shop.press(right), 201)
    assert again.json()["unit"] == won["unit"]
    assert_problem(await shop.post("alice", f"orders/{won['order']}/payment"), 409, "order-over")
    assert_problem(await shop.post("alice", f"orders/{won['order']}/cancellation"), 409, "order-over")
    await shop.landed(2)
    assert (await shop.audited()).balanced


async def test_an_ended_order_with_an_unsettled_payment_is_not_payable(shops: Shops) -> None:
    """Given a payment asked for, then the order cancelled / When it is asked for again / Then it is refused."""
    shop = await shops()
    await shop.work()
    won = await shop.buy("alice")
    await shop.has_state("alice", won["order"], "confirmed")
    first = await shop.pay("alice", won["order"])
    assert (await shop.pay("alice", won["order"]))["payment"] == first["payment"]
    await shop.post("alice", f"orders/{won['order']}/cancellation")
    assert_problem(await shop.post("alice", f"orders/{won['order']}/payment"), 409, "order-over")


async def test_hoarding_ends(shops: Shops) -> None:
    """Given a fan who lets order after order go / Then soon their next attempt is refused."""
    shop = await shops()
    await shop.work()
    right, let_go = await shop.reserve("alice"), 0
    while (won := await shop.press(right)).status_code == 201:
        await shop.has_state("alice", won.json()["order"], "confirmed")
        await shop.post("alice", f"orders/{won.json()['order']}/cancellation")
        let_go += 1

        async def came_back() -> bool:
            return not await shop.rows("select 1 from returns where sale = $1 and given_back_at is null")

        await soon(came_back, what="the unit came back")
    assert_problem(won, 403, "returned-too-often")
    assert let_go in (limits.RETURNED_PER_FAN_MAX, limits.RETURNED_PER_FAN_MAX + 1)


async def test_an_order_on_its_way_is_listed(shops: Shops) -> None:
    """Given a win and no worker / Then the fan sees it, accepted, can't pay or cancel yet, and nobody else sees it."""
    shop = await shops()
    won = await shop.buy("alice")
    listed = await shop.client.get(f"{BASE}/orders?sale={shop.sale}", headers=shop.bearer("alice"))
    assert [one["order"] for one in listed.json()["orders"]] == [won["order"]]
    one = await shop.order("alice", won["order"])
    assert (one["state"], one["level"], one["confirmed_ms"]) == ("accepted", "accepted", None)
    for what in ("payment", "cancellation"):
        refused = assert_problem(await shop.post("alice", f"orders/{won['order']}/{what}"), 409, "not-confirmed-yet")
        assert refused["retry_after_s"] == 1
    nobody = await shop.client.get(f"{BASE}/orders", headers=shop.bearer(f"nobody-{shop.sale}"))
    assert nobody.json() == {"orders": [], "complete": True}
