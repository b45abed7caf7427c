"""More of what queries decide: places at a second landing, units that are held, what the doctor reads of Postgres."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from flashsale.queries import Pool, query
from tests.ground.full import LONG_AGO, Full, insert, win
from tests.ground.two import Two

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("name", ["land", "land_again"])
async def test_a_fan_who_may_have_two_gets_a_second_place(two: Two, name: str) -> None:
    """Given a sale with two orders a fan / When a second one of a fan lands / Then it has the place that is free."""
    await two.connection.execute("update sales set per_fan_limit = 2 where sale = $1", two.name)
    second = win("alice", 6)
    assert await insert(two.connection, name, second, sale=two.name) == 1
    places = await two.connection.fetch("select place from orders where fan = 'alice' and sale = $1", two.name)
    assert sorted(row["place"] for row in places) == [1, 2]


@pytest.mark.parametrize("name", ["land", "land_again"])
async def test_a_fan_who_has_all_places_is_over_the_limit(two: Two, name: str) -> None:
    """Given a fan with the two orders that a fan may have / When a third one lands / Then it is refused as over the
    limit, not as one whose place another took just now: trying again would be in vain."""
    await two.connection.execute("update sales set per_fan_limit = 2 where sale = $1", two.name)
    assert await insert(two.connection, name, win("alice", 6), sale=two.name) == 1
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await insert(two.connection, name, win("alice", 7), sale=two.name)
    assert getattr(refused.value, "constraint_name", None) == "orders_place_in_limit"


async def test_an_order_that_was_refused_is_not_committed(two: Two) -> None:
    """Given orders in every state / When one was refused / Then it alone is not told as committed."""
    orders = two.one.orders
    await two.connection.execute("update orders set state = 'refused' where order_id = $1", orders["carol"])
    told = await two.ask("orders", "committed_among", [*orders.values()])
    assert {row["order_id"] for row in told} == {*orders.values()} - {orders["carol"]}


async def test_the_doctor_looks_at_a_disk_that_is_here(two: Two) -> None:
    """Given a Postgres behind a socket / Then its data lies here; of one behind an address nothing is told.

    The tests' server has no address, so the function that would tell it stands in front of Postgres's own.
    """
    settings = query("doctor", "settings")
    here = await two.connection.fetchval("show data_directory")
    row = await two.connection.fetchrow(settings)
    assert row is not None
    assert (row["data_here"], Path(row["data_here"]).is_absolute()) == (here, True)
    await two.connection.execute(
        "create function public.inet_server_addr() returns inet language sql as $$ select inet '192.0.2.1' $$;"
        "set local search_path = public, pg_catalog"
    )
    row = await two.connection.fetchrow(f"{settings} ")  # another text, so that it is planned anew
    assert row is not None
    assert row["data_here"] is None


# What a unit that came back is, when it is held and may be released.
HELD: Final[Mapping[str, object]] = {"hold": True, "given_back_at": LONG_AGO, "released_at": None}


async def come_back(two: Two, full: Full, fan: str, columns: Mapping[str, object]) -> None:
    """The return of a fan's order is like this."""
    await two.connection.execute(
        "update returns set hold = $2, given_back_at = $3, released_at = $4 where order_id = $1",
        full.orders[fan], *columns.values(),
    )  # fmt: skip


@pytest.mark.parametrize("other", [{"hold": False}, {"given_back_at": None}, {"released_at": LONG_AGO}])
async def test_a_held_unit_has_come_back_and_is_not_released(two: Two, other: Mapping[str, object]) -> None:
    """Given units that came back in two sales / Then those are held that are to be, have come back, and are not on sale
    again; those of one sale and item are told."""
    await come_back(two, two.one, "carol", HELD)
    await come_back(two, two.other, "carol", HELD)
    await come_back(two, two.one, "dora", {**HELD, **other})
    assert [tuple(row) for row in await two.ask("returns", "held_units", two.name)] == [("silver", 3)]
    assert [row["unit"] for row in await two.ask("returns", "lock_held", two.name, "silver", 9)] == [3]
    assert await two.ask("returns", "lock_held", two.name, "black", 9) == []


