"""What a recovery reads of Postgres, to the last condition: what a bucket is held against, which lines and loads it is
rebuilt from, and which units are seen outside it."""

import uuid
from datetime import datetime, timedelta
from typing import Final

import pytest

from flashsale import set_aside
from flashsale.outbox import Win
from flashsale.queries import query
from flashsale.set_aside import SetAside, State
from tests.ground.full import LONG_AGO, insert, win
from tests.ground.two import Two

pytestmark = pytest.mark.servers
AN_INSTANT: Final = timedelta(microseconds=1)


async def known(two: Two) -> dict[int, tuple[int, int, int]]:
    """By bucket of the first sale: its wins, its returned units, its loads."""
    rows = await two.ask("recovery", "known_of_buckets", two.name)
    return {row["bucket"]: (row["wins"], row["returned"], row["loads"]) for row in rows}


async def what_waits(two: Two) -> Win:
    """The order of the first sale that was set aside, as it was won."""
    win_of = "select win from set_aside where sale = $1 and win is not null"
    return Win(**await two.connection.fetchval(win_of, two.name))


async def land_what_waits(two: Two) -> None:
    """The order of the first sale that waits for another unit lands with unit 6."""
    won = await what_waits(two)
    assert await insert(two.connection, "land", won._replace(unit=6), sale=two.name) == 1


async def set_aside_unread(two: Two) -> None:
    """In the first sale an entry is set aside that nobody could read."""
    unread = SetAside(uuid.uuid4(), "9-9", "at_ms noon", "malformed", State.UNREADABLE)
    await set_aside.store(two.connection, sale=two.name, bucket=0, aside=[unread])


async def test_what_a_bucket_must_have_done(two: Two) -> None:
    """Given five orders and one that waits, one unit of three that is back, one load of two that is in / Then so much
    is a bucket held against: an order once, when it lands too; an entry that could not be read never."""
    assert await known(two) == {0: (6, 1, 1)}
    await set_aside_unread(two)
    assert await known(two) == {0: (6, 1, 1)}
    await land_what_waits(two)
    assert await known(two) == {0: (6, 1, 1)}


async def test_each_bucket_is_held_against_its_own(two: Two) -> None:
    """Given an order, a return and a load of other buckets / Then each counts for its own."""
    for sql in (
        "update orders set bucket = 1 where sale = $1 and fan in ('alice', 'bob')",
        "update returns set bucket = 2, given_back_at = now() where sale = $1 and fan = 'carol'",
        "update stock_loads set bucket = 3, applied_at = now() where sale = $1 and item = 'silver'",
        "update set_aside set bucket = 4 where sale = $1",
    ):
        await two.connection.execute(sql, two.name)
    assert await known(two) == {0: (3, 1, 1), 1: (2, 0, 0), 2: (0, 1, 0), 3: (0, 0, 1), 4: (1, 0, 0)}


async def refusals(two: Two) -> dict[str, datetime | None]:
    """Fan to when their bucket did not know their order, in the first sale."""
    rows = await two.connection.fetch("select fan, refused_at from returns where sale = $1", two.name)
    return {row["fan"]: row["refused_at"] for row in rows}


async def test_returns_that_a_bucket_did_not_know_are_tried_again(two: Two) -> None:
    """Given a return that its bucket did not know / When that bucket is rebuilt / Then it waits again; not that of
    another bucket or sale, nor one that is back by now; and what waits anyway is not written."""
    bucket = "update returns set bucket = $2 where sale = $1 and fan = 'erin'"
    await two.connection.execute(bucket, two.name, 7)
    back = "update returns set refused_at = $2 where sale = $1 and fan = 'dora'"
    await two.connection.execute(back, two.name, LONG_AGO)
    assert await two.ask("recovery", "returns_unlocked", two.name, [6, 8]) == []
    locked = await two.ask("recovery", "returns_unlocked", two.name, [0, 7])
    assert len(locked) == 2, "carol's and erin's; dora's is back"
    await two.ask("recovery", "returns_again", two.name, [0, 6, 8])
    assert await refusals(two) == {"carol": None, "dora": LONG_AGO, "erin": LONG_AGO}
    await two.connection.execute(bucket, two.name, 0)
    said = await two.connection.execute(query("recovery", "returns_again"), two.name, [0])
    assert (said, await refusals(two)) == ("UPDATE 1", {"carol": None, "dora": LONG_AGO, "erin": None})


async def came_back(two: Two, *numbers: int) -> list[str]:
    """Whose units are said to have come back, when these buckets of the first sale are rebuilt; none of the other's."""
    transaction = two.connection.transaction()
    await transaction.start()
    await two.ask("recovery", "returns_sold_again", two.name, list(numbers))
    rows = await two.connection.fetch(
        "select sale, fan, hold from returns where given_back_at = now() and released_at is not distinct from"
        " case when hold then now() end"
    )
    await transaction.rollback()
    assert {row["sale"] for row in rows} <= {two.name}
    return sorted(row["fan"] + " held" * row["hold"] for row in rows)


