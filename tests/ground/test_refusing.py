"""What refusing an order that waits decides, in one of two sales that are alike: which order, at which price, whose
unit."""

import uuid
from typing import Final

import pytest

from flashsale.queries import query
from tests.ground.two import Two

pytestmark = pytest.mark.servers
# Of dora's order in the sale $1: it is live with unit 6, or unit 6 came back by it since.
LIVE: Final = "update orders set unit = 6, state = 'paid' where sale = $1 and fan = 'dora'"
CAME_BACK: Final = (
    "update returns set unit = 6, given_back_at = now() + interval '1 s' where sale = $1 and fan = 'dora'"
)


async def aside_of(two: Two, sale: str) -> uuid.UUID:
    """The order of a sale that waits."""
    return uuid.UUID(str(await two.connection.fetchval("select order_id from set_aside where sale = $1", sale)))


async def refuse(two: Two, order: uuid.UUID) -> bool:
    """Refuse an order that waits; whether it was."""
    return [row["order_id"] for row in await two.ask("set_aside", "refuse", order)] == [order]


async def test_a_refused_order_has_price_and_currency_of_its_sale(two: Two) -> None:
    """Given two sales alike but for price and currency / When an order of one is refused / Then it has those of its
    own."""
    await two.connection.execute("update sales set currency = 'EUR' where sale = $1", two.name)
    order = await aside_of(two, two.name)
    assert await refuse(two, order)
    row = await two.connection.fetchrow("select * from orders where order_id = $1", order)
    assert row
    assert (row["sale"], row["item"], row["price_minor"], row["currency"]) == (two.name, "silver", 199900, "EUR")


@pytest.mark.parametrize("elsewhere", [True, False])
async def test_an_order_of_an_item_that_the_sale_does_not_have_is_not_refused(two: Two, *, elsewhere: bool) -> None:
    """Given an order that waits, of an item that its sale does not have / Then it becomes no order, though another sale
    may have such an item: a person has to look at it."""
    if elsewhere:
        gold = "insert into items (sale, item, place, title, price_minor) values ($1, 'gold', 9, '{}', 1)"
        await two.connection.execute(gold, two.other.sale.sale)
    await two.connection.execute(
        """update set_aside set win = win || '{"item": "gold"}' where sale = $1""", two.name
    )  # fmt: skip
    assert not await refuse(two, await aside_of(two, two.name))


@pytest.mark.parametrize("state", ["unreadable", "replaced", "refused", "compensated", "replayed"])
async def test_what_does_not_wait_is_not_refused(two: Two, state: str) -> None:
    """Given an order that was set aside and waits no longer / Then it is not refused."""
    await two.connection.execute("update set_aside set state = $2, note = 'x' where sale = $1", two.name, state)
    assert not await refuse(two, await aside_of(two, two.name))


async def test_one_refused_orders_unit_comes_back(two: Two) -> None:
    """Given an order that was refused in each of two sales / When the unit of one is to come back / Then it alone
    does."""
    order, other = [await aside_of(two, name) for name in (two.name, two.other.sale.sale)]
    await two.connection.execute("update set_aside set tried = '{1,6}' where order_id = any($1)", [order, other])
    assert await refuse(two, order)
    assert len(await two.connection.fetch(query("set_aside", "refuse"), other)) == 1
    assert [row["order_id"] for row in await two.ask("set_aside", "return_of_refused", order)] == [order]


@pytest.mark.parametrize("sql", [LIVE, CAME_BACK])
async def test_a_unit_of_another_sale_stands_against_nothing(two: Two, sql: str) -> None:
    """Given a refused order, and a unit of that number that is another order's / When it is of this sale / Then it does
    not come back by the refused one; when it is of another sale, it does."""
    order = await aside_of(two, two.name)
    await two.connection.execute("update set_aside set tried = '{1,6}' where sale = $1", two.name)
    assert await refuse(two, order)
    for sale, comes_back in ((two.name, False), (two.other.sale.sale, True)):
        transaction = two.connection.transaction()
        await transaction.start()
        await two.connection.execute(sql, sale)
        assert len(await two.ask("set_aside", "return_of_refused", order)) == comes_back
        await transaction.rollback()


async def test_a_bucket_is_told_of_its_orders_that_can_be_read(two: Two) -> None:
    """Given orders of two sales for which ops did something / Then the bucket of one is to hear of its own; and of no
    entry that nobody could read: there is no line to end."""
    orders = [await aside_of(two, name) for name in (two.name, two.other.sale.sale)]
    change = "update set_aside set state = 'compensated', note = 'x' where order_id = any($1)"
    await two.connection.execute(change, orders)
    assert [row["order_id"] for row in await two.ask("set_aside", "to_tell", two.name, 9)] == orders[:1]
    await two.connection.execute("update set_aside set win = null where sale = $1", two.name)
    assert await two.ask("set_aside", "to_tell", two.name, 9) == []
