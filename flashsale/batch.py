"""A batch of F-codes: so many codes for items of a sale, each with a unit set aside, and terms that hold for them all.

Postgres has the last word on a batch; the sale's bucket for F-codes has a copy of its terms, by which it decides.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from flashsale import clock, ledger, limits, scripts
from flashsale.clock import from_ms
from flashsale.errors import BadInputError, NotFoundError, StateError
from flashsale.fcode import Code
from flashsale.outcomes import Effect
from flashsale.queries import Connection, query
from flashsale.sale import Sale, State
from flashsale.settled import Settler
from flashsale.stock import BucketFacts

_NO_UNITS: Final = "fcodes_have_units"


@dataclass(frozen=True, slots=True)
class Slice:
    """The codes of a batch that are for one item: serials serial_from to serial_to, both ends included."""

    item: str
    serial_from: int
    serial_to: int

    @property
    def codes(self) -> int:
        """How many they are."""
        return self.serial_to - self.serial_from + 1


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as Postgres has it. Times in ms since 1970 UTC.

    issued: serials below this were exported; release_ms: when what is unused goes on sale to everybody, None for never
    by itself; released: that has been done.
    """

    batch: int
    version: int
    sale: str
    codes: int
    issued: int
    tag: str
    channel: str
    key_id: str
    valid_ms: int
    expires_ms: int
    release_ms: int | None
    released: bool
    slices: tuple[Slice, ...]

    def item_of(self, serial: int) -> str | None:
        """The item that a code is for; None for one that the batch has not."""
        return next((one.item for one in self.slices if one.serial_from <= serial <= one.serial_to), None)


@dataclass(frozen=True, slots=True)
class Terms:
    """What ops say of a new batch. codes: by item, how many; the rest as in Batch."""

    codes: Mapping[str, int]
    tag: str
    channel: str
    valid_ms: int
    expires_ms: int
    release_ms: int | None


async def create(connection: Connection, sale: Sale, terms: Terms, *, key_id: str, actor: str) -> Batch:
    """Make a batch. Raises BadInputError or StateError, and changes nothing, when it can't be."""
    _check(sale, terms, now_ms=clock.now_ms())
    try:
        async with connection.transaction():
            # In the order in which landing locks them, and before a foreign key does so in another way.
            await connection.fetch(query("set_aside", "lock_items"), sale.sale, sorted(terms.codes))
            number = await connection.fetchval(
                query("fcodes", "create_batch"), sale.sale, sum(terms.codes.values()), terms.tag, terms.channel,
                key_id, terms.valid_ms, terms.expires_ms, terms.release_ms,
            )  # fmt: skip
            first = 0
            for item, codes in terms.codes.items():
                await connection.execute(
                    query("fcodes", "create_batch_item"), number, sale.sale, item, first, first + codes - 1
                )
                first += codes
            detail = {"batch": number, "codes": dict(terms.codes), "tag": terms.tag, "channel": terms.channel}
            await ledger.log(connection, actor=actor, verb="fcode-create", sale=sale.sale, detail=detail)
    except asyncpg.CheckViolationError as refused:
        if refused.constraint_name != _NO_UNITS:
            raise
        raise BadInputError(await _too_many(connection, sale, terms)) from refused
    return await find(connection, number)


def _check(sale: Sale, terms: Terms, *, now_ms: int) -> None:
    if not sale.takes_fcodes:
        raise BadInputError(f"Sale {sale.sale} takes no F-codes: its plan gave no item an fcode_stock.")
    if sale.state in {State.DRAFT, State.CLOSED}:
        raise StateError(f"Sale {sale.sale} is {sale.state}; codes are made for a sale that is loaded and not over.")
    for item, codes in terms.codes.items():
        if sale.item(item) is None:
            raise NotFoundError(f"Sale {sale.sale} has no item {item}.")
        if codes < 1:
            raise BadInputError(f"--item {item}: a batch has at least one code of an item, not {codes}")
    if not 1 <= sum(terms.codes.values()) <= limits.CODES_PER_BATCH_MAX:
        raise BadInputError(f"--item: a batch has 1 to {limits.CODES_PER_BATCH_MAX} codes, make several batches")
    if terms.channel not in sale.channels:
        raise BadInputError(f"--channel: is one of {', '.join(sale.channels)}, not {terms.channel}")
    _check_expires(sale, terms.valid_ms, terms.expires_ms)
    if terms.expires_ms <= now_ms:
        raise BadInputError(f"--expires: {from_ms(terms.expires_ms).isoformat()} is in the past")
    if terms.release_ms is not None and not max(now_ms, terms.valid_ms) < terms.release_ms <= sale.closes_ms:
        raise BadInputError(
            f"--release: {from_ms(terms.release_ms).isoformat()} is past, before --valid, or after the sale's end; "
            "what is released can't be taken back"
        )


def _check_expires(sale: Sale, valid_ms: int, expires_ms: int) -> None:
    if not valid_ms < expires_ms <= sale.closes_ms:
        raise BadInputError(
            f"--expires: must be after --valid, and not after the sale's end at {from_ms(sale.closes_ms).isoformat()}"
        )


async def _too_many(connection: Connection, sale: Sale, terms: Terms) -> str:
    words = []
    for item, codes in terms.codes.items():
        free = await connection.fetchval(query("fcodes", "codes_free"), sale.sale, item)
        if codes > free:
            words.append(
                f"--item {item}={codes}: only {max(0, free)} units of it are set aside and have no code yet. "
                f"More: flashsale sale add-stock {sale.sale} {item} {codes - max(0, free)} --pool fcode"
            )
    return "\n".join(words) or "Somebody made codes at the same time; look again with: flashsale fcode list"


