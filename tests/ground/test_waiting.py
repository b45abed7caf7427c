"""Orders that wait in Postgres for another unit: what their row learns, which units they land with, who waits for
whom."""

import uuid
from dataclasses import replace
from typing import Final

import asyncpg
import pytest

from flashsale import order, set_aside
from flashsale.order import OVER_LIMIT, UNIT_TRIED, Landed
from flashsale.outbox import Entry, Win
from flashsale.queries import Pool, migrations, query
from flashsale.set_aside import SetAside, State
from tests.ground.full import Full, aside, win

pytestmark = pytest.mark.servers


async def land(postgres: Pool, standing: Full, *wins: Win) -> Landed:
    """Land these."""
    async with postgres.acquire() as connection:
        return await order.land(connection, sale=standing.sale.sale, bucket=0, entries=[Entry("2-2", wins, len(wins))])


async def row_of(postgres: Pool, order_id: uuid.UUID) -> set_aside.Listed:
    """Its row."""
    async with postgres.acquire() as connection:
        found = await set_aside.find(connection, order_id)
        assert found
        return found


async def waiting_one(postgres: Pool, standing: Full) -> Win:
    """The order that waits."""
    async with postgres.acquire() as connection:
        (one,) = await set_aside.listed(connection, standing.sale.sale, state=State.WAITING)
    assert one.win
    return one.win


async def test_it_lands_with_another_unit(postgres: Pool, standing: Full) -> None:
    """Given an order that waits / When it lands with a unit that was not tried, beside others / Then all are rows, and
    it is noted as replaced, once, whatever becomes of the order."""
    one = await waiting_one(postgres, standing)
    assert await land(postgres, standing, one._replace(unit=6), win("gus", 7)) == Landed(2, 0, ())
    async with postgres.acquire() as connection:
        await order.cancel(connection, order_id=one.order_id, fan="finn")
        assert await set_aside.note_landed(connection, standing.sale.sale) == [one.order_id]
        assert await set_aside.note_landed(connection, standing.sale.sale) == []
    row = await row_of(postgres, one.order_id)
    assert (row.state, row.tried, row.order_unit) == (State.REPLACED, (1,), 6)


async def test_it_never_lands_with_a_unit_that_was_tried(postgres: Pool, standing: Full) -> None:
    """Given an order that waits, and its unit free again / When its old entry lands among others / Then the others do,
    and it waits as before: its row knows of nothing new."""
    one = await waiting_one(postgres, standing)
    async with postgres.acquire() as connection:
        await order.cancel(connection, order_id=standing.orders["alice"], fan="alice")
    before = await row_of(postgres, one.order_id)
    for _ in range(2):
        told = await land(postgres, standing, win("gus", 6), one)
        assert [(refused.order_id, refused.reason) for refused in told.aside][-1:] == [(one.order_id, UNIT_TRIED)]
        assert await row_of(postgres, one.order_id) == before
    assert (await land(postgres, standing, win("hal", 1))).new == 1, "another order may have that unit"


@pytest.mark.parametrize("unit", [2, 1])
async def test_each_unit_that_is_refused_is_kept(postgres: Pool, standing: Full, unit: int) -> None:
    """Given an order that waits / When the unit that it got instead is refused too, twice / Then both units are kept,
    each once, with the newest reason, and the order lands with neither."""
    one = await waiting_one(postgres, standing)
    for _ in range(2):
        await land(postgres, standing, one._replace(unit=unit))
    row = await row_of(postgres, one.order_id)
    assert (row.state, row.tried) == (State.WAITING, (1, 2) if unit == 2 else (1,))
    async with postgres.acquire() as connection:
        await connection.execute("update orders set state = 'cancelled' where sale = $1", standing.sale.sale)
    for tried in row.tried:
        assert [again.reason for again in (await land(postgres, standing, one._replace(unit=tried))).aside] == [
            UNIT_TRIED
        ]
    assert (await land(postgres, standing, one._replace(unit=3))).new == 1


