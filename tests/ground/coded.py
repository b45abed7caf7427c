"""A full sale that takes F-codes: units set aside, a batch of two items, one code redeemed, some exported."""

from dataclasses import dataclass, replace

from flashsale import batch, clock, ledger, order
from flashsale.batch import Batch, Terms, key_of
from flashsale.fcode import Code
from flashsale.outbox import Win
from flashsale.queries import Connection, query
from flashsale.sale import Sale, UnitPool
from tests.ground.full import Full, win

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Coded:
    """The sale; its batch of three codes for silver and one for black, of which alice redeemed the first, with unit 8.

    Aside are four units of silver, 8 to 11, and two of black, 4 and 5.
    """

    sale: Sale
    batch: Batch


def terms(sale: Sale, **changed: object) -> Terms:
    """What ops say of the batch, with what the test changes."""
    told: dict[str, object] = {
        "codes": {"silver": 3, "black": 1}, "tag": "vips", "channel": "wechat", "valid_ms": sale.opens_ms - DAY_MS,
        "expires_ms": sale.closes_ms, "release_ms": sale.opens_ms,
    } | changed  # fmt: skip
    return Terms(**told)  # type: ignore[arg-type]


def by_code(one: Batch, serial: int, fan: str, unit: int) -> Win:
    """A win by a code, as it lands."""
    return win(fan, unit)._replace(lane="fcode", key=key_of(Code(one.batch, serial)))


async def land(connection: Connection, sale: Sale, *wins: Win) -> int:
    """Land these in the bucket of the codes; how many rows it made."""
    return await order._insert_by("land", connection, sale=sale.sale, bucket=sale.buckets, wins=wins)


async def coded(connection: Connection, full: Full) -> Coded:
    """Let a full sale take codes."""
    name = full.sale.sale
    await connection.execute(
        "update sales set takes_fcodes = true, state = 'loaded', opens_ms = $2, closes_ms = $3 where sale = $1",
        name, clock.now_ms() + DAY_MS, clock.now_ms() + 2 * DAY_MS,
    )  # fmt: skip
    sale = await ledger.find(connection, name)
    await ledger.make_units(connection, sale, "silver", 4, pool=UnitPool.FCODE)
    await ledger.make_units(connection, sale, "black", 2, pool=UnitPool.FCODE)
    made = await batch.create(connection, sale, terms(sale), key_id="k1", actor="tester")
    assert await land(connection, sale, by_code(made, 0, "alice", 8)) == 1
    await connection.execute(query("fcodes", "take_serials"), made.batch, 2)
    await connection.execute(query("fcodes", "export"), made.batch, 0, 1, "tester")
    return Coded(await ledger.find(connection, name), replace(made, issued=2))
