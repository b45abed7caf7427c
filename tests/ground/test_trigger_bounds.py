"""Where the triggers of the schema do not bite: what has no orders, what is over, what leaves all that is bounded."""

import pytest

from flashsale.queries import Pool, query
from tests.ground.full import Full, insert, win
from tests.ground.two import Two

pytestmark = pytest.mark.servers


async def test_an_item_without_orders_goes_away(two: Two) -> None:
    """Given an item that nobody ordered, in a sale that has orders / Then it may go."""
    await two.connection.execute("delete from stock_loads where sale = $1", two.name)
    gone = await two.connection.execute("delete from items where sale = $1 and item = 'black'", two.name)
    assert gone == "DELETE 1"


async def test_an_item_goes_away_though_another_sale_has_orders_of_its_like(two: Two) -> None:
    """Given a sale whose orders are gone, and another that has some / Then the item of the first may go."""
    await two.connection.execute(
        "delete from payments where order_id in (select order_id from orders where sale = $1)", two.name
    )
    for table in ("returns", "orders", "stock_loads"):
        await two.connection.execute(f"delete from {table} where sale = $1", two.name)  # noqa: S608
    gone = await two.connection.execute("delete from items where sale = $1 and item = 'silver'", two.name)
    assert gone == "DELETE 1"


async def test_what_is_over_has_no_bound(two: Two) -> None:
    """Given an order that is over, of unit 5 / When it moves to an item of which three units were loaded / Then it may:
    it has no unit any more."""
    moved = await two.connection.execute(
        "update orders set item = 'black' where sale = $1 and fan = 'erin' and unit > 3", two.name
    )
    assert moved == "UPDATE 1"


async def test_what_needs_a_person_may_land_with_the_unit_that_was_tried(two: Two) -> None:
    """Given an order that was set aside and does not wait, and one of another sale that does / When its unit is free
    and it lands / Then it may: only what waits is to get another unit."""
    (one,) = await two.connection.fetch("select win from set_aside where sale = $1", two.name)
    await two.connection.execute("update set_aside set state = 'unreadable' where sale = $1", two.name)
    await two.connection.execute("update orders set state = 'cancelled' where sale = $1 and fan = 'alice'", two.name)
    assert await insert(two.connection, "land", win("finn", 1)._replace(order=one["win"]["order"]), sale=two.name) == 1


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_limit_may_stay_or_rise_below_what_a_fan_holds(two: Two, limit: int) -> None:
    """Given a fan who held three orders before there was any bound / When the limit of one stays or becomes two / Then
    that is no worse than it was."""
    await two.connection.execute("set local session_replication_role = replica")
    await two.connection.execute("update orders set place = 3 where sale = $1 and fan = 'alice'", two.name)
    await two.connection.execute("set local session_replication_role = origin")
    said = await two.connection.execute("update sales set per_fan_limit = $2 where sale = $1", two.name, limit)
    assert said == "UPDATE 1"


async def test_orders_change_their_state_while_their_item_is_locked(postgres: Pool, standing: Full) -> None:
    """Given somebody who has locked an item, to set orders aside / When an order of it is paid, refunded, or is over
    and written / Then that waits for nobody: nothing changes that is bounded."""
    orders = standing.orders
    async with postgres.acquire() as first, first.transaction(), postgres.acquire() as second, second.transaction():
        await first.fetch(query("set_aside", "lock_items"), standing.sale.sale, ["silver", "black"])
        await second.execute("set local lock_timeout = '50ms'")
        assert await second.fetchval(query("payments", "pay_order"), orders["alice"]) == orders["alice"]
        assert await second.fetchval(query("payments", "refund_order"), orders["bob"]) == orders["bob"]
        assert await second.execute("update orders set ended_at = now() where order_id = $1", orders["dora"])