async def test_a_unit_that_was_sold_again_has_come_back(two: Two) -> None:
    """Given a unit on its way back / When another order has had it since / Then it came back, held no longer; not
    by an order that landed before, was refused, or is of another unit, item or sale, nor in another bucket."""
    end = "update returns set created_at = now() - interval '1 minute' where sale = any($1)"
    await two.connection.execute(end, [two.name, two.other.sale.sale])
    rows = await two.connection.fetch(
        "select unit from returns where sale = $1 and fan <> 'dora' order by fan", two.name
    )
    carol, erin = [row["unit"] for row in rows]
    set_orders = "update orders set {} where sale = $1 and fan in ('carol', 'dora', 'erin')"
    await two.connection.execute(set_orders.format("confirmed_at = now() - interval '2 minutes'"), two.name)
    assert await came_back(two, 0) == []
    assert await insert(two.connection, "land", win("zoe", carol), sale=two.other.sale.sale) == 1
    assert await insert(two.connection, "land", win("xia", 1, item="black"), sale=two.name) == 1
    await two.connection.execute("update orders set unit = 3 where sale = $1 and fan = 'xia'", two.name)
    assert await came_back(two, 0) == []

    assert await insert(two.connection, "land", win("zoe", carol), win("yan", erin), sale=two.name) == 2
    assert await came_back(two, 0) == ["carol", "erin"]
    assert await came_back(two, 1) == []
    assert await came_back(two, 1, 0) == ["carol", "erin"]
    await two.connection.execute("update returns set hold = true where sale = $1 and fan = 'carol'", two.name)
    assert await came_back(two, 0) == ["carol held", "erin"]
    zoe = "update orders set {} where sale = $1 and fan = 'zoe'"
    await two.connection.execute(zoe.format("confirmed_at = now() - interval '1 minute'"), two.name)
    assert await came_back(two, 0) == ["erin"]
    await two.connection.execute(zoe.format("confirmed_at = now(), state = 'refused'"), two.name)
    assert await came_back(two, 0) == ["erin"]
    await two.connection.execute(zoe.format("state = 'expired'"), two.name)
    assert await came_back(two, 0) == ["carol held", "erin"]
    back = "update returns set given_back_at = $2 where sale = $1 and fan = 'erin'"
    await two.connection.execute(back, two.name, LONG_AGO)
    assert await came_back(two, 0) == ["carol held"]


async def test_loads_that_are_on_their_way_to_a_bucket(two: Two) -> None:
    """Given a load that waits and one that is in / Then that which waits is locked, when it is for these buckets."""
    (waits,) = await two.ask("sales", "stock_loads_waiting", two.name)
    for numbers, loads in (([0], [waits["load"]]), ([1, 0], [waits["load"]]), ([1], []), ([], [])):
        found = await two.ask("recovery", "loads_unlocked", two.name, numbers)
        assert [row["load"] for row in found] == loads


async def test_loads_that_a_bucket_has_in_it(two: Two) -> None:
    """Given a load that waits and one that is in / Then that which is in is not to come in again, where it is."""
    waiting = {row["load"] for row in await two.ask("sales", "stock_loads_waiting", two.name)}
    both = {row["load"] for row in await two.ask("sales", "stock_loads", two.name)}
    assert [row["load"] for row in await two.ask("recovery", "loads_applied", two.name, 0)] == [*(both - waiting)]
    assert await two.ask("recovery", "loads_applied", two.name, 1) == []


async def test_units_that_passed_since_a_moment(two: Two) -> None:
    """Given a unit that came back and a load that came in at one moment / Then they passed since it, and not since a
    later one; what went into the fenced buckets is not told."""
    both = {("silver", 4, 4), ("black", 1, 3)}

    async def passed(since: datetime, fenced: list[int]) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await two.ask("recovery", "moved_since", two.name, since, fenced)]

    for fenced in ([], [1, 2]):
        told = await passed(LONG_AGO, fenced)
        assert (len(told), set(told)) == (2, both)
        assert await passed(LONG_AGO + AN_INSTANT, fenced) == []
    assert await passed(LONG_AGO, [1, 0]) == []
    await two.connection.execute("update returns set bucket = 1 where sale = $1", two.name)
    assert await passed(LONG_AGO, [1]) == [("black", 1, 3)]
    assert await passed(LONG_AGO, [0]) == [("silver", 4, 4)]


async def units_aside(two: Two) -> list[tuple[object, ...]]:
    """Item and unit of each order of the first sale that is set aside and has a unit."""
    return [tuple(row) for row in await two.ask("recovery", "units_aside", two.name)]


@pytest.mark.parametrize("state", set_aside.State)
async def test_units_of_orders_that_are_set_aside(two: Two, state: State) -> None:
    """Given an order that was set aside / Then its last unit is seen while it waits, or needs a person; not when it is
    refused or has landed. An entry that nobody can read has none."""
    await set_aside_unread(two)
    aside = "update set_aside set state = $2, tried = '{1,7}', note = 'x' where sale = $1 and win is not null"
    await two.connection.execute(aside, two.name, state.value)
    open_states = (State.WAITING, State.UNREADABLE)
    assert await units_aside(two) == ([("silver", 7)] if state in open_states else [])
    await land_what_waits(two)
    assert await units_aside(two) == []


