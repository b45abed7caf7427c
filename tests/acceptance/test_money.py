"""What a fan is told of money that comes late or goes back, while they look and after a reload, in both languages."""

import pytest

from flashsale.sale import Verb
from tests.acceptance.conftest import Phones
from tests.acceptance.desk import Desk
from tests.acceptance.fan import Fan
from tests.support.waiting import until

pytestmark = pytest.mark.browser

PAYMENT = (
    "insert into payments (payment, order_id, amount_minor, currency)"
    " select gen_random_uuid(), order_id, price_minor, currency from orders where sale = $1 returning 1"
)
OF_SALE = "order_id in (select order_id from orders where sale = $1) returning 1"
LATE = f"update payments set state = 'late', late_at = now(), late_order = gen_random_uuid() where {OF_SALE}"  # noqa: S608


def told(fan: Fan, *words: str) -> None:
    """Wait until the page says one of these."""
    until(lambda: any(word in fan.told for word in words), what=f"the page says {words}")


def bought(fan: Fan, ops: Desk, sale_name: str) -> None:
    """A fan who won, and whose order is there."""
    ops.sale(sale_name)
    fan.come(sale_name)
    fan.see("buy")
    fan.press("buy")
    fan.see("won")
    fan.see_order("confirmed")


def ran_out_while_paying(fan: Fan, ops: Desk, sale_name: str) -> None:
    """The order is over, a payment of it was asked for, and the page says that nothing was charged."""
    bought(fan, ops, sale_name)
    ops.rows(PAYMENT, sale_name)
    ops.rows("update orders set pay_before_ms = 1 where sale = $1", sale_name)
    fan.see("expired")
    told(fan, "not charged", "没有被扣款")


def open_order(fan: Fan) -> None:
    """Look at the only order of the list."""
    fan.page.locator('[data-test="orders"] button').first.tap()


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_money_that_came_late_and_goes_back(phones: Phones, ops: Desk, sale_name: str, language: str) -> None:
    """Given an order that ran out while its fan was paying / When the money comes late / Then the page tells by itself
    that a unit is looked for, then that the money goes back, and after a reload that it went back."""
    fan = phones(language=language)
    ran_out_while_paying(fan, ops, sale_name)
    ops.move(sale_name, Verb.PAUSE)  # so that the worker decides nothing meanwhile
    ops.rows(LATE, sale_name)
    told(fan, "Your payment came late", "你的付款到得晚了")
    # Asked of the provider already, so that the sandbox does not settle it while the fan looks.
    ops.rows(f"update payments set state = 'refund_due', refund_asked_at = now() where {OF_SALE}", sale_name)  # noqa: S608
    told(fan, "the money goes back", "钱会退还给你")
    ops.rows(f"update payments set state = 'refunded' where {OF_SALE}", sale_name)  # noqa: S608
    fan.page.reload()
    open_order(fan)
    told(fan, "the money went back", "钱已经退还给你")


def test_money_that_came_late_and_found_a_unit(phones: Phones, ops: Desk, sale_name: str) -> None:
    """Given an order that ran out while its fan was paying, and free units / When the money comes late / Then the page
    says by itself that it bought another unit, and that order is in the list, paid."""
    fan = phones(language="en-US")
    ran_out_while_paying(fan, ops, sale_name)
    first = fan.order
    ops.rows(LATE, sale_name)
    told(fan, "bought you another unit")
    until(lambda: fan.page.locator('[data-test="orders"] button').count() == 1, what="the new order is in the list")
    open_order(fan)
    fan.see("paid")
    fan.see_order("paid")
    assert fan.order != first


def test_a_refunded_order(phones: Phones, ops: Desk, sale_name: str) -> None:
    """Given a paid order / When its money is to go back, and has gone / Then the page says so after a reload."""
    fan = phones(language="en-US")
    bought(fan, ops, sale_name)
    fan.press("pay")
    fan.see("paid")
    ops.rows(f"update payments set state = 'refund_due', refund_asked_at = now() where {OF_SALE}", sale_name)  # noqa: S608
    fan.page.reload()
    fan.see("paid")
    told(fan, "This order is being refunded")
    ops.rows("update orders set state = 'refunded', ended_at = now() where sale = $1", sale_name)
    ops.rows(f"update payments set state = 'refunded' where {OF_SALE}", sale_name)  # noqa: S608
    fan.page.reload()
    open_order(fan)
    fan.see("refunded")
    told(fan, "Your money went back to you")
