"""Landing: wins become rows, once, in one statement; what can't be a row is set aside and is in nobody's way."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from uuid_utils import uuid7

from flashsale import ledger, order, plan
from flashsale.clock import now_ms
from flashsale.order import BEYOND_LOADED, NO_SUCH_ITEM, OVER_LIMIT, UNIT_TAKEN, UNREADABLE, Landed
from flashsale.outbox import Entry, parse_entry
from flashsale.purchase import attempt_line, key_digest
from flashsale.queries import Pool
from tests.support.samples import PLAN

pytestmark = pytest.mark.servers
NOW = datetime(2026, 11, 22, tzinfo=UTC)
AT_MS = 1_764_000_000_000
LOADED = 20


async def stock(postgres: Pool, sale: str, limit: int) -> str:
    """A sale with 20 units of silver loaded, for so many orders a fan; its name."""
    text = PLAN.replace('"mi3"', f'"{sale}"', 1).replace("currency =", f"per_fan_limit = {limit}\ncurrency =", 1)
    read = plan.read(text)
    async with postgres.acquire() as connection:
        made = await ledger.create(connection, read, plan.times(read, now=NOW), weekly_from=None, actor="tester")
        await ledger.make_units(connection, made, "silver", LOADED)
    return sale


@pytest.fixture
async def stocked(postgres: Pool, sale_name: str) -> str:
    """A sale with 20 units of silver loaded, one for each fan; the name of the sale."""
    return await stock(postgres, sale_name, 1)


@pytest.fixture
async def three_each(postgres: Pool, sale_name: str) -> str:
    """A sale of which a fan may have three orders."""
    return await stock(postgres, sale_name, 3)


async def places(postgres: Pool, sale: str, fan: str) -> list[int]:
    """The places of a fan's live orders."""
    return sorted(row["live_place"] for row in await rows(postgres, sale) if row["fan"] == fan and row["live_place"])


def entry(*wins: tuple[str, int], item: str = "silver", number: int = 1) -> Entry:
    """An entry as the script writes it. wins: fan and unit of each."""
    fields = {b"at_ms": b"%d" % AT_MS, b"item": item.encode()}
    for fan, unit in wins:
        line = attempt_line(order=uuid7().hex, key=key_digest("k"), fan=fan, channel="wechat", lane="public")
        fields[line.encode()] = b"%d" % unit
    return parse_entry(b"%d-0" % number, fields)


async def landed(postgres: Pool, sale: str, *entries: Entry) -> Landed:
    """What a landing of these did."""
    async with postgres.acquire() as connection:
        return await order.land(connection, sale=sale, bucket=0, entries=entries)


async def rows(postgres: Pool, sale: str, table: str = "orders") -> list[asyncpg.Record]:
    """All rows of this sale."""
    async with postgres.acquire() as connection:
        found: list[asyncpg.Record] = await connection.fetch(f"select * from {table} where sale = $1", sale)  # noqa: S608
        return found


async def test_wins_become_rows_in_one_statement(postgres: Pool, stocked: str) -> None:
    """Given two entries / When they land / Then each win is a row with the sale's price and time to pay."""
    entries = (entry(("alice", 1), ("bob", 2)), entry(("carol", 3), number=2))
    said: list[Any] = []
    async with postgres.acquire() as connection:
        first = (entry(("zoe", LOADED), number=9),)  # the client's own questions about types come with the first
        assert await order.land(connection, sale=stocked, bucket=0, entries=first) == Landed(1, 0, ())
        connection.add_query_logger(said.append)
        assert await order.land(connection, sale=stocked, bucket=0, entries=entries) == Landed(3, 0, ())
        connection.remove_query_logger(said.append)
    assert len(said) == 1
    assert "returning" not in said[0].query.lower()
    found = {row["unit"]: row for row in await rows(postgres, stocked) if row["fan"] != "zoe"}
    assert {unit: row["fan"] for unit, row in found.items()} == {1: "alice", 2: "bob", 3: "carol"}
    assert [row["order_id"].hex for row in found.values()] == [win.order for one in entries for win in one.wins]
    alice = found[1]
    assert (alice["state"], alice["price_minor"], alice["currency"], alice["channel"], alice["lane"]) == (
        "confirmed", 199900, "CNY", "wechat", "public",
    )  # fmt: skip
    assert alice["key"] == key_digest("k")  # what a bucket that is rebuilt needs for "same key, same win"
    # It lands long after it was accepted, so its payment window counts from the landing (less five seconds of grace).
    assert alice["accepted_ms"] == AT_MS
    assert 0 <= now_ms() + 895_000 - alice["pay_before_ms"] < 60_000


