"""What the verdict of a rehearsal reads: of one sale, in one state, within bounds; else it would clear what is not."""

import pytest

from tests.ground.full import insert, win
from tests.ground.two import Two

pytestmark = pytest.mark.servers


async def count(two: Two, name: str, *arguments: object) -> int:
    """The number that a query of the verdict tells."""
    (row,) = await two.ask("verdict", name, *arguments)
    return int(row[0])


async def test_the_verdict_counts_one_sale(two: Two) -> None:
    """Given two sales of which one has an order more / When they are counted / Then each has its own."""
    assert await insert(two.connection, "land", win("fay", 6), sale=two.name) == 1
    assert await count(two, "landed", two.name) == 6
    assert await count(two, "returns_given_back", two.name) == 1
    assert await count(two, "returns_waiting", two.name) == 2
    assert len(await two.ask("verdict", "set_aside_contents", two.name)) == 1
    confirmed = await two.ask("verdict", "confirmed_now", two.name, 99)
    assert [row["fan"] for row in confirmed] == ["fay", "alice"]
    states = await two.ask("verdict", "states_of", [two.one.orders["alice"], two.one.orders["dora"]])
    assert {row["state"] for row in states} == {"confirmed", "expired"}
    assert len(states) == 2


async def test_the_verdict_counts_what_waits_in_one_sale(two: Two) -> None:
    """Given an order that waits in each of two sales / Then one waits; none does when that of this sale is over."""
    assert await count(two, "waiting", two.name) == 1
    await two.connection.execute("update set_aside set state = 'refused' where sale = $1", two.name)
    assert await count(two, "waiting", two.name) == 0


async def test_orders_that_were_accepted_between_two_moments(two: Two) -> None:
    """Given orders at 1,000 and 2,000 ms / When those between are counted / Then the bounds are not between."""
    for fan, at_ms in (("alice", 1_000), ("bob", 2_000)):
        await two.connection.execute(
            "update orders set accepted_ms = $2 where order_id = $1", two.one.orders[fan], at_ms
        )
    await two.connection.execute("update orders set accepted_ms = 1500 where sale = $1", two.other.sale.sale)
    for low, high, number in ((999, 2_001, 2), (1_000, 2_001, 1), (999, 2_000, 1), (1_000, 2_000, 0)):
        assert await count(two, "accepted_between", two.name, low, high) == number


async def test_the_story_of_a_unit_is_its_own(two: Two) -> None:
    """Given units 1 and 3 of two items and sales / When the story of one is told / Then it has its own orders only."""
    black = win("fay", 3, item="black")
    assert await insert(two.connection, "land", black, sale=two.name) == 1
    (row,) = await two.ask("verdict", "story_of_unit", two.name, "silver", 3)
    assert (row["order_id"], row["state"]) == (two.one.orders["carol"], "cancelled")
    (row,) = await two.ask("verdict", "story_of_unit", two.name, "black", 3)
    assert row["order_id"] == black.order_id
