"""What each query about money decides, to the last condition: of whose payments, in which state, for which order."""

import uuid
from datetime import timedelta
from typing import Final

import asyncpg
import pytest

from flashsale.queries import Pool, query
from tests.ground.full import Full, insert, win
from tests.ground.two import Two

pytestmark = pytest.mark.servers
AGAIN_S: Final = 60.0


async def put(two: Two, order: uuid.UUID, state: str, **columns: object) -> uuid.UUID:
    """A payment in this state, asked for this order, with these columns."""
    payment = uuid.uuid4()
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", ${at}" for at in range(4, 4 + len(columns)))
    await two.connection.execute(
        f"insert into payments (payment, order_id, state, amount_minor, currency{names})"  # noqa: S608
        f" values ($1, $2, $3, 100, 'CNY'{values})", payment, order, state, *columns.values(),
    )  # fmt: skip
    return payment


async def late(two: Two, order: uuid.UUID, late_order: uuid.UUID | None = None) -> uuid.UUID:
    """A payment that came late for this order, ninety seconds ago, and may come to pay another."""
    now = await two.connection.fetchval("select now()")
    return await put(two, order, "late", late_order=late_order or uuid.uuid4(), late_at=now - timedelta(seconds=90))


async def test_what_pends_is_pending(two: Two) -> None:
    """Given a payment that is over, of an order that can be paid / Then it does not pend."""
    assert len(await two.ask("payments", "pending_payment", two.one.orders["alice"], 0)) == 1
    await two.connection.execute("update payments set state = 'refunded' where payment = $1", two.one.payment)
    assert await two.ask("payments", "pending_payment", two.one.orders["alice"], 0) == []


async def test_an_order_that_a_late_payment_is_about_to_pay_is_not_paid_again(two: Two) -> None:
    """Given a late payment that won an order / Then its fan gets no second payment for it, as long as it is late.

    A late payment that has to do with another order is in nobody's way.
    """
    orders = two.one.orders
    await two.connection.execute("delete from payments where payment = $1", two.one.payment)
    coming = await late(two, orders["carol"], orders["alice"])

    async def asked() -> int:
        created = await two.ask("payments", "create_payment", uuid.uuid4(), orders["alice"], "alice", 0)
        await two.connection.execute("delete from payments where order_id = $1", orders["alice"])
        return len(created)

    assert await asked() == 0
    await two.connection.execute("update payments set state = 'refund_due' where payment = $1", coming)
    assert await asked() == 1
    await late(two, orders["dora"])
    assert await asked() == 1


async def test_a_payment_is_told_by_its_number(two: Two) -> None:
    """Given several payments / When one is asked for / Then it alone is told, with the fan of its order."""
    dues = await put(two, two.one.orders["bob"], "refund_due")
    assert [row["fan"] for row in await two.ask("payments", "payment", two.one.payment)] == ["alice"]
    assert [row["fan"] for row in await two.ask("payments", "payment", dues)] == ["bob"]
    assert [row[0] for row in await two.ask("payments", "state_of_order", two.one.orders["carol"])] == ["cancelled"]


async def test_the_payments_of_a_sale(two: Two) -> None:
    """Given payments in two sales / Then those of one are told: all, or those in one state; counted by item too."""
    came = await late(two, two.one.orders["carol"])
    await late(two, two.other.orders["carol"])

    async def listed(state: str | None) -> set[uuid.UUID]:
        return {row["payment"] for row in await two.ask("payments", "payments_of_sale", two.name, state)}

    assert await listed(None) == {came, two.one.payment}
    assert await listed("late") == {came}
    assert await listed("refunded") == set()
    counted = await two.ask("payments", "payments_by_item", two.name)
    assert {(row["state"], row["payments"]) for row in counted} == {("late", 1), ("pending", 1)}


async def test_each_step_of_a_payment_is_its_own(two: Two) -> None:
    """Given payments of several orders / When one takes a step / Then no other has taken it."""
    others = "select p::text from payments p where payment <> $1 order by 1"
    payment, order = two.one.payment, two.one.orders["alice"]
    await put(two, two.one.orders["bob"], "refund_due")
    before = await two.connection.fetch(others, payment)
    for step, *arguments in (
        ("payment_late", uuid.uuid4()), ("payment_succeeded", order), ("payment_refund_due", "why"),
        ("refund_asked",), ("payment_refunded",),
    ):  # fmt: skip
        await two.ask("payments", step, payment, *arguments)
        assert await two.connection.fetch(others, payment) == before
    state, asked_at = await two.connection.fetchrow(
        "select state, refund_asked_at from payments where payment = $1", payment
    ) or ("", None)
    assert (state, asked_at is not None) == ("refunded", True)