async def test_again_is_no_second_row(postgres: Pool, stocked: str) -> None:
    """Given a landing whose answer was lost / When the entries come again, some with new ones / Then all is known."""
    first, second = entry(("alice", 1), ("bob", 2)), entry(("carol", 3), number=2)
    assert await landed(postgres, stocked, first) == Landed(2, 0, ())
    assert await landed(postgres, stocked, first) == Landed(0, 2, ())
    assert await landed(postgres, stocked, first, second) == Landed(1, 2, ())
    assert len(await rows(postgres, stocked)) == 3
    assert await rows(postgres, stocked, "set_aside") == []


async def test_two_workers_at_once_make_one_row_each(postgres: Pool, stocked: str) -> None:
    """Given two holders of one lease / When both land the same entries / Then every order is one row, none aside."""
    entries = [entry(*((f"f{n}-{unit}", unit) for unit in (2 * n + 1, 2 * n + 2)), number=n + 1) for n in range(10)]
    told = await asyncio.gather(*(landed(postgres, stocked, *entries) for _ in range(4)))
    assert sum(one.new for one in told) == LOADED
    assert {one.new + one.known for one in told} == {LOADED}
    assert {one.aside for one in told} == {()}
    assert len(await rows(postgres, stocked)) == LOADED


async def test_what_cannot_be_stored_is_set_aside_and_the_rest_lands(postgres: Pool, stocked: str) -> None:
    """Given a unit that is taken, one never loaded, an unknown item, an unreadable entry / Then each has its reason."""
    assert (await landed(postgres, stocked, entry(("alice", 1)))).new == 1
    odd = [
        entry(("bob", 1), ("carol", 2)), entry(("dora", LOADED + 1), ("erin", 3), number=2),
        entry(("finn", 4), item="gold", number=3), parse_entry(b"4-0", {b"what": b"a\0b"}),
    ]  # fmt: skip
    told = await landed(postgres, stocked, *odd)
    assert (told.new, told.known) == (2, 0)
    reasons = {one.entry: one.reason.partition(":")[0] for one in told.aside}
    assert reasons == {"1-0": UNIT_TAKEN, "2-0": BEYOND_LOADED, "3-0": NO_SUCH_ITEM, "4-0": UNREADABLE}
    assert {row["fan"] for row in await rows(postgres, stocked)} == {"alice", "carol", "erin"}
    again = await landed(postgres, stocked, *odd)
    assert (again.new, again.known, len(again.aside)) == (0, 2, 4)
    kept = await rows(postgres, stocked, "set_aside")
    assert sorted(row["entry"] for row in kept) == ["1-0", "2-0", "3-0", "4-0"]
    assert all(row["content"] for row in kept)


async def test_nothing_lands_as_nothing(postgres: Pool, stocked: str) -> None:
    """Given no entries, or entries without wins / Then nothing is new and nothing is asked of Postgres."""
    said: list[Any] = []
    async with postgres.acquire() as connection:
        connection.add_query_logger(said.append)
        for entries in ((), (entry(),)):
            assert await order.land(connection, sale=stocked, bucket=0, entries=entries) == Landed(0, 0, ())
        connection.remove_query_logger(said.append)
    assert said == []


