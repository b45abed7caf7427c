"""What each query decides, to the last condition: whose rows it touches, in which state, up to which millisecond."""

import uuid
from datetime import datetime
from typing import Any, Final

import asyncpg
import pytest

from flashsale import clock, ledger, payment
from flashsale.queries import Pool, query
from tests.ground.full import LONG_AGO, Full, insert, win
from tests.ground.two import Two

pytestmark = pytest.mark.servers
WINDOW_MS: Final = 900_000


def units(rows: list[asyncpg.Record]) -> list[int]:
    """The units of rows."""
    return sorted(row["unit"] for row in rows)


async def test_reading_a_sale_reads_that_sale(two: Two) -> None:
    """Given two sales alike / When one is read / Then what is told is its own, by state."""
    name, orders = two.name, two.one.orders
    assert units(await two.ask("orders", "returns_waiting", name, 99)) == [3]
    assert units(await two.ask("orders", "live_units", name)) == [1, 2]
    assert units(await two.ask("orders", "returning_units", name)) == [3, 5]
    assert len(await two.ask("set_aside", "open_units", name)) == 1
    assert len(await two.ask("verdict", "set_aside_orders", name)) == 1
    assert [row["orders"] for row in await two.ask("orders", "totals", name)] == [2, 1, 1, 1]
    assert [tuple(row) for row in await two.ask("orders", "by_channel", name)] == [("web", "public", 2, 1)]
    assert [tuple(row) for row in await two.ask("orders", "progress", name)] == [(5, 2, 1, 1, 2)]
    assert units(await two.ask("verdict", "orders_of_sale", name)) == [1, 2, 3, 4, 5]
    assert [row[0] for row in await two.ask("verdict", "returned", name)] == [3]
    assert len(await two.ask("orders", "orders_of_fan", "alice", None, 99)) >= 2
    assert units(await two.ask("orders", "orders_of_fan", "alice", name, 99)) == [1]
    every = list(orders.values())
    assert len(await two.ask("orders", "known_orders", every[:1])) == 1
    assert [row[0] for row in await two.ask("orders", "committed_among", every[:1])] == every[:1]
    assert units(await two.ask("orders", "orders_by_id", every[:1])) == [1]
    ended = await two.ask("orders", "ended_orders", every)
    assert {row["order_id"] for row in ended} == {orders[fan] for fan in ("carol", "dora", "erin")}


async def test_reading_the_ledger_reads_that_sale(two: Two) -> None:
    """Given two sales alike / When the ledger of one is read / Then what is told is its own."""
    name = two.name
    (sale,) = await two.ask("sales", "all_sales", name, True)
    assert [item["item"] for item in sale["items"]] == ["silver", "black"]
    assert await two.ask("sales", "all_sales", name, False) == [], "it is a draft"
    assert len(await two.ask("sales", "lock_sale", name)) == 1
    assert [load["item"] for load in await two.ask("sales", "stock_loads_waiting", name)] == ["silver"]
    assert sorted(load["item"] for load in await two.ask("sales", "stock_loads", name)) == ["black", "silver"]
    assert [row[0] for row in await two.ask("sales", "in_buckets", name)] == [False]
    assert [row["verb"] for row in await two.ask("sales", "log_of_sale", name)] == ["create"]


async def test_writing_to_a_sale_writes_to_that_sale(two: Two) -> None:
    """Given two sales alike / When one is moved, stocked, noted / Then the version and the units of that one go up."""
    name = two.name
    await two.ask("sales", "challenge", name, "all")
    rows = await two.connection.fetch("select challenged from sales where sale = $1", name)
    assert [row["challenged"] for row in rows] == ["all"]
    assert [row[0] for row in await two.ask("sales", "move_sale", name, "loaded")] == [2]
    assert await two.ask("sales", "settle_state", name, "open", "draft") == [], "it is not a draft any more"
    assert [row[0] for row in await two.ask("sales", "settle_state", name, "open", "loaded")] == [3]
    assert [row[0] for row in await two.ask("sales", "raise_loaded", name, "silver", 5)] == [7]
    loaded = {item.item: item.loaded for item in (await ledger.find(two.connection, name)).items}
    assert loaded == {"silver": 12, "black": 3}
    await two.ask("sales", "now_in_buckets", name)
    await two.connection.execute("update sales set in_buckets_at = $2 where sale = $1", name, LONG_AGO)
    await two.ask("sales", "now_in_buckets", name)
    assert await two.connection.fetchval("select in_buckets_at from sales where sale = $1", name) == LONG_AGO


async def test_a_newer_occurrence_is_one_of_the_same_plan(two: Two) -> None:
    """Given occurrences of two weekly plans / Then a newer one is of this plan, and opens later, not in the same ms."""
    name, other = two.name, two.other.sale.sale
    weekly = "update sales set weekly_from = $2, opens_ms = $3::bigint, closes_ms = $3::bigint + 1 where sale = $1"
    await two.connection.execute(weekly, name, {"sale": f"{name}-plan"}, 2_000)
    await two.connection.execute(weekly, other, {"sale": f"{other}-plan"}, 9_000)
    for opens_ms, newer in ((1_999, True), (2_000, False)):
        told = await two.ask("sales", "newer_occurrence", f"{name}-plan", opens_ms)
        assert [row[0] for row in told] == [newer]