async def test_only_what_is_due_is_noted_as_asked(two: Two) -> None:
    """Given a payment that is not due back / When it is noted as asked for at the provider / Then it is not."""
    await two.ask("payments", "refund_asked", two.one.payment)
    asked = "select refund_asked_at from payments where payment = $1"
    assert await two.connection.fetchval(asked, two.one.payment) is None


async def test_money_is_asked_for_again_after_a_while(two: Two) -> None:
    """Given money that is due / Then it is handed to the provider, and again when the while is over, not at its end."""
    orders = two.one.orders
    now = await two.connection.fetchval("select now()")
    never, long_ago, just_so, lately = [
        await put(two, orders["bob"], "refund_due", refund_asked_at=at)
        for at in (None, now - timedelta(seconds=61), now - timedelta(seconds=60), now)
    ]
    ours = {never, long_ago, just_so, lately, two.one.payment, two.other.payment}
    told = {row["payment"] for row in await two.ask("payments", "refunds_to_ask", AGAIN_S, 10_000)}
    assert told & ours == {never, long_ago}
    due = {row["sale"]: row["due"] for row in await two.ask("payments", "refunds_due")}
    assert (due.get(two.name), due.get(two.other.sale.sale)) == (4, None)


async def test_whose_money_is_in_an_order(two: Two) -> None:
    """Given orders with payments of every kind / Then the money is that which paid it, or came for it and paid none."""
    orders = two.one.orders
    moved = await put(two, orders["carol"], "succeeded", paid_order=orders["bob"])
    due = await put(two, orders["dora"], "refund_due")

    async def money(fan: str) -> list[uuid.UUID]:
        return [row["payment"] for row in await two.ask("payments", "lock_payment_of_order", orders[fan])]

    assert await money("bob") == [moved]
    assert await money("carol") == [], "hers has paid another order"
    assert await money("dora") == [due]
    assert await money("alice") == [], "it has not come"
    assert await money("erin") == []


async def test_who_gives_money_back_waits_for_the_lock(postgres: Pool, standing: Full) -> None:
    """Given somebody who decides about an order's money / When another wants to / Then they wait for the first."""
    asked = query("payments", "lock_payment_of_order"), standing.orders["alice"]
    async with postgres.acquire() as first, first.transaction(), postgres.acquire() as second, second.transaction():
        await first.execute("update payments set state = 'refund_due' where payment = $1", standing.payment)
        await first.execute("commit")
        await first.execute("begin")
        assert len(await first.fetch(*asked)) == 1
        await second.execute("set local lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await second.fetch(*asked)


async def put_aside(two: Two, order: uuid.UUID, state: str) -> None:
    """An order that was set aside, in this state."""
    await two.connection.execute(
        "insert into set_aside (order_id, sale, bucket, entry, content, reason, state, win, tried, note)"
        " values ($1, $2, 0, '1-1', 'content', 'reason', $3, '{}', '{1}', 'why')", order, two.name, state,
    )  # fmt: skip


async def test_late_payments_wait(two: Two) -> None:
    """Given late payments of several fans and sales / Then those of one sale are told, each with what is known of it.

    landed: the state of the order that it may pay; returning: that a unit of the same fan in the same sale is on its
    way back.
    """
    orders = two.one.orders
    await two.connection.execute("update returns set given_back_at = null where sale = $1", two.other.sale.sale)
    await late(two, orders["carol"])
    await late(two, orders["dora"])
    await late(two, orders["erin"], orders["alice"])
    await late(two, two.other.orders["carol"])
    await put(two, orders["bob"], "refund_due", late_order=orders["carol"], late_at=None)
    told = await two.ask("payments", "late_waiting", two.name, 99)
    rows = {row["fan"]: row for row in told}
    assert len(told) == len(rows), "those of another sale are not told"
    assert {fan: (row["landed"], row["aside"], row["returning"]) for fan, row in rows.items()} == {
        "carol": (None, False, True), "dora": (None, False, False), "erin": ("confirmed", False, False),
    }  # fmt: skip
    assert {row["waited_s"] for row in rows.values()} == {90.0}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("unreadable", (True, False)), ("refused", (True, False)), ("compensated", (True, False)),
        ("waiting", (False, True)), ("replaced", (False, False)),
    ],
)  # fmt: skip
async def test_a_late_payment_whose_order_is_set_aside(two: Two, state: str, told: tuple[bool, bool]) -> None:
    """Given a late payment whose order is set aside / Then it is so for good, or waits, or has landed; that of another
    payment says nothing of it."""
    orders, aside = two.one.orders, uuid.uuid4()
    await put_aside(two, aside, state)
    await late(two, orders["dora"], aside)
    await late(two, orders["erin"])
    rows = {row["fan"]: row for row in await two.ask("payments", "late_waiting", two.name, 99)}
    assert {fan: (row["aside"], row["returning"]) for fan, row in rows.items()} == {
        "dora": told, "erin": (False, False),
    }  # fmt: skip