@pytest.mark.parametrize(
    ("sold_again", "is_free"),
    [
        ("update orders set unit = 3 where sale = $1 and fan = 'bob'", False),
        ("update orders set unit = 3, item = 'black' where sale = $1 and fan = 'bob'", True),
        ("update orders set unit = 3, state = 'cancelled' where sale = $1 and fan = 'bob'", True),
        ("update orders set unit = 3 where sale = $1::text || '-2' and fan = 'bob'", True),
    ],
)
async def test_a_held_unit_that_is_in_a_live_order_is_passed_over(two: Two, sold_again: str, *, is_free: bool) -> None:
    """Given a held unit / When it is in a live order all the same / Then it is not one to sell again. An order that is
    over, or of another item or sale, is in nobody's way."""
    await two.connection.execute("update items set loaded = 7 where sale = $1 and item = 'black'", two.name)
    await come_back(two, two.one, "carol", HELD)
    await two.connection.execute(sold_again, two.name)
    assert len(await two.ask("returns", "lock_held", two.name, "silver", 9)) == int(is_free)


async def test_a_unit_is_released_once(two: Two) -> None:
    """Given held units / When one is released, twice / Then the first time stays, and no other is released."""
    orders = two.one.orders
    for fan in ("carol", "dora"):
        await come_back(two, two.one, fan, HELD)
    released = "select fan from returns where sale = $1 and released_at is not null"
    await two.ask("returns", "release_held", [orders["carol"]])
    assert [row["fan"] for row in await two.connection.fetch(released, two.name)] == ["carol"]
    await two.connection.execute("update returns set released_at = $2 where sale = $1", two.name, LONG_AGO)
    await two.ask("returns", "release_held", [orders["carol"]])
    times = await two.connection.fetch("select released_at from returns where sale = $1", two.name)
    assert {row["released_at"] for row in times} == {LONG_AGO}


async def test_who_releases_a_unit_waits_for_the_lock(postgres: Pool, standing: Full) -> None:
    """Given somebody who releases a held unit / When another wants to / Then they wait for the first."""
    asked = query("returns", "lock_held"), standing.sale.sale, "silver", 9
    async with postgres.acquire() as first:
        await first.execute("update returns set hold = true where order_id = $1", standing.orders["dora"])
        async with first.transaction(), postgres.acquire() as second, second.transaction():
            assert len(await first.fetch(*asked)) == 1
            await second.execute("set local lock_timeout = '50ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await second.fetch(*asked)


async def test_a_sale_that_is_no_draft_is_told_of(two: Two) -> None:
    """Given a draft and a sale that is loaded / When all but drafts are asked for / Then the loaded one is told."""
    await two.connection.execute("update sales set state = 'loaded' where sale = $1", two.name)
    told = {row["sale"] for row in await two.ask("sales", "all_sales", None, False)}
    assert told & {two.name, two.other.sale.sale} == {two.name}


async def test_a_place_in_another_sale_takes_none_here(two: Two) -> None:
    """Given a fan with an order in another sale / When one of theirs lands where two may be / Then its place is 1."""
    for sale in (two.name, two.other.sale.sale):
        await two.connection.execute("update sales set per_fan_limit = 2 where sale = $1", sale)
    elsewhere, here = win("fay", 6), win("fay", 7)
    assert await insert(two.connection, "land", elsewhere, sale=two.other.sale.sale) == 1
    assert await insert(two.connection, "land", here, sale=two.name) == 1
    assert await two.connection.fetchval("select place from orders where order_id = $1", here.order_id) == 1


async def test_a_limit_may_fall_whatever_fans_hold_elsewhere(two: Two) -> None:
    """Given a fan with two orders in one sale / When the limit of another falls to one / Then it falls."""
    for sale in (two.name, two.other.sale.sale):
        await two.connection.execute("update sales set per_fan_limit = 2 where sale = $1", sale)
    assert await insert(two.connection, "land", win("alice", 6), sale=two.other.sale.sale) == 1
    done = await two.connection.execute("update sales set per_fan_limit = 1 where sale = $1", two.name)
    assert done == "UPDATE 1"
