"""What each query about orders that are set aside decides: whose rows it touches, and in which state."""

from typing import Any

import pytest

from flashsale import set_aside
from flashsale.queries import query
from tests.ground.full import insert, win
from tests.ground.two import Two

pytestmark = pytest.mark.servers


async def become(two: Two, state: str, *more: str) -> None:
    """What is set aside in the first sale has this state. more: other things to set."""
    changes = ", ".join([f"state = '{state}'", *more])
    await two.connection.execute(f"update set_aside set {changes} where sale = $1", two.name)  # noqa: S608


async def test_what_is_set_aside_is_read_by_sale_and_state(two: Two) -> None:
    """Given an order that waits in each of two sales alike / Then what is told of one is its own, in its states."""
    name, other = two.name, two.other.sale.sale
    (row,) = await two.ask("set_aside", "listed", name, None)
    number = row["order_id"]
    told = {state: await _told_of_aside(two, state, number) for state in set_aside.State}
    waits, over = ["sales_open", "to_ask", "by_id", "of_fan"], ["sales_open", "to_tell"]
    rest: list[str] = []
    assert told == {
        "waiting": waits, "unreadable": rest, "replaced": rest, "replayed": rest, "refused": over, "compensated": over,
    }  # fmt: skip
    await become(two, "refused", "bucket_told_at = now()")
    assert await _told_of_aside(two, "refused", number) == []
    assert [one["sale"] for one in await two.ask("set_aside", "listed", name, "refused")] == [name]
    assert await two.ask("set_aside", "listed", name, "waiting") == []
    assert [one["sale"] for one in await two.ask("set_aside", "by_id", number)] == [name]
    assert [one["sale"] for one in await two.ask("set_aside", "lock", number)] == [name]
    counts = {(one["sale"], one["state"]): one["orders"] for one in await two.ask("set_aside", "counts")}
    assert (counts[name, "refused"], counts[other, "waiting"]) == (1, 1)
    await become(two, "waiting")
    assert await two.ask("set_aside", "waiting_of_fan", f"nobody of {name}", None, 9) == []
    assert len(await two.ask("set_aside", "waiting_of_fan", "finn", None, 9)) >= 2
    (aside,) = await two.connection.fetch(query("set_aside", "listed"), other, None)
    assert await two.ask("set_aside", "replaced", name) == [], "it has not landed"
    for order, sale in ((number, name), (aside["order_id"], other)):
        await insert(two.connection, "land", win("finn", 6)._replace(order=order.hex), sale=sale)
    assert await two.ask("set_aside", "waiting_by_id", [number]) == []
    assert await two.ask("set_aside", "waiting_of_fan", "finn", name, 9) == []
    assert await two.ask("set_aside", "open_units", name) == []
    assert await two.ask("set_aside", "lock_waiting", number) == []
    assert [one["order_id"] for one in await two.ask("set_aside", "replaced", name)] == [number]


async def _told_of_aside(two: Two, state: str, number: Any) -> list[str]:
    """Which queries tell of the first sale's order in that state."""
    name = two.name
    await become(two, state, "note = 'x'")
    found = []
    if name in {row[0] for row in await two.ask("set_aside", "sales_open")}:
        found.append("sales_open")
    for query_name, label, arguments in (
        ("to_ask", "to_ask", (name, 2.0, 9)), ("to_tell", "to_tell", (name, 9)),
        ("waiting_by_id", "by_id", ([number],)), ("waiting_of_fan", "of_fan", ("finn", name, 9)),
    ):  # fmt: skip
        rows = await two.ask("set_aside", query_name, *arguments)
        assert {row["order_id"] for row in rows} <= {number}
        found += [label] * len(rows)
    is_open = await two.ask("set_aside", "open_units", name)
    assert [(row["item"], row["unit"]) for row in is_open] == (
        [("silver", 1)] if state in ("waiting", "unreadable") else []
    )
    assert len(await two.ask("set_aside", "lock_waiting", number)) == (state == "waiting")
    return found


async def test_what_is_set_aside_is_settled_one_by_one(two: Two) -> None:
    """Given an order that waits in each of two sales alike / When one is written to / Then the other is as it was, and
    only one that waits is refused."""
    (row,) = await two.ask("set_aside", "listed", two.name, None)
    number = row["order_id"]

    async def now(*names: str) -> list[Any]:
        (found,) = await two.ask("set_aside", "by_id", number)
        return [found[name] for name in names]

    await two.ask("set_aside", "offered", number, 6)
    assert await now("state", "offered") == ["waiting", 6]
    assert [one["order_id"] for one in await two.ask("set_aside", "refuse", number)] == [number]
    assert await two.ask("set_aside", "refuse", number) == [], "it is there"
    assert [one["order_id"] for one in await two.ask("set_aside", "return_of_refused", number)] == []
    await two.ask("set_aside", "refused", number, True, "why")
    (told,) = await now("bucket_told_at")
    assert (told is not None, await now("state", "reason")) == (True, ["refused", "why"])
    await two.ask("set_aside", "tell_again", [number, row["order_id"]], [1, 1])
    assert await now("bucket_told_at") == [told], "that unit is the one that it was refused for"
    await two.ask("set_aside", "tell_again", ["00000000-0000-0000-0000-000000000009"], [6])
    assert await now("bucket_told_at") == [told], "that is another order"
    await two.ask("set_aside", "tell_again", [number], [6])
    assert await now("bucket_told_at") == [None]
    await two.ask("set_aside", "bucket_told", number)
    assert (await now("bucket_told_at"))[0]
    await two.ask("set_aside", "compensated", number, "a coupon")
    assert await now("state", "note") == ["compensated", "a coupon"]
    await two.ask("set_aside", "refused", number, True, "again")
    assert await now("state", "reason") == ["compensated", "why"]
    await two.ask("set_aside", "replayed", number)
    assert await now("state") == ["replayed"]
    await two.ask("set_aside", "wait_again", number, "because")
    assert await now("state", "settled_at", "reason") == ["waiting", None, "because"]


async def test_units_are_on_their_way_in_a_sale_and_item(two: Two) -> None:
    """Given two sales alike / When nothing is on its way in the first / Then what is in the other, or of another item
    or unit, does not count; nor does a return that a bucket did not know."""
    name = two.name
    for sql in (
        "update stock_loads set applied_at = now() where sale = $1",
        "update returns set given_back_at = now() where sale = $1 and fan = 'carol'",
        "update orders set state = 'paid' where sale = $1 and fan = 'alice'",
    ):
        await two.connection.execute(sql, name)
    asked = await two.ask("set_aside", "units_to_come", name, "silver")
    assert [tuple(row) for row in asked] == [(False, False, False)]
    assert (await two.ask("set_aside", "unit_coming_back", name, "silver", 3))[0][0] is False
    await two.connection.execute("update returns set given_back_at = null where sale = $1 and fan = 'carol'", name)
    for item, unit, coming in (("silver", 3, True), ("silver", 5, False), ("black", 3, False), ("silver", 4, False)):
        assert (await two.ask("set_aside", "unit_coming_back", name, item, unit))[0][0] is coming
    assert tuple((await two.ask("set_aside", "units_to_come", name, "black"))[0]) == (False, False, False)
