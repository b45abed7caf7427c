"""The page when things go wrong on the way: paused, cut off in mid-press, offline."""

import pytest
from playwright.sync_api import Route

from flashsale.sale import Verb
from tests.acceptance.desk import Desk
from tests.acceptance.fan import Fan
from tests.support.waiting import until

pytestmark = pytest.mark.browser


def test_paused_and_resumed(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given an open sale / When ops pause and resume it / Then the page says so and wakes the button again."""
    ops.sale(sale_name)
    fan.come(sale_name)
    fan.see("buy")

    ops.move(sale_name, Verb.PAUSE)
    fan.see("paused")
    assert "库存不变" in fan.told
    assert fan.find("buy").is_disabled()

    ops.move(sale_name, Verb.RESUME)
    fan.see("buy")
    fan.press("buy")
    fan.see("won")


def test_crowded(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a bucket that takes no more for now / When the fan presses / Then the page counts down, asks and wins."""
    keys: list[str] = []
    ops.sale(sale_name)
    fan.come(sale_name)
    fan.see("buy")
    fan.page.on("request", lambda one: keys.append(one.headers.get("idempotency-key", "")))
    ops.fill_outbox(sale_name)
    fan.press("buy")
    fan.see("crowded")
    assert "人太多了" in fan.told
    assert fan.find("again").is_visible()

    ops.empty_outbox(sale_name)
    fan.see("won")
    pressed = [key for key in keys if key]
    assert len(pressed) >= 2
    assert set(pressed) == {pressed[0]}


def test_pressing_again_before_the_unit_has_come_back(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given an order that was cancelled a moment ago / When the fan presses while the bucket still counts it / Then the
    page waits instead of saying that they have bought, and wins."""
    ops.sale(sale_name)
    fan.come(sale_name)
    fan.see("buy")
    fan.press("buy")
    fan.see("won")
    fan.press("cancel")
    fan.press("cancel-yes")
    fan.see("cancelled")
    given_back = "select 1 from returns where sale = $1 and given_back_at is not null"
    until(lambda: bool(ops.rows(given_back, sale_name)), what="the unit has come back")

    ops.count_ended_orders(sale_name, live=True)
    fan.press("try-again")
    fan.see("buy")
    fan.press("buy")
    fan.see("crowded")
    ops.count_ended_orders(sale_name, live=False)
    fan.see("won")
    states = ops.rows("select state from orders where sale = $1", sale_name)
    assert sorted(row["state"] for row in states if row["state"] != "confirmed") == ["cancelled"]
    assert len(states) <= 2, "one press, one order"


def test_cancelling_an_order_that_is_not_written_down_yet(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a win that has not landed / When the fan cancels at once / Then the page waits with it and cancels."""
    ops.sale(sale_name)
    fan.come(sale_name)
    fan.see("buy")
    with ops.landing_held():
        fan.press("buy")
        fan.see("won")
        fan.press("cancel")
        with fan.page.expect_response("**/cancellation") as told:
            fan.press("cancel-yes")
        assert told.value.json()["type"] == "/problems/not-confirmed-yet"
        assert fan.find("cancel-yes").is_disabled()
    fan.see("cancelled")
    assert [row["state"] for row in ops.rows("select state from orders where sale = $1", sale_name)] == ["cancelled"]


def test_signing_out_while_a_cancellation_waits(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a cancellation that waits for its order to be written down / When the fan signs out / Then it is given up:
    nothing is asked in another fan's name, and the order stays."""
    ops.sale(sale_name)
    fan.come(sale_name)
    fan.see("buy")
    asked: list[str] = []
    with ops.landing_held():
        fan.press("buy")
        fan.see("won")
        fan.press("cancel")
        with fan.page.expect_response("**/cancellation"):
            fan.press("cancel-yes")
        fan.page.on("request", lambda one: asked.append(one.url))
        fan.press("sign-out")
        fan.see("login")
        fan.page.wait_for_timeout(1_500)  # by then it would have been asked again
    fan.sign_in("somebody.else")
    fan.see("buy")
    assert [url for url in asked if url.endswith("/cancellation")] == []
    assert [row["state"] for row in ops.rows("select state from orders where sale = $1", sale_name)] == ["confirmed"]


def test_a_press_whose_answer_is_lost(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a press that was heard / When its answer is lost / Then the same key finds the one order."""
    keys: list[str] = []

    def lose_the_first(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 1:
            route.continue_()
            return
        route.fetch()  # the server hears it and decides
        route.abort("connectionreset")

    ops.sale(sale_name)
    fan.come(sale_name)
    fan.see("buy")
    fan.page.route("**/purchase*", lose_the_first)
    fan.press("buy")
    fan.see("lost")
    assert "不会买两次" in fan.told
    fan.see("won")
    fan.see_order("confirmed")

    assert len(keys) >= 2
    assert set(keys) == {keys[0]}
    orders = ops.rows("select order_id::text from orders where sale = $1", sale_name)
    assert orders == [{"order_id": fan.order}]


def test_offline_and_back(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given no network / When the fan presses and the network comes back / Then the press goes through, once."""
    ops.sale(sale_name)
    fan.come(sale_name)
    fan.see("buy")

    fan.context.set_offline(True)
    fan.press("buy")
    fan.see("lost")
    assert fan.find("ask-now").is_visible()

    fan.context.set_offline(False)
    fan.see("won")
    fan.see_order("confirmed")
    assert len(ops.rows("select 1 from orders where sale = $1", sale_name)) == 1