async def test_what_is_noted_once_stays(two: Two) -> None:
    """Given a load and returns that are noted / When they are noted again / Then the first time stays, and only those
    that are named are noted."""
    noted = "select item, applied_at from stock_loads where sale = $1"
    loads = await two.ask("sales", "stock_loads", two.name)
    await two.ask("sales", "stock_load_applied", next(load["load"] for load in loads if load["item"] == "black"))
    assert await _times(two, noted) == {"black": LONG_AGO, "silver": None}
    orders, fans = two.one.orders, ("carol", "dora", "erin")
    back = "select fan, given_back_at from returns where sale = $1"
    await two.ask("orders", "returns_given_back", [orders["dora"]])
    assert await _times(two, back) == {"carol": None, "dora": LONG_AGO, "erin": None}
    refused = "select fan, refused_at from returns where sale = $1"
    await two.ask("orders", "returns_refused", [orders["erin"]])
    assert await _times(two, refused) == {"carol": None, "dora": None, "erin": LONG_AGO}
    await two.ask("orders", "returns_given_back", [orders[fan] for fan in fans])
    assert all((await _times(two, back)).values())


async def _times(two: Two, sql: str) -> dict[str, datetime | None]:
    return {row[0]: row[1] for row in await two.connection.fetch(sql, two.name)}


@pytest.mark.parametrize("name", ["land", "land_again"])
async def test_landing_takes_price_and_window_from_its_sale(two: Two, name: str) -> None:
    """Given two sales alike but for the prices / When wins land / Then price, window and bound are those of their sale
    and item, and the last unit is in."""
    at_ms = clock.now_ms() - 3_000
    await two.connection.execute("update items set price_minor = 8 where sale = $1 and item = 'black'", two.name)
    wins = (win("fay", 7, at_ms=at_ms), win("gus", 3, item="black", at_ms=at_ms))
    beyond = (win("hal", 8), win("ida", 4, item="black"))
    for one in beyond:
        with pytest.raises(asyncpg.CheckViolationError, match="never loaded"):
            async with two.connection.transaction():
                await insert(two.connection, name, *wins, one, sale=two.name)
    assert await insert(two.connection, name, *wins, sale=two.name) == 2
    rows = await two.connection.fetch(
        "select * from orders where order_id = any($1)", [one.order_id for one in (*wins, *beyond)]
    )
    assert {(row["sale"], row["item"], row["unit"], row["price_minor"]) for row in rows} == {
        (two.name, "silver", 7, 199900),
        (two.name, "black", 3, 8),
    }
    assert {row["pay_before_ms"] for row in rows} == {at_ms + WINDOW_MS}


async def test_landing_again_passes_over_what_is_there(two: Two) -> None:
    """Given orders that are there / When they land again with a new one / Then just that one is a new row."""
    known = win("fay", 6)
    assert await insert(two.connection, "land_again", known, sale=two.name) == 1
    clash = win("gus", 6)
    assert await insert(two.connection, "land_again", known, clash, win("hal", 7), sale=two.name) == 1


async def test_expiry_is_due_at_its_millisecond(two: Two) -> None:
    """Given a confirmed order / When its window ends / Then it expires in that ms, not before; no other order does."""
    due_ms = two.one.accepted_ms + WINDOW_MS
    await two.connection.execute(
        "update orders set pay_before_ms = $2 where sale <> $1 or fan <> 'alice'", two.name, due_ms * 2
    )
    before = await two.states()
    assert await two.ask("orders", "expire", due_ms - 1, 99) == []
    await two.connection.execute("update orders set pay_before_ms = 1 where sale = $1 and fan <> 'alice'", two.name)
    ended = await two.ask("orders", "expire", due_ms, 99)
    assert [row["order_id"] for row in ended] == [two.one.orders["alice"]]
    assert await two.states() == before | {"alice": "expired"}


@pytest.mark.parametrize(("fan", "by"), [("alice", "bob"), ("bob", "bob"), ("carol", "carol"), ("alice", "alice")])
async def test_only_the_own_confirmed_order_is_cancelled(two: Two, fan: str, by: str) -> None:
    """Given orders in every state / When one is cancelled / Then it was the fan's own and confirmed, or nothing is."""
    before = await two.states()
    ended = await two.ask("orders", "cancel", two.one.orders[fan], by)
    good = (fan, by) == ("alice", "alice")
    assert [row["order_id"] for row in ended] == ([two.one.orders["alice"]] if good else [])
    assert await two.states() == (before | {"alice": "cancelled"} if good else before)