async def test_the_sales_with_late_payments(two: Two) -> None:
    """Given a sale with a late payment and one with a pending one / Then the first is told."""
    await late(two, two.one.orders["carol"])
    told = {row["sale"] for row in await two.ask("payments", "sales_with_late")}
    assert told & {two.name, two.other.sale.sale} == {two.name}


@pytest.mark.parametrize(
    ("lane", "state", "payment", "ends"),
    [
        ("late", "confirmed", "refund_due", True), ("late", "confirmed", "refunded", True),
        ("late", "confirmed", "late", False), ("late", "paid", "refund_due", False),
        ("public", "confirmed", "refund_due", False),
    ],
)  # fmt: skip
async def test_an_order_whose_late_payment_goes_back_is_ended(
    two: Two, lane: str, state: str, payment: str, *, ends: bool
) -> None:
    """Given an order that was won for a late payment / When the money goes back / Then it ends, if it is unpaid.

    Another order of the lane, which no payment has to do with, stays.
    """
    stray, other = win("fay", 6), win("gus", 7)
    assert await insert(two.connection, "land", stray, other, sale=two.name) == 2
    changed = "update orders set lane = $2, state = $3 where order_id = $1"
    await two.connection.execute(changed, stray.order_id, lane, state)
    await two.connection.execute(changed, other.order_id, "late", "confirmed")
    now = await two.connection.fetchval("select now()")
    await put(two, two.one.orders["carol"], payment, late_order=stray.order_id, late_at=now)
    before = await two.states()
    ended = await two.ask("payments", "end_late_strays")
    assert [row["order_id"] for row in ended] == ([stray.order_id] if ends else [])
    assert await two.states() == before | ({"fay": "cancelled"} if ends else {})


async def test_only_a_paid_order_is_refunded(two: Two) -> None:
    """Given orders in every state / When each is refunded / Then only the paid one is, and its unit comes back."""
    before = await two.states()
    for fan in ("alice", "carol", "dora"):
        assert await two.ask("payments", "refund_order", two.one.orders[fan]) == []
    assert await two.states() == before
    assert len(await two.ask("payments", "refund_order", two.one.orders["bob"])) == 1
    assert await two.states() == before | {"bob": "refunded"}


@pytest.mark.parametrize("name", ["orders_of_fan", "orders_by_id"])
async def test_an_order_tells_of_the_newest_payment_that_has_to_do_with_it(two: Two, name: str) -> None:
    """Given payments that were asked for an order, paid it, or may come to pay it / Then the newest of them is told.

    What has to do with other orders only, or won it and goes back, says nothing of it.
    """
    orders = two.one.orders

    async def told(fan: str) -> tuple[str | None, uuid.UUID | None]:
        asked: tuple[object, ...] = (fan, two.name, 99) if name == "orders_of_fan" else ([orders[fan]],)
        (row,) = await two.ask("orders", name, *asked)
        return row["payment_state"], row["late_order"]

    now = await two.connection.fetchval("select now()")
    await put(two, orders["bob"], "refund_due", created_at=now + timedelta(seconds=9))
    await put(two, orders["dora"], "late", late_order=uuid.uuid4(), late_at=now, created_at=now + timedelta(seconds=9))
    assert await told("alice") == ("pending", None), "hers, not a newer one of another order"
    coming = await put(two, orders["carol"], "late", late_order=orders["alice"], late_at=now,
                       created_at=now + timedelta(seconds=1))  # fmt: skip
    assert await told("alice") == ("late", None)
    assert await told("carol") == ("late", None)
    await two.connection.execute("update payments set state = 'refund_due' where payment = $1", coming)
    assert await told("alice") == ("pending", None), "it goes back, and has nothing to do with her any more"
    moved = "update payments set state = 'succeeded', paid_order = $2, late_order = null where payment = $1"
    await two.connection.execute(moved, coming, orders["alice"])
    assert await told("alice") == ("succeeded", None)
    assert await told("carol") == ("succeeded", orders["alice"])


async def test_what_payments_came_to(two: Two) -> None:
    """Given payments of several orders / When some are looked at / Then each tells its state, its order's, and whether
    its money has paid another order."""
    orders = two.one.orders
    moved = await put(two, orders["carol"], "succeeded", paid_order=orders["bob"])
    asked = [two.one.payment, moved]
    told = await two.ask("verdict", "effects_of_payments", asked)
    assert {tuple(row) for row in told} == {
        (two.one.payment, "pending", "confirmed", False), (moved, "succeeded", "cancelled", True),
    }  # fmt: skip
    own = await put(two, orders["alice"], "succeeded", paid_order=orders["alice"])
    assert [tuple(row) for row in await two.ask("verdict", "effects_of_payments", [own])] == [
        (own, "succeeded", "confirmed", False)
    ]
