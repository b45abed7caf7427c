"""The outbox: the stream in a bucket that carries accepted orders to Postgres, and the forms of what is in it.

An entry is one batch of wins: `at_ms <ms> item <item>`, then for each win the attempt as the process sent it and the
unit that it won.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from redis.asyncio import Redis

from flashsale import scripts
from flashsale.keys import Bucket

_HEAD: Final = 2  # the first two field-value pairs of an entry are the time and the item

_ORDER: Final = re.compile("[0-9a-f]{32}")


class Win(NamedTuple):
    """An accepted order, as it stands in the outbox. order: 32 hex digits."""

    order: str
    item: str
    unit: int
    fan: str
    channel: str
    lane: str
    accepted_ms: int

    @property
    def order_id(self) -> uuid.UUID:
        """The order's id."""
        return uuid.UUID(hex=self.order)


@dataclass(frozen=True, slots=True)
class Entry:
    """One batch of wins. entry_id: its place in the stream; orders: how many it holds.

    fault: why it could not be read; then wins is empty and content is the entry as text.
    """

    entry_id: str
    wins: tuple[Win, ...]
    orders: int
    content: str = ""
    fault: str = ""


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
        pairs = iter(fields.items())
        (at_name, at_ms), (item_name, item) = next(pairs), next(pairs)
        if (at_name, item_name) != (b"at_ms", b"item"):
            raise ValueError("it does not begin with at_ms and item")
        wins = tuple([_win(attempt.decode(), int(unit), item.decode(), int(at_ms)) for attempt, unit in pairs])
    except (StopIteration, ValueError) as fault:
        return Entry(entry_id.decode(), (), orders, _readable(fields), fault=f"{type(fault).__name__}: {fault}")
    return Entry(entry_id.decode(), wins, orders)


def _win(attempt: str, unit: int, item: str, at_ms: int) -> Win:
    order, _key, fan, channel, lane = attempt.split(" ")
    if not _ORDER.fullmatch(order):
        raise ValueError(f"{order!r} is not an order's id")
    return Win(order, item, unit, fan, channel, lane, at_ms)


def _readable(fields: dict[bytes, bytes]) -> str:
    return " | ".join(
        f"{name.decode(errors='replace')} {value.decode(errors='replace')}" for name, value in fields.items()
    )


def parse_lines(lines: bytes) -> list[BuyerLine]:
    """Read the lines that a bucket keeps of one fan, oldest first."""
    found = []
    for line in lines.decode().split("\n"):
        order, key, flag, unit, item, at = line.split(" ")
        found.append(BuyerLine(order, key, flag == "1", int(unit), item, int(at)))
    return found


async def read(redis: Redis, bucket: Bucket, *, after: str, count: int) -> list[Entry]:
    """The next entries after that id, oldest first; empty when there is none."""
    found = cast(
        "list[tuple[bytes, dict[bytes, bytes]]]",
        await redis.xrange(bucket.outbox_key, min=f"({after}", count=count),
    )
    return [parse_entry(entry_id, fields) for entry_id, fields in found]


async def wait(redis: Redis, bucket: Bucket, *, after: str, block_ms: int) -> None:
    """Wait until there is an entry after that id, or so long."""
    await redis.xread({bucket.outbox_key: after}, count=1, block=block_ms)


async def trim(redis: Redis, bucket: Bucket, entries: Sequence[Entry]) -> int:
    """Take entries out that are committed in Postgres. Safe to repeat. Returns how many orders went."""
    if not entries:
        return 0
    args: list[str | int] = []
    for entry in entries:
        args += [entry.entry_id, entry.orders]
    return int(await scripts.load("trim").at([bucket.counts_key, bucket.outbox_key])(redis, *args))


async def lines_of(redis: Redis, bucket: Bucket, fan: str) -> list[BuyerLine]:
    """What the bucket remembers of a fan's orders, oldest first."""
    lines = cast("bytes | None", await redis.hget(bucket.buyers_key, fan))
    return parse_lines(lines) if lines else []
