"""From reserving to paying on the page: the day of a fan who is quick enough, and of one who is not."""

import json
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Route

from tests.acceptance.conftest import Phones, Rivals
from tests.acceptance.desk import Desk
from tests.acceptance.fan import Fan
from tests.support.waiting import until

pytestmark = pytest.mark.browser


def stored(fan: Fan) -> dict[str, str]:
    """What the page keeps on the phone."""
    found: dict[str, str] = json.loads(fan.page.evaluate("JSON.stringify({...localStorage})"))
    return found


def test_reserve_wait_buy_pay(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a sale that opens in seconds / When a fan reserves, waits, buys and pays / Then each step is told."""
    ops.reserved_sale(sale_name, opens="+5s")
    fan.come(sale_name, query="?channel=wechat")

    fan.see("reserve")
    fan.press("reserve")
    fan.see("waiting")
    assert fan.find("reserved").is_visible()
    assert fan.find("buy").is_disabled()
    assert fan.find("countdown").get_attribute("data-to") == "to_opening"

    fan.see("buy")  # the button turns by the server's clock, without a reload
    fan.press("item-black")
    fan.press("buy")
    fan.see("won")
    fan.see_order("confirmed")
    fan.press("pay")
    fan.see("paid")
    fan.see_order("paid")

    orders = ops.rows("select item, state, channel, fan, price_minor from orders where sale = $1", sale_name)
    assert orders == [{"item": "black", "state": "paid", "channel": "wechat", "fan": "xiaolin", "price_minor": 249950}]
    assert fan.find("pay").count() == 0


def test_sold_out_and_a_unit_comes_back(fan: Fan, ops: Desk, rivals: Rivals, sale_name: str) -> None:
    """Given one unit / When another fan has it and lets it go / Then the page says sold out and wakes up again."""
    ops.sale(sale_name, stock=(1, 0))
    fan.come(sale_name)
    fan.see("buy")
    quick = rivals("quick")
    order = quick.buy(sale_name)

    if fan.find("buy").is_enabled():  # the page may have looked meanwhile
        fan.press("buy")
    fan.see("sold_out")
    assert "卖完了" in fan.told
    assert fan.find("buy").is_disabled()
    assert fan.find("item-silver").get_attribute("data-stock") == "sold_out"

    until(lambda: quick.cancel(order), what="the other order is cancelled")
    fan.see("buy")
    fan.press("buy")
    fan.see("won")
    assert fan.find("unit").inner_text() == "№1"


def test_a_reload_keeps_right_press_and_order(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a fan who reloads after each step / Then right, press and order are found again and nothing is repeated."""
    ops.reserved_sale(sale_name, opens="-1s", closes="+1h")
    fan.come(sale_name)
    fan.see("reserve")
    fan.press("reserve")
    fan.see("buy")
    right = stored(fan)[f"flashsale.right.{sale_name}.xiaolin"]

    fan.page.reload()
    fan.see("buy")
    assert fan.find("reserved").is_visible()
    assert stored(fan)[f"flashsale.right.{sale_name}.xiaolin"] == right

    presses: list[tuple[str, str]] = []

    def hold_the_first(route: Route) -> None:
        presses.append((urlsplit(route.request.url).query, route.request.headers["idempotency-key"]))
        if len(presses) > 1:
            route.continue_()
        else:
            route.fetch()  # the server decides, and its answer does not come back before the reload

    fan.page.route("**/purchase*", hold_the_first)
    fan.press("buy")
    fan.see("asking")
    fan.page.reload()
    fan.see("won")
    order = fan.order

    fan.page.reload()
    fan.see("won")
    assert fan.order == order
    assert [query for query, _ in presses] == ["", "retry=1"]
    assert len({key for _, key in presses}) == 1
    assert len(ops.rows("select 1 from orders where sale = $1", sale_name)) == 1


def test_an_expired_order_is_told(phones: Phones, ops: Desk, sale_name: str) -> None:
    """Given an unpaid order / When its time is over / Then the page says so, and the fan may try once more."""
    fan = phones(language="en-US")
    ops.sale(sale_name)
    fan.come(sale_name)
    fan.see("buy")
    fan.press("buy")
    fan.see("won")
    fan.see_order("confirmed")

    ops.rows("update orders set pay_before_ms = 1 where sale = $1", sale_name)
    fan.see("expired")
    fan.see_order("expired")
    assert "not charged" in fan.told
    fan.press("try-again")
    fan.see("buy")
    fan.press("buy")
    fan.see("won")
    fan.see_order("confirmed")