async def test_only_a_confirmed_order_is_paid(two: Two) -> None:
    """Given orders in every state / When each is paid / Then only the confirmed one is, and it alone."""
    before = await two.states()
    for fan in ("bob", "carol", "dora"):
        assert await two.ask("payments", "pay_order", two.one.orders[fan]) == []
    assert await two.states() == before
    assert len(await two.ask("payments", "pay_order", two.one.orders["alice"])) == 1
    assert await two.states() == before | {"alice": "paid"}


async def test_a_payment_is_asked_for_while_there_is_time(two: Two) -> None:
    """Given an order / When a payment is asked for / Then it is in its window, by its fan, confirmed, and once."""
    due_ms, orders = two.one.accepted_ms + WINDOW_MS, two.one.orders
    pending: tuple[Any, ...] = ("payments", "pending_payment", orders["alice"])
    assert [row[0] for row in await two.ask(*pending, due_ms - 1)] == [two.one.payment]
    assert await two.ask(*pending, due_ms) == []
    again: tuple[Any, ...] = ("payments", "create_payment", "00000000-0000-0000-0000-000000000009", orders["alice"])
    assert await two.ask(*again, "alice", due_ms - 1) == [], "there is one already"
    await two.connection.execute("delete from payments where payment = $1", two.one.payment)
    assert await two.ask(*again, "bob", 0) == []
    assert await two.ask(*again, "alice", due_ms) == []
    await two.connection.execute("update sales set per_fan_limit = 2 where sale = $1", two.name)
    second = win("alice", 6)
    assert await insert(two.connection, "land", second, sale=two.name) == 1
    for order in (second.order_id, orders["alice"]):
        asked = await two.ask("payments", "create_payment", again[2], order, "alice", due_ms - 1)
        assert [row["order_id"] for row in asked] == [order]
        await two.connection.execute("delete from payments where order_id = $1", order)
    assert len(await two.ask(*again, "alice", due_ms - 1)) == 1
    for state in ("paid", "cancelled", "expired"):
        await two.connection.execute("update orders set state = $2 where order_id = $1", orders["alice"], state)
        assert await two.ask(*pending, 0) == []
        await two.connection.execute("delete from payments where order_id = $1", orders["alice"])
        assert await two.ask(*again, "alice", 0) == []
        assert len(await two.connection.fetch("select from payments where order_id = $1", orders["alice"])) == 0
        await two.connection.execute(
            "insert into payments (payment, order_id, amount_minor, currency) values (gen_random_uuid(), $1, 1, 'CNY')",
            orders["alice"],
        )


async def test_a_payment_is_settled_once(two: Two) -> None:
    """Given a payment / When it is settled twice / Then the first time counts, and no other payment is touched."""
    paid, others = two.one.payment, "select state, paid_order from payments where payment <> $1 order by payment"
    (row,) = await two.ask("payments", "lock_payment", paid)
    event = payment.Event(
        type="payment.succeeded",
        payment=uuid.UUID(str(paid)),
        order=uuid.UUID(str(row["order_id"])),
        amount_minor=row["amount_minor"],
        currency=row["currency"],
    )
    before = await two.connection.fetch(others, paid)
    assert await payment.settle(two.connection, event) is payment.State.SUCCEEDED
    settled = await two.ask("payments", "lock_payment", paid)
    assert await payment.settle(two.connection, event) is payment.State.SUCCEEDED
    assert await two.ask("payments", "lock_payment", paid) == settled
    assert await two.connection.fetch(others, paid) == before
    assert await two.ask("payments", "pending_payment", two.one.orders["alice"], 0) == [], "it pends no more"


@pytest.mark.parametrize("lock", ["lock_sale", "lock_payment", "lock"])
async def test_a_second_one_waits_for_the_lock(postgres: Pool, standing: Full, lock: str) -> None:
    """Given somebody who decides about a row / When another wants to / Then they wait for the first."""
    aside = await postgres.fetchval("select order_id from set_aside where sale = $1", standing.sale.sale)
    rows = {"lock_sale": ("sales", standing.sale.sale), "lock_payment": ("payments", standing.payment)}
    file, row = rows.get(lock, ("set_aside", aside))
    asked = query(file, lock), row
    async with postgres.acquire() as first, first.transaction(), postgres.acquire() as second, second.transaction():
        await first.fetch(*asked)
        await second.execute("set local lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await second.fetch(*asked)


async def test_expiry_passes_over_an_order_that_is_being_paid(postgres: Pool, standing: Full) -> None:
    """Given a payment that is being settled / When the order is due / Then expiry neither waits for it nor ends it."""
    due_ms = standing.accepted_ms + WINDOW_MS
    async with postgres.acquire() as first, first.transaction(), postgres.acquire() as second:
        assert await first.fetchval(query("payments", "pay_order"), standing.orders["alice"])
        async with second.transaction():
            await second.execute("set local lock_timeout = '50ms'")
            ended = await second.fetch(query("orders", "expire"), due_ms, 99)
    assert standing.orders["alice"] not in {row["order_id"] for row in ended}