# A return of dora's unit in the first sale, or in the other, and whether the unit of the order aside is seen then.
SINCE: Final = "update returns set unit = 1, given_back_at = $2 where fan = 'dora' and sale = $1"
BACK: Final = {
    "it came back since": (SINCE, timedelta(seconds=1), False),
    "it came back at that moment": (SINCE, timedelta(), False),
    "it came back before": (SINCE, -AN_INSTANT, True),
    "it is to come back": (SINCE.replace("= $2", "= nullif($2::timestamptz, $2)"), timedelta(), True),
    "another unit came back": (SINCE.replace("unit = 1", "unit = 4"), timedelta(seconds=1), True),
    "another item's came back": (SINCE.replace("set", "set item = 'black',"), timedelta(seconds=1), True),
    "another sale's came back": (SINCE.replace("= $1", "= $1 || '-2'"), timedelta(seconds=1), True),
}


@pytest.mark.parametrize("name", BACK)
async def test_a_unit_that_came_back_since_it_was_tried_is_not_seen_aside(two: Two, name: str) -> None:
    """Given an order that waits since unit 1 was another's / When that came back by the other order since / Then it is
    free; it is not when it came back before, or when it is another unit."""
    sql, later, seen = BACK[name]
    tried_at = await two.connection.fetchval("select tried_at from set_aside where sale = $1", two.name)
    await two.connection.execute(sql, two.name, tried_at + later)
    assert await units_aside(two) == ([("silver", 1)] if seen else [])


async def lines(two: Two, bucket: int = 0) -> dict[str, list[str]]:
    """By fan, the lines that a bucket of the first sale is rebuilt from."""
    rows = await two.ask("recovery", "buyer_lines", two.name, bucket)
    assert len({row["fan"] for row in rows}) == len(rows)
    return {row["fan"]: row["lines"].split("\n") for row in rows}


async def whole_lines(two: Two) -> dict[str, list[str]]:
    """The lines that the rows of the first sale have: a fan's, oldest first. Live is an order whose unit its bucket
    still has out: confirmed, paid, set aside, or on its way back."""
    live = {"alice", "bob", "carol", "erin", "finn"}
    rows = await two.connection.fetch("select * from orders where sale = $1", two.name)
    told = [(row["fan"], row["order_id"].hex, row["key"], row["unit"], row["accepted_ms"]) for row in rows]
    won = await what_waits(two)
    told.append((won.fan, won.order, won.key, 1, won.accepted_ms))
    return {
        fan: [f"{order} {key or order[-16:]} {int(fan in live)} {unit} silver {accepted_ms}"]
        for fan, order, key, unit, accepted_ms in told
    }


async def test_a_fan_has_the_lines_of_all_their_orders(two: Two) -> None:
    """Given orders in every state, and one that waits / Then each fan has a line for each, which says whether its unit
    is out; those of one bucket and sale. A key that is not known is the end of the order's own number."""
    expected = await whole_lines(two)
    assert set(expected) == {"alice", "bob", "carol", "dora", "erin", "finn"}
    await set_aside_unread(two)
    assert await lines(two) == expected
    await two.connection.execute("update orders set key = '' where sale = $1 and fan = 'bob'", two.name)
    await two.connection.execute("update orders set key = $2 where sale = $1 and fan = 'dora'", two.name, "e" * 16)
    assert await lines(two) == await whole_lines(two)
    assert await lines(two, 1) == {}
    for table in ("orders", "set_aside"):
        await two.connection.execute(f"update {table} set bucket = 1 where sale = $1", two.name)  # noqa: S608
        told = await lines(two, 1)
        assert ("alice" in told, "finn" in told) == (True, table == "set_aside")
    assert await lines(two) == {}


async def test_a_fan_has_their_lines_oldest_first(two: Two) -> None:
    """Given a fan with two orders, of which the older one came later / Then its line is the first."""
    await two.connection.execute("update sales set per_fan_limit = 2 where sale = $1", two.name)
    older = win("alice", 6, at_ms=1_000)
    assert await insert(two.connection, "land", older, sale=two.name) == 1
    assert [line.split()[0] for line in (await lines(two))["alice"]] == [older.order, two.one.orders["alice"].hex]


@pytest.mark.parametrize("state", set_aside.State)
async def test_an_order_that_is_set_aside_has_its_line_while_it_is_open(two: Two, state: State) -> None:
    """Given an order that was set aside / Then its line is there while it waits or needs a person; an order that has
    landed has one line, with the unit that it landed with."""
    await two.connection.execute("update set_aside set state = $2, note = 'x' where sale = $1", two.name, state.value)
    assert ("finn" in await lines(two)) == (state in (State.WAITING, State.UNREADABLE))
    await land_what_waits(two)
    (line,) = (await lines(two))["finn"]
    assert line.split()[2:5] == ["1", "6", "silver"]
