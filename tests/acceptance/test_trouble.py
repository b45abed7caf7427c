"""The page when things go wrong on the way: paused, cut off in mid-press, offline."""

import pytest
from playwright.sync_api import Route

from flashsale.sale import Verb
from tests.acceptance.desk import Desk
from tests.acceptance.fan import Fan

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