async def test_a_unit_that_is_refused_for_a_reason_of_tomorrow(postgres: Pool, standing: Full) -> None:
    """Given an order that waits / When the unit that it got instead is refused by a constraint that this version does
    not know / Then it waits still, for another unit than that one."""
    one = await waiting_one(postgres, standing)
    refused = SetAside(
        one.order_id, "3-3", "text", "a constraint refuses it: x", State.UNREADABLE, one._replace(unit=6)
    )
    await store(postgres, standing, refused)
    row = await row_of(postgres, one.order_id)
    assert (row.state, row.tried, row.reason) == (State.WAITING, (1, 6), "a constraint refuses it: x")


async def test_what_waits_no_longer_learns_nothing(postgres: Pool, standing: Full) -> None:
    """Given a row that is settled, of an order that is none / When an entry of that order is refused / Then the row is
    as it was."""
    one = await waiting_one(postgres, standing)
    async with postgres.acquire() as connection:
        await connection.execute(
            "update set_aside set state = 'compensated', note = 'x' where order_id = $1", one.order_id
        )
    before = await row_of(postgres, one.order_id)
    await land(postgres, standing, one._replace(unit=2))
    assert await row_of(postgres, one.order_id) == before


async def test_the_newest_reason_counts(postgres: Pool, standing: Full) -> None:
    """Given an order that waits / When it comes with a free unit, and its fan has another order by then / Then it is
    over the limit: no unit will help."""
    one = await waiting_one(postgres, standing)
    assert (await land(postgres, standing, win("finn", 6))).new == 1
    await land(postgres, standing, one._replace(unit=7))
    row = await row_of(postgres, one.order_id)
    assert (row.reason, row.tried) == (OVER_LIMIT, (1, 7))


async def store(postgres: Pool, standing: Full, one: SetAside) -> None:
    """Set it aside."""
    async with postgres.acquire() as connection:
        await set_aside.store(connection, sale=standing.sale.sale, bucket=0, aside=[one])


async def test_refusing_one_that_has_landed(postgres: Pool, standing: Full) -> None:
    """Given an order that lands just when it is to be refused / Then it is replaced, and there is no return of it."""
    one = await waiting_one(postgres, standing)
    name = standing.sale.sale
    async with postgres.acquire() as connection, connection.transaction():
        locked = await set_aside.lock_waiting(connection, name, "silver", one.order_id)
        assert locked
        assert (await land(postgres, standing, one._replace(unit=6))).new == 1
        assert await set_aside.refuse(connection, name, locked, reason="no unit") is State.REPLACED
    assert (await row_of(postgres, one.order_id)).state is State.REPLACED
    async with postgres.acquire() as connection:
        assert await connection.fetchval("select state from orders where order_id = $1", one.order_id) == "confirmed"
        assert not await connection.fetchval("select count(*) from returns where order_id = $1", one.order_id)


