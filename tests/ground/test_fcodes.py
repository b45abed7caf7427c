"""F-codes in Postgres: what the schema forbids, and that each query keeps to its batch and sale."""

from dataclasses import dataclass, replace
from typing import Final

import asyncpg
import pytest

from flashsale import batch
from flashsale.batch import key_of
from flashsale.errors import BadInputError, NotFoundError, StateError
from flashsale.fcode import Code
from flashsale.queries import Connection
from flashsale.sale import Sale, State
from tests.ground.coded import Coded, by_code, coded, land, terms
from tests.ground.full import aside
from tests.ground.two import Two

pytestmark = pytest.mark.servers
OF_BATCH: Final = "batch in (select batch from fcode_batches where sale = $1)"

# Name of the constraint: a statement that it must refuse. $1: the sale.
REFUSED: Final = {
    "orders_fcode": (
        "insert into orders (order_id, sale, item, unit, fan, state, bucket, channel, lane, key, price_minor, currency,"
        " accepted_ms, pay_before_ms) select gen_random_uuid(), sale, item, 9, 'bob', 'expired', bucket, channel, lane,"
        " key, price_minor, currency, accepted_ms, pay_before_ms from orders where sale = $1 and lane = 'fcode'"
    ),
    "orders_fcode_key": "update orders set key = '' where sale = $1 and lane = 'fcode'",
    "fcode_batches_pkey": (
        "insert into fcode_batches overriding system value select * from fcode_batches where sale = $1"
    ),
    "fcode_batches_sale_fkey": "update fcode_batches set sale = sale || '-x' where sale = $1",
    "fcode_batches_codes_check": "update fcode_batches set codes = 1048577 where sale = $1",
    "fcode_batches_issued": "update fcode_batches set issued = 5 where sale = $1",
    "fcode_batches_expires": "update fcode_batches set expires_ms = valid_ms where sale = $1",
    "fcode_items_pkey": (
        "insert into fcode_items select batch, sale, item, 9, 9 from fcode_items where sale = $1 and item = 'black'"
    ),
    "fcode_items_batch_fkey": "insert into fcode_items values (1048575, $1, 'black', 0, 0)",
    "fcode_items_sale_item_fkey": "update fcode_items set item = 'gold' where sale = $1 and item = 'black'",
    "fcode_items_serial_from_check": "update fcode_items set serial_from = -1, serial_to = 0 where sale = $1",
    "fcode_items_range": "update fcode_items set serial_to = serial_from - 1 where sale = $1",
    "fcode_exports_pkey": f"insert into fcode_exports select * from fcode_exports where {OF_BATCH}",  # noqa: S608
    "fcode_exports_batch_fkey": f"update fcode_exports set batch = 1048575 where {OF_BATCH}",  # noqa: S608
    "fcode_exports_check": f"update fcode_exports set serial_to = serial_from - 1 where {OF_BATCH}",  # noqa: S608
    "fcodes_have_units": "update fcode_items set serial_to = serial_to + 2 where sale = $1 and item = 'silver'",
}
NEEDED: Final = {
    "sales": "takes_fcodes",
    "fcode_batches": "version sale codes issued tag channel key_id valid_ms expires_ms created_at",
    "fcode_items": "sale item serial_from serial_to",
    "fcode_exports": "serial_to actor exported_at",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sales that are alike and take codes; the second is never touched."""

    two: Two
    one: Coded
    other: Coded

    @property
    def connection(self) -> Connection:
        """The way to both."""
        return self.two.connection

    async def rows(self, of: Coded) -> list[str]:
        """All that is written of a sale's codes."""
        found = []
        for table, where in (("fcode_batches", "sale = $1"), ("fcode_items", "sale = $1"), ("fcode_exports", OF_BATCH)):
            rows = await self.connection.fetch(f"select t::text from {table} t where {where}", of.sale.sale)  # noqa: S608
            found += sorted(row[0] for row in rows)
        return found

    async def ask(self, name: str, *arguments: object) -> list[tuple[object, ...]]:
        """What a query answers; the other sale is as it was."""
        before = await self.rows(self.other)
        answer = await self.two.ask("fcodes", name, *arguments)
        assert await self.rows(self.other) == before
        return [tuple(row.values()) for row in answer]


@pytest.fixture
async def pair(two: Two) -> Pair:
    """Two sales that take codes. Nothing of them stays."""
    other = await coded(two.connection, two.other)
    return Pair(two, await coded(two.connection, two.one), other)


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused(pair: Pair, name: str) -> None:
    """Given a sale with codes / When a row is spoiled / Then just this constraint refuses it."""
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await pair.connection.execute(REFUSED[name], pair.one.sale.sale)
    assert getattr(refused.value, "constraint_name", None) == name


@pytest.mark.parametrize(("table", "column"), [(table, column) for table in NEEDED for column in NEEDED[table].split()])
async def test_it_is_needed(pair: Pair, table: str, column: str) -> None:
    """Given a sale with codes / When a row loses a value that it needs / Then that is refused."""
    where = OF_BATCH if table == "fcode_exports" else "sale = $1"
    with pytest.raises(asyncpg.NotNullViolationError) as refused:
        await pair.connection.execute(f"update {table} set {column} = null where {where}", pair.one.sale.sale)  # noqa: S608
    assert getattr(refused.value, "column_name", None) == column


@pytest.mark.parametrize(
    ("name", "change"), [("fcode_batches_codes_check", "codes = 0"), ("fcode_batches_issued", "issued = -1")]
)
async def test_a_batch_has_a_code(pair: Pair, name: str, change: str) -> None:
    """Given a batch / Then it can't have less than one code, nor fewer given out than none."""
    with pytest.raises(asyncpg.CheckViolationError, match=name):
        await pair.connection.execute(f"update fcode_batches set {change} where sale = $1", pair.one.sale.sale)  # noqa: S608


async def test_the_largest_batch_is_good(pair: Pair) -> None:
    """Given a batch / Then it may have as many codes as serials have room for."""
    said = await pair.connection.execute("update fcode_batches set codes = 1048576 where sale = $1", pair.one.sale.sale)
    assert said == "UPDATE 1"


async def test_codes_have_units(pair: Pair) -> None:
    """Given four units of silver and two of black aside, with three codes and one / Then one code of each can be made
    and no more; what was loaded for everybody, or in another sale or item, is nobody's code."""
    sale = pair.one.sale
    for item, free in (("silver", 1), ("black", 1)):
        assert await pair.ask("codes_free", sale.sale, item) == [(free,)]
        with pytest.raises(BadInputError, match=rf"{item}=2: only 1 units"):
            await batch.create(pair.connection, sale, terms(sale, codes={item: 2}), key_id="k1", actor="t")
        await batch.create(pair.connection, sale, terms(sale, codes={item: 1}), key_id="k1", actor="t")
        assert await pair.ask("codes_free", sale.sale, item) == [(0,)]
    assert sorted(await pair.ask("units_aside", sale.sale)) == [("black", 2), ("silver", 4)]
    await pair.connection.execute("update sales set takes_fcodes = false where sale = $1", sale.sale)
    assert await pair.ask("units_aside", sale.sale) == []
    assert await pair.ask("codes_free", sale.sale, "silver") == [(-4,)]
    with pytest.raises(asyncpg.CheckViolationError, match="codes of black"):
        await pair.connection.execute(
            "update fcode_items set serial_to = serial_to where sale = $1 and item = 'black'", sale.sale
        )


async def test_an_item_without_units_aside_has_no_codes(pair: Pair) -> None:
    """Given an item none of which is set aside / Then no code can be made for it."""
    sale = pair.one.sale
    await pair.connection.execute(
        "delete from stock_loads where sale = $1 and item = 'black' and bucket = 1", sale.sale
    )
    assert await pair.ask("codes_free", sale.sale, "black") == [(-1,)]
    with pytest.raises(BadInputError, match="black=1: only 0 units"):
        await batch.create(pair.connection, sale, terms(sale, codes={"black": 1}), key_id="k1", actor="t")


async def test_batches_of_a_sale(pair: Pair) -> None:
    """Given two sales with a batch each / Then each is found by its sale and by its number, with its items in order."""
    connection = pair.connection
    assert await batch.of_sales(connection, [pair.one.sale]) == [pair.one.batch]
    assert await batch.of_sales(connection, [pair.one.sale, pair.other.sale]) == [pair.other.batch, pair.one.batch]
    assert await batch.find(connection, pair.other.batch.batch) == pair.other.batch
    assert [(part.item, part.serial_from, part.serial_to) for part in pair.one.batch.slices] == [
        ("silver", 0, 2), ("black", 3, 3),
    ]  # fmt: skip
    assert [pair.one.batch.item_of(serial) for serial in (-1, 0, 2, 3, 4)] == [None, "silver", "silver", "black", None]
    with pytest.raises(NotFoundError, match="no batch 1048575"):
        await batch.find(connection, 1_048_575)


async def test_a_batch_is_released_once(pair: Pair) -> None:
    """Given a batch whose time comes / Then it is due from then on, is released once, and is not due any more."""
    one, sale = pair.one.batch, pair.one.sale
    assert one.release_ms is not None
    assert await pair.ask("batches_due", sale.sale, one.release_ms - 1) == []
    assert await pair.ask("batches_due", sale.sale, one.release_ms) == [(one.batch,)]
    assert await batch.release_due(pair.connection, sale.sale, now_ms=one.release_ms) == [one.batch]
    released = await batch.find(pair.connection, one.batch)
    assert (released.released, released.version) == (True, one.version + 1)
    assert await batch.release(pair.connection, one.batch, actor="ops") == released
    assert await pair.ask("batches_due", sale.sale, one.release_ms) == []
    rows = await pair.connection.fetch(
        "select actor from ops_log where sale = $1 and verb = 'fcode-release'", sale.sale
    )
    assert [row["actor"] for row in rows] == ["clock"]
    assert not (await batch.find(pair.connection, pair.other.batch.batch)).released
    with pytest.raises(StateError, match="is released"):
        await batch.extend(pair.connection, one.batch, expires_ms=sale.closes_ms, actor="ops")


async def test_a_batch_without_a_time_is_never_due(pair: Pair) -> None:
    """Given a batch that ops release by hand / Then the clock does not."""
    sale = pair.one.sale
    made = await batch.create(
        pair.connection, sale, terms(sale, codes={"silver": 1}, release_ms=None), key_id="k1", actor="t"
    )
    assert await pair.ask("batches_due", sale.sale, 2**62) == [(pair.one.batch.batch,)]
    assert made.release_ms is None


async def test_a_batch_is_extended(pair: Pair) -> None:
    """Given a batch / When its end is set / Then that is its end, its version grows, and the other's stays."""
    one, sale = pair.one.batch, pair.one.sale
    before = await pair.rows(pair.other)
    extended, its_sale = await batch.extend(pair.connection, one.batch, expires_ms=one.valid_ms + 1, actor="ops")
    assert (extended.expires_ms, extended.version, its_sale.sale) == (one.valid_ms + 1, one.version + 1, sale.sale)
    assert await pair.rows(pair.other) == before
    for wrong in (one.valid_ms, sale.closes_ms + 1):
        with pytest.raises(BadInputError, match="--expires"):
            await batch.extend(pair.connection, one.batch, expires_ms=wrong, actor="ops")
    with pytest.raises(NotFoundError):
        await batch.extend(pair.connection, 1_048_575, expires_ms=1, actor="ops")


async def spent(pair: Pair, sale: Sale) -> dict[int, list[int]]:
    """By batch of a sale, the serials that are spent, in order. The other sale's are nowhere among them."""
    found = await batch.spent_of(pair.connection, sale)
    assert pair.other.batch.batch not in found
    return {number: sorted(serials) for number, serials in found.items()}


async def set_one_aside(connection: Connection, sale: Sale, code: Code) -> None:
    """An order by this code was won, and waits for another unit."""
    waits = aside("hugo", 1)
    assert waits.win is not None
    by = waits.win._replace(lane="fcode", key=key_of(code))
    await connection.execute(
        "insert into set_aside (order_id, sale, bucket, entry, content, reason, state, win, tried) "
        "values ($1, $2, 1, '', '', '', 'waiting', $3, '{1}')",
        by.order_id, sale.sale, by._asdict(),
    )  # fmt: skip


async def test_codes_that_were_redeemed(pair: Pair) -> None:
    """Given codes of two batches, redeemed, refused and set aside / Then each batch has its own: those are spent,
    and of orders that were kept it is told how many."""
    sale, one = pair.one.sale, pair.one.batch
    later = await batch.create(pair.connection, sale, terms(sale, codes={"silver": 1}), key_id="k1", actor="t")
    assert await land(pair.connection, sale, by_code(later, 0, "bob", 11)) == 1
    assert await land(pair.connection, sale, by_code(one, 2, "carol", 9)) == 1
    await pair.connection.execute(
        "update orders set state = 'refused' where sale = $1 and key = $2", sale.sale, key_of(Code(one.batch, 2))
    )
    await set_one_aside(pair.connection, sale, Code(one.batch, 1))
    await set_one_aside(pair.connection, pair.other.sale, Code(pair.other.batch.batch, 1))
    assert await spent(pair, sale) == {one.batch: [0, 1, 2], later.batch: [0]}
    assert await batch.redeemed_of(pair.connection, sale.sale) == {one.batch: 1, later.batch: 1}


async def test_a_press_is_no_code(pair: Pair) -> None:
    """Given an order for everybody's units whose key looks like a code / Then no code is spent by it."""
    sale, one = pair.one.sale, pair.one.batch
    key = key_of(Code(one.batch, 2))
    await pair.connection.execute("update orders set key = $2 where sale = $1 and lane = 'public'", sale.sale, key)
    await pair.connection.execute(
        "update set_aside set win = jsonb_set(win, '{key}', to_jsonb($2::text)) where sale = $1", sale.sale, key
    )
    assert await spent(pair, sale) == {one.batch: [0]}
    assert await batch.redeemed_of(pair.connection, sale.sale) == {one.batch: 1}


async def test_exports(pair: Pair) -> None:
    """Given exported codes / When more are taken / Then they follow, and all are told in order."""
    one = pair.one.batch
    await pair.ask("take_serials", one.batch, 2)
    await pair.ask("export", one.batch, 3, 3, "ops")
    await pair.ask("export", one.batch, 2, 2, "ops")
    assert (await batch.find(pair.connection, one.batch)).issued == 4
    rows = await pair.ask("exports", one.batch)
    assert [row[:3] for row in rows] == [(0, 1, "tester"), (2, 2, "ops"), (3, 3, "ops")]


async def test_the_lock_of_a_batch(pair: Pair) -> None:
    """Then it gives the batch's sale, and that of another one not."""
    assert await pair.ask("lock_batch", pair.one.batch.batch) == [(pair.one.sale.sale,)]


async def test_a_code_takes_no_place_and_is_bound_as_any_order(pair: Pair) -> None:
    """Given a limit of one and a fan with an order / When they redeem a second code / Then it lands; a code's unit
    is in no other live order, and was loaded."""
    sale, one = pair.one.sale, pair.one.batch
    assert await land(pair.connection, sale, by_code(one, 1, "alice", 9)) == 1
    (row,) = await pair.connection.fetch(
        "select count(*) from orders where sale = $1 and fan = 'alice' and live_place is null", sale.sale
    )
    assert row[0] == 2
    for unit, name in ((9, "orders_live_unit"), (12, "orders_unit_loaded")):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
            async with pair.connection.transaction():
                await land(pair.connection, sale, by_code(one, 2, "bob", unit))
        assert getattr(refused.value, "constraint_name", None) == name
    await land(pair.connection, sale, by_code(one, 2, "bob", 10))
    with pytest.raises(asyncpg.CheckViolationError, match="never loaded"):
        await pair.connection.execute(
            "update orders set unit = 99 where sale = $1 and fan = 'bob' and unit = 10", sale.sale
        )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"codes": {"gold": 1}}, "no item gold"),
        ({"codes": {"silver": 0}}, "at least one"),
        ({"codes": {}}, "1 to 1048576"),
        ({"channel": "radio"}, "--channel"),
        ({"valid_ms": 5, "expires_ms": 5}, "--expires"),
        ({"expires_ms": 10**14}, "--expires"),
        ({"release_ms": 10**14}, "--release"),
        ({"release_ms": 1}, "can't be taken back"),
        ({"valid_ms": 1, "expires_ms": 2, "release_ms": None}, "in the past"),
    ],
)
async def test_terms_that_can_t_be(pair: Pair, changed: dict[str, object], words: str) -> None:
    """Given terms that make no sense / Then they are refused, and nothing is written."""
    sale = pair.one.sale
    before = await pair.rows(pair.one)
    with pytest.raises(BadInputError, match=words):
        await batch.create(pair.connection, sale, terms(sale, **changed), key_id="k1", actor="t")
    assert await pair.rows(pair.one) == before


@pytest.mark.parametrize("state", [State.DRAFT, State.CLOSED])
async def test_no_codes_for_a_sale_that_is_no_more(pair: Pair, state: State) -> None:
    """Given a draft or a closed sale / Then no codes are made for it."""
    sale = replace(pair.one.sale, state=state)
    with pytest.raises(StateError, match=state):
        await batch.create(pair.connection, sale, terms(sale), key_id="k1", actor="t")
