"""The outbox: the stream in a bucket that carries accepted orders to Postgres, and the forms of what is in it.

An entry is one batch of wins: `at_ms <ms> item <item>`, then for each win the attempt as the process sent it and the
unit that it won.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final, NamedTuple, cast

from flashsale import limits, rights, scripts
from flashsale.keys import Bucket
from flashsale.sale import SLUG
from flashsale.stores import Client

_HEAD: Final = 2  # the first two field-value pairs of an entry are the time and the item

_ATTEMPTS: Final = re.compile(
    rf"^([0-9a-f]{{32}}) ([0-9a-f]{{16}}) ({rights.FAN.pattern}) ([a-z0-9_-]{{1,16}}) ([a-z0-9_-]{{1,16}})$",
    re.MULTILINE,
)
_TIME_MS_END: Final = 10**15  # far beyond any sale, and room for a payment window in Postgres's bigint


class Win(NamedTuple):
    """An accepted order, as it stands in the outbox. order: 32 hex digits; key: the digest of the attempt's key, 16."""

    order: str
    item: str
    unit: int
    fan: str
    channel: str
    lane: str
    accepted_ms: int
    key: str = ""

    @property
    def order_id(self) -> uuid.UUID:
        """The order's id."""
        return uuid.UUID(hex=self.order)


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch of wins. entry_id: its place in the stream; orders: how many it holds.

    fault: why it could not be read; then wins is empty, content is the entry as text, and fields are its names and
    values as hex, with nothing lost.
    """

    entry_id: str
    wins: tuple[Win, ...]
    orders: int
    content: str = ""
    fault: str = ""
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class BuyerLine:
    """What a bucket remembers of one order of a fan. live: the unit is still theirs."""

    order: str
    key: str
    live: bool
    unit: int
    item: str
    accepted_ms: int


def parse_entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    """Read one entry. An entry that can't be read comes back with its fault, never as an exception."""
    orders = max(0, len(fields) - _HEAD)
    try:
        wins = _wins(fields)
    except ValueError as fault:
        raw = tuple((name.hex(), value.hex()) for name, value in fields.items())
        return Entry(entry_id.decode(), (), orders, _readable(fields), fault=str(fault), fields=raw)
    return Entry(entry_id.decode(), wins, orders)


def _wins(fields: dict[bytes, bytes]) -> tuple[Win, ...]:
    """The wins of an entry, all read at once: a worker reads tens of thousands a second.

    What can't be an attempt of ours is found out here: one of them would fail a whole insert. Raises ValueError.
    """
    if len(fields) < _HEAD:
        raise ValueError("it has no time and no item")
    names, values = iter(fields), iter(fields.values())
    if (next(names), next(names)) != (b"at_ms", b"item"):
        raise ValueError("it does not begin with at_ms and item")
    at_ms, item = int(next(values)), next(values).decode()
    if not 0 <= at_ms < _TIME_MS_END or not SLUG.fullmatch(item):
        raise ValueError("the time or the item is malformed")
    attempts, units = [*names], [*map(int, values)]
    lines = b"\n".join(attempts).decode()
    found = _ATTEMPTS.findall(lines)
    if len(found) != len(attempts) or lines.count("\n") >= max(1, len(attempts)):
        raise ValueError("an attempt is malformed")
    if not found:
        return ()
    if min(units) < 1 or max(units) > limits.UNITS_PER_ITEM_MAX:
        raise ValueError("a unit's number is out of range")
    orders, keys, fans, channels, lanes = zip(*found, strict=True)
    rows = zip(orders, repeat(item), units, fans, channels, lanes, repeat(at_ms), keys)
    return tuple(map(Win._make, rows))


def _readable(fields: dict[bytes, bytes]) -> str:
    """The entry as text that Postgres can keep, which has no place for a zero byte."""
    pairs = (f"{name.decode(errors='replace')} {value.decode(errors='replace')}" for name, value in fields.items())
    return " | ".join(pairs).replace("\0", "\ufffd")


def parse_lines(lines: bytes) -> list[BuyerLine]:
    """Read the lines that a bucket keeps of one fan, oldest first."""
    found = []
    for line in lines.decode().splitlines():
        order, key, flag, unit, item, at = line.split(" ")
        found.append(BuyerLine(order, key, flag == "1", int(unit), item, int(at)))
    return found


async def read(redis: Client, bucket: Bucket, *, after: str, count: int) -> list[Entry]:
    """The next entries after that id, oldest first; empty when there is none."""
    found = cast(
        "list[tuple[bytes, dict[bytes, bytes]]]",
        await redis.xrange(bucket.outbox_key, min=f"({after}", count=count),
    )
    return [parse_entry(entry_id, fields) for entry_id, fields in found]


async def wait(redis: Client, bucket: Bucket, *, after: str, block_ms: int) -> None:
    """Wait until there is an entry after that id, or so long."""
    await redis.xread({bucket.outbox_key: after}, count=1, block=block_ms)


async def trim(redis: Client, bucket: Bucket, entries: Sequence[Entry]) -> int:
    """Take entries out that are committed in Postgres. Safe to repeat. Returns how many orders went."""
    if not entries:
        return 0
    args: list[str | int] = []
    for entry in entries:
        args += [entry.entry_id, entry.orders]
    return int(await scripts.load("trim").at([bucket.counts_key, bucket.outbox_key])(redis, *args))


async def lines_of(redis: Client, bucket: Bucket, fan: str, *, generation: str) -> list[BuyerLine] | None:
    """What the bucket remembers of a fan's orders, oldest first.

    None when it can't say: it is not this generation's bucket, has lost its memory, or is being rebuilt.
    """
    script = scripts.load("lines").at([bucket.sale_key, bucket.counts_key, bucket.buyers_key])
    known, lines = cast("tuple[int, bytes]", await script(redis, generation, fan))
    return parse_lines(lines) if known else None