ALICE_HAS_BLACK_6: Final = (
    "with more as (update items set loaded = 6 where sale = $1 and item = 'black')"
    " update orders set unit = 6, item = 'black' where sale = $1 and fan = 'alice'"
)
OF_DORA: Final = "update returns set {} where sale = $1 and fan = 'dora'"
# What stands against it that a refused order's unit (6) comes back by its own return; each is tried with unit 6 too.
AGAINST = {
    "nothing": ("select $1::text", True),
    "it is the last one that was loaded": ("update set_aside set tried = '{1,7}' where sale = $1", True),
    "a live order has it": ("update orders set unit = 6 where sale = $1 and fan = 'alice'", False),
    "a paid order has it": ("update orders set unit = 6 where sale = $1 and fan = 'bob'", False),
    "it was never loaded": ("update set_aside set tried = '{1,8}' where sale = $1", False),
    "another's return of it was noted since": (
        OF_DORA.format("unit = 6, given_back_at = now() + interval '1 s'"), False,
    ),
    "another's return of it was noted at that moment": (
        OF_DORA.format("unit = 6, given_back_at = (select tried_at from set_aside where sale = $1)"), False,
    ),
    "a return of another unit was noted since": (
        OF_DORA.format("given_back_at = now() + interval '1 s'"), True,
    ),
    "a return of another item's unit of that number was noted since": (
        OF_DORA.format("unit = 6, item = 'black', given_back_at = now() + interval '1 s'"), True,
    ),
    "another's return of it was noted before": (OF_DORA.format("unit = 6"), True),
    "a bucket did not know another's return of it": (
        "update returns set unit = 6 where sale = $1 and fan = 'erin'", True,
    ),
    "another item's unit of that number is live": (
        ALICE_HAS_BLACK_6, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", AGAINST)
async def test_whose_the_unit_of_a_refused_order_is(postgres: Pool, standing: Full, name: str) -> None:
    """Given an order that is refused with unit 6 / Then that comes back by its return when it is nobody else's."""
    one = await waiting_one(postgres, standing)
    sale, (sql, comes_back) = standing.sale.sale, AGAINST[name]
    async with postgres.acquire() as connection, connection.transaction():
        await connection.execute("update set_aside set tried = '{1,6}' where sale = $1", sale)
        await connection.execute(sql, sale)
        locked = await set_aside.lock_waiting(connection, sale, "silver", one.order_id)
        assert locked
        assert await set_aside.refuse(connection, sale, locked, reason="no unit") is State.REFUSED
        returns = await connection.fetch("select unit, reason from returns where order_id = $1", one.order_id)
        assert [tuple(row) for row in returns] == ([(locked.tried[-1], "refused")] if comes_back else [])
        over = await set_aside.to_tell(connection, sale)
        assert [(told.win.order_id, told.unit) for told in over] == (
            [] if comes_back else [(one.order_id, locked.tried[-1])]
        )
        if over:
            await set_aside.note_told(connection, one.order_id)
            assert await set_aside.to_tell(connection, sale) == []
        row = await connection.fetchrow("select * from orders where order_id = $1", one.order_id)
        assert row
        assert (row["state"], row["unit"], row["fan"], row["key"], row["live_place"]) == (
            "refused", locked.tried[-1], "finn", one.key, None,
        )  # fmt: skip
        assert (row["price_minor"], row["accepted_ms"]) == (199900, one.accepted_ms)
        assert row["pay_before_ms"] == one.accepted_ms + 900_000


@pytest.mark.parametrize(("fan", "waits"), [("carol", True), ("erin", False), ("dora", False)])
async def test_a_unit_that_is_coming_back(postgres: Pool, standing: Full, fan: str, waits: bool) -> None:
    """Given an order to be refused / When a return of its unit is under way / Then nothing is decided; when the bucket
    did not know that one, or has it back, it is."""
    one = await waiting_one(postgres, standing)
    sale = standing.sale.sale
    async with postgres.acquire() as connection, connection.transaction():
        await connection.execute("update returns set unit = 1 where sale = $1 and fan = $2", sale, fan)
        locked = await set_aside.lock_waiting(connection, sale, "silver", one.order_id)
        assert locked
        state = await set_aside.refuse(connection, sale, locked, reason="no unit")
        assert state is (None if waits else State.REFUSED)
        assert await connection.fetchval("select count(*) from orders where order_id = $1", one.order_id) == (not waits)


async def test_a_refused_order_that_gets_a_unit_is_told_of_again(postgres: Pool, standing: Full) -> None:
    """Given a refused order of which its bucket has heard / When an entry of it lands with another unit / Then the
    bucket is to hear of it again; with the unit that it was refused for, or of an order that is not refused, nothing
    is."""
    one = await waiting_one(postgres, standing)
    sale = standing.sale.sale
    async with postgres.acquire() as connection:
        async with connection.transaction():
            locked = await set_aside.lock_waiting(connection, sale, "silver", one.order_id)
            assert locked
            await set_aside.refuse(connection, sale, locked, reason="no unit")
        await set_aside.note_told(connection, one.order_id)
        assert await land(postgres, standing, one) == Landed(0, 1, ())
        assert await set_aside.to_tell(connection, sale) == []
        assert await land(postgres, standing, one._replace(unit=6)) == Landed(0, 1, ())
        assert [(told.win.order_id, told.unit) for told in await set_aside.to_tell(connection, sale)] == [
            (one.order_id, 1)
        ]


async def test_one_that_was_offered_a_unit_is_asked_for_after_a_while(postgres: Pool, standing: Full) -> None:
    """Given an order that waits / Then it is asked for until it is offered a unit, and again when that is refused or
    does not land for two seconds."""
    one = await waiting_one(postgres, standing)
    sale = standing.sale.sale
    asked = [(one.order_id, "silver")]
    async with postgres.acquire() as connection, connection.transaction():
        assert await set_aside.to_ask(connection, sale) == asked
        await set_aside.note_offered(connection, one.order_id, None)
        assert await set_aside.to_ask(connection, sale) == asked
        await set_aside.note_offered(connection, one.order_id, 6)
        assert await set_aside.to_ask(connection, sale) == []
        await connection.execute("update set_aside set tried = '{1,6}' where sale = $1", sale)
        assert await set_aside.to_ask(connection, sale) == asked
        await connection.execute(
            "update set_aside set tried = '{1}', asked_at = now() - interval '3 s' where sale = $1", sale
        )
        assert await set_aside.to_ask(connection, sale) == asked


async def test_units_that_may_come(postgres: Pool, standing: Full) -> None:
    """Given loads, returns and unpaid orders / Then units may come while one is under way, of this item, to be free."""
    sale = standing.sale.sale
    async with postgres.acquire() as connection, connection.transaction():

        async def may_come(*, unpaid_too: bool = False, item: str = "silver") -> bool:
            return await set_aside.units_may_come(connection, sale, item, unpaid_too=unpaid_too)

        assert not await may_come(item="black", unpaid_too=True)
        assert await may_come(), "a load and a return"
        await connection.execute("update stock_loads set applied_at = now() where sale = $1", sale)
        assert await may_come(), "a return"
        await connection.execute("update returns set hold = true where sale = $1", sale)
        assert not await may_come(), "it will be held"
        await connection.execute("update returns set hold = false, given_back_at = now() where sale = $1", sale)
        assert not await may_come(), "it is back"
        assert await may_come(unpaid_too=True), "alice has not paid"
        await connection.execute("update orders set state = 'paid' where sale = $1 and state = 'confirmed'", sale)
        assert not await may_come(unpaid_too=True)


async def test_rows_from_before(postgres: Pool, standing: Full) -> None:
    """Given rows of an older version, whose order is only a text / When the schema is brought up to date / Then the
    text stays, the win is read out of it where it can be, and a person has to decide."""
    texts = {
        repr(Win("f" * 32, "silver", 7, "a@b", "web", "public", 1_764_000_000_000, "e" * 16)): ("e" * 16, [7]),
        repr(Win("f" * 32, "silver", 7, "a@b", "web", "public", 1_764_000_000_000)): ("f" * 16, [7]),
        repr(Win("f" * 32, "silver", 7, "a@b", "web", "public", 1_764_000_000_000)).replace(", key=''", ""): (
            "f" * 16, [7],
        ),
        "at_ms noon": (None, []),
    }  # fmt: skip
    step = next(one for one in migrations() if "set_aside" in one.name)
    async with postgres.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute("drop table set_aside; drop index returns_of_unit")
            head, table, rest = migrations()[0].text.partition("create table set_aside")
            assert head
            await connection.execute(table + rest.partition(";")[0])
            for text in texts:
                await connection.execute(
                    "insert into set_aside (order_id, sale, bucket, entry, content, reason)"
                    " values (gen_random_uuid(), $1, 0, '1-1', $2, 'reason')", standing.sale.sale, text,
                )  # fmt: skip
            await connection.execute(step.text)
            rows = await set_aside.listed(connection, standing.sale.sale, state=State.UNREADABLE)
        finally:
            await transaction.rollback()
    assert {row.content: (row.win and row.win.key, list(row.tried)) for row in rows} == texts
    assert {row.win for row in rows if row.win and row.win.key == "e" * 16} == {
        Win("f" * 32, "silver", 7, "a@b", "web", "public", 1_764_000_000_000, "e" * 16)
    }


async def test_an_order_that_is_there_is_not_set_aside(postgres: Pool, standing: Full) -> None:
    """Given an order that is a row / When it is to be set aside / Then it is not, and it still can't land twice."""
    known = standing.orders["carol"]
    await store(postgres, standing, replace(aside("carol", 3), order_id=known))
    async with postgres.acquire() as connection:
        assert await set_aside.find(connection, known) is None
        columns: list[list[object]] = [["silver"], [6], ["carol"], ["web"], ["public"], [1], ["e" * 16], []]
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(query("orders", "land"), standing.sale.sale, 0, [known], *columns)