async def find(connection: Connection, number: int) -> Batch:
    """One batch. Raises NotFoundError."""
    row = await connection.fetchrow(query("fcodes", "batches"), [], number)
    if row is None:
        raise NotFoundError(f"There is no batch {number}. See them with: flashsale fcode list SALE")
    return _batch(row)


async def of_sales(connection: Connection, sales: Sequence[Sale]) -> list[Batch]:
    """The batches of those of these sales that take F-codes, in the order in which they were made."""
    names = [sale.sale for sale in sales if sale.takes_fcodes]
    return [_batch(row) for row in await connection.fetch(query("fcodes", "batches"), names, None)] if names else []


async def tell(settler: Settler, sale: Sale, batch: Batch) -> tuple[Effect, bool]:
    """Tell the sale's bucket the terms of a batch; and whether that is settled. Safe to repeat and to come late."""
    bucket = sale.fcode_bucket
    assert bucket is not None, "a batch is of a sale that takes F-codes"
    script = scripts.load("set_batch").at([bucket.sale_key])
    code, settled = await settler.run(
        script, sale.generation, batch.batch, batch.version, batch.valid_ms, batch.expires_ms,
        int(batch.released),
    )  # fmt: skip
    return Effect(code), settled


async def units_aside(connection: Connection, sale: str) -> dict[str, int]:
    """By item, how many units were ever loaded for F-codes."""
    return {row["item"]: row["units"] for row in await connection.fetch(query("fcodes", "units_aside"), sale)}


async def release_due(connection: Connection, sale: str, *, now_ms: int) -> list[int]:
    """Release the batches whose time for it has come. Returns their numbers."""
    due = [row["batch"] for row in await connection.fetch(query("fcodes", "batches_due"), sale, now_ms)]
    for number in due:
        await release(connection, number, actor=ledger.CLOCK)
    return due


async def release(connection: Connection, number: int, *, actor: str) -> Batch:
    """Take no code of a batch any more; its units go on sale to everybody. Safe to repeat. Raises NotFoundError."""
    async with connection.transaction():
        if await connection.fetchval(query("fcodes", "release_batch"), number) is not None:
            one = await find(connection, number)
            await ledger.log(connection, actor=actor, verb="fcode-release", sale=one.sale, detail={"batch": number})
    return await find(connection, number)


async def lock(connection: Connection, number: int) -> Batch:
    """One batch, kept from others until the transaction ends. Raises NotFoundError."""
    await connection.execute(query("fcodes", "lock_batch"), number)
    return await find(connection, number)


async def extend(connection: Connection, number: int, *, expires_ms: int, actor: str) -> tuple[Batch, Sale]:
    """Let a batch's codes be used until another time. Gives its sale too. Raises BadInputError or StateError."""
    async with connection.transaction():
        one = await lock(connection, number)
        sale = await ledger.find(connection, one.sale)
        if one.released:
            raise StateError(f"Batch {number} is released; its units are on sale for everybody.")
        _check_expires(sale, one.valid_ms, expires_ms)
        await connection.execute(query("fcodes", "extend_batch"), number, expires_ms)
        detail = {"batch": number, "expires_ms": expires_ms, "before_ms": one.expires_ms}
        await ledger.log(connection, actor=actor, verb="fcode-extend", sale=one.sale, detail=detail)
    return await find(connection, number), sale


async def spent_of(connection: Connection, sale: Sale) -> dict[int, list[int]]:
    """By batch of a sale, the serials that were redeemed, as far as Postgres knows."""
    found: dict[int, list[int]] = {}
    for row in await connection.fetch(query("fcodes", "codes_spent"), sale.sale):
        code = code_of(row["key"])
        found.setdefault(code.batch, []).append(code.serial)
    return found


async def redeemed_of(connection: Connection, sale: str) -> Mapping[int, int]:
    """By batch of a sale, how many codes were redeemed; none for a batch of which none was."""
    rows = await connection.fetch(query("fcodes", "redeemed_by_batch"), sale)
    return Counter({int(row["batch"], 16): row["redeemed"] for row in rows})


def units_promised(item: str, batches: Sequence[Batch], said: BucketFacts, *, aside: int) -> int:
    """How many free units of an item its codes need: one for each that may still be redeemed, and those without a code.

    said: what the bucket says of itself, read before the rest; a batch is released once the bucket says so. aside: how
    many units were ever loaded for F-codes.
    """
    for one in batches:
        codes = sum(part.codes for part in one.slices if part.item == item)
        aside -= codes if one.batch in said.released else said.used.get((item, one.batch), 0)
    return aside


def key_of(code: Code) -> str:
    """The key of the order that a code wins: 16 hex digits, which say which code it is."""
    return f"{code.batch:08x}{code.serial:08x}"


def code_of(key: str) -> Code:
    """The code of an order in the lane of F-codes."""
    return Code(int(key[:8], 16), int(key[8:], 16))


def _batch(row: asyncpg.Record) -> Batch:
    return Batch(
        batch=row["batch"],
        version=row["version"],
        sale=row["sale"],
        codes=row["codes"],
        issued=row["issued"],
        tag=row["tag"],
        channel=row["channel"],
        key_id=row["key_id"],
        valid_ms=row["valid_ms"],
        expires_ms=row["expires_ms"],
        release_ms=row["release_ms"],
        released=row["released_at"] is not None,
        slices=tuple(Slice(one["item"], one["serial_from"], one["serial_to"]) for one in row["items"]),
    )
