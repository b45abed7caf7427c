"""What a fan is told when a unit was sold twice: that it is checked, then of the other unit, or an apology."""

import pytest

from tests.acceptance.conftest import Phones
from tests.acceptance.desk import Desk
from tests.acceptance.fan import Fan
from tests.acceptance.test_money import told
from tests.support.waiting import until

pytestmark = pytest.mark.browser

# Unit 1 was sold before. It is written down for a bucket that nobody watches, or the worker would see that the fan's
# bucket is older, and rebuild it before the fan has pressed.
RIVAL = (
    "insert into orders (order_id, sale, item, unit, fan, bucket, channel, lane, price_minor, currency, accepted_ms,"
    " pay_before_ms) values (gen_random_uuid(), $1, 'silver', 1, 'rival', 1, 'web', 'public', 1, 'CNY', 1,"
    " 4000000000000) returning 1"
)


def buys_what_is_sold(fan: Fan, ops: Desk, sale_name: str, *, units: int) -> None:
    """The fan wins unit 1, which another fan has."""
    ops.sale(sale_name, stock=(units, 5))
    ops.rows(RIVAL, sale_name)
    fan.come(sale_name)
    fan.see("buy")
    fan.find("item-silver").tap()
    fan.press("buy")
    fan.see("won")


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_no_unit_is_left(phones: Phones, ops: Desk, sale_name: str, language: str) -> None:
    """Given the last unit, sold twice / Then its second fan reads that another one is looked for, then an apology, by
    itself and after a reload; they may try again, and are asked to pay nothing."""
    fan = phones(language=language)
    buys_what_is_sold(fan, ops, sale_name, units=1)
    told(fan, "We are looking for another one", "我们正在为你换一件")
    fan.see_order("accepted")
    ops.rows("update set_aside set created_at = now() - interval '5 minutes' where sale = $1 returning 1", sale_name)
    fan.see("sorry")
    told(fan, "You were not charged", "你没有被扣款")
    fan.see_order("refused")
    assert fan.page.locator('[data-test="pay"]').count() == 0
    fan.page.reload()
    fan.page.locator('[data-test="orders"] button').first.tap()
    fan.see("sorry")
    fan.press("try-again")
    fan.see("buy")


def test_another_unit(phones: Phones, ops: Desk, sale_name: str) -> None:
    """Given a unit sold twice, and others / Then its second fan soon reads the number of another one, confirmed."""
    fan = phones(language="en-US")
    buys_what_is_sold(fan, ops, sale_name, units=3)
    fan.see_order("confirmed")
    until(lambda: "2" in fan.find("unit").inner_text(), what="the ticket shows the other unit")