async def test_a_unit_that_came_back_is_sold_again(postgres: Pool, stocked: str) -> None:
    """Given an order that its fan cancelled / When its unit is won by another / Then it lands; both rows stay."""
    first = entry(("alice", 1))
    assert (await landed(postgres, stocked, first)).new == 1
    async with postgres.acquire() as connection:
        assert await order.cancel(connection, order_id=first.wins[0].order_id, fan="alice")
    assert await landed(postgres, stocked, entry(("bob", 1), number=2)) == Landed(1, 0, ())
    assert await landed(postgres, stocked, first) == Landed(0, 1, ())
    assert sorted((row["fan"], row["state"]) for row in await rows(postgres, stocked)) == [
        ("alice", "cancelled"), ("bob", "confirmed"),
    ]  # fmt: skip


async def test_a_fan_over_the_limit_is_set_aside(postgres: Pool, stocked: str) -> None:
    """Given a fan with all they may have / When a bucket that rolled back sold them more / Then each is set aside."""
    assert (await landed(postgres, stocked, entry(("alice", 1)))).new == 1
    told = await landed(postgres, stocked, entry(("alice", 2), ("bob", 3), ("bob", 4), number=2))
    assert (told.new, told.known, [one.reason for one in told.aside]) == (1, 0, [OVER_LIMIT] * 2)
    assert sorted((row["fan"], row["unit"]) for row in await rows(postgres, stocked)) == [("alice", 1), ("bob", 3)]


async def test_each_order_of_a_fan_has_a_place_of_its_own(postgres: Pool, three_each: str) -> None:
    """Given a limit of three / When orders of one fan land together and apart / Then they take the smallest free
    places, one that is over frees its own, and the fourth live one is set aside."""
    first = entry(("alice", 1), ("bob", 2), ("alice", 3))
    assert await landed(postgres, three_each, first) == Landed(3, 0, ())
    assert await places(postgres, three_each, "alice") == [1, 2]
    async with postgres.acquire() as connection:
        assert await order.cancel(connection, order_id=first.wins[0].order_id, fan="alice")
    assert await landed(postgres, three_each, entry(("alice", 4), ("alice", 5), number=2)) == Landed(2, 0, ())
    assert await places(postgres, three_each, "alice") == [1, 2, 3]
    told = await landed(postgres, three_each, entry(("alice", 6), ("bob", 7), number=3), first)
    assert (told.new, told.known, [one.reason for one in told.aside]) == (1, 3, [OVER_LIMIT])
    assert await places(postgres, three_each, "bob") == [1, 2]


async def test_landings_beside_each_other_share_out_a_fans_places(postgres: Pool, three_each: str) -> None:
    """Given a limit of three / When three landings at once each have one order of a fan / Then all three land."""
    entries = [entry(("alice", unit), (f"other{unit}", unit + 3), number=unit) for unit in (1, 2, 3)]
    told = await asyncio.gather(*(landed(postgres, three_each, one) for one in entries))
    assert [(one.new, one.aside) for one in told] == [(2, ())] * 3
    assert await places(postgres, three_each, "alice") == [1, 2, 3]


async def test_many_bad_ones_are_found_among_many_good_ones(postgres: Pool, stocked: str) -> None:
    """Given a read in which every third order is refused, for all reasons / Then just those are set aside."""
    assert (await landed(postgres, stocked, entry(("zoe", LOADED)))).new == 1
    odd = [("zoe", 19), ("mallory", LOADED), ("nobody", LOADED + 1), ("nobody", LOADED + 2)]
    good = [(f"fan{unit}", unit) for unit in range(1, 9)]
    mixed = [win for at, bad in enumerate(odd) for win in (good[2 * at], bad, good[2 * at + 1])]
    told = await landed(postgres, stocked, entry(*mixed, number=2), entry(("fan9", 9), item="gold", number=3))
    assert (told.new, told.known) == (8, 0)
    assert [one.reason for one in told.aside] == [OVER_LIMIT, UNIT_TAKEN, BEYOND_LOADED, BEYOND_LOADED, NO_SUCH_ITEM]
    assert {row["unit"] for row in await rows(postgres, stocked)} == {*range(1, 9), LOADED}
