"""What a bucket holds, read without any script, and the equation that must be true of it at any time."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from flashsale.keys import Bucket
from flashsale.outbox import BuyerLine, Entry, parse_entry, parse_lines
from flashsale.stores import Client


@dataclass(frozen=True, slots=True)
class Leaving:
    """Units that are leaving a bucket for another, as they stand in the transfer."""

    number: int
    item: str
    to: int
    units: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Holdings:
    """free: units of each item in the order of sale; counts: as the bucket counts; lines: of each fan.

    leaving: the transfer that is open here; received: the last transfer that came from each bucket.
    """

    free: dict[str, list[int]]
    counts: dict[str, int]
    lines: dict[str, list[BuyerLine]]
    entries: list[Entry]
    loads: int
    leaving: Leaving | None = None
    received: dict[int, int] = field(default_factory=dict)

    @property
    def live(self) -> dict[str, list[int]]:
        """The units that fans hold, of each item."""
        return {
            item: [line.unit for lines in self.lines.values() for line in lines if line.live and line.item == item]
            for item in self.free
        }


async def holdings(redis: Client, bucket: Bucket, items: tuple[str, ...] = ("a", "b")) -> Holdings:
    """Read all of a bucket in one round trip. Not as a transaction: Redis 7.0 refuses those above maxmemory."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(bucket.counts_key)
        pipe.hgetall(bucket.buyers_key)
        pipe.xrange(bucket.outbox_key)
        pipe.scard(bucket.loads_key)
        pipe.hgetall(bucket.transfers_key)
        pipe.hgetall(bucket.received_key)
        for item in items:
            pipe.lrange(bucket.free_key(item), 0, -1)
        counts, buyers, entries, loads, leaving, received, *free = await pipe.execute()
    return Holdings(
        free={item: _units(ranges) for item, ranges in zip(items, free, strict=True)},
        counts={name.decode(): int(value) for name, value in counts.items()},
        lines={fan.decode(): parse_lines(lines) for fan, lines in buyers.items()},
        entries=[parse_entry(entry_id, fields) for entry_id, fields in entries],
        loads=loads,
        leaving=_leaving(leaving),
        received={int(source): int(number) for source, number in received.items()},
    )


def check(
    held: Holdings, *, loaded: dict[str, int], limit: int, kept: Mapping[str, Collection[int]] = MappingProxyType({})
) -> None:
    """The equation for a sale of one bucket. kept: units that are held outside of it."""
    check_all([held], loaded=loaded, limit=limit, moving=kept)


def check_all(
    buckets: Sequence[Holdings],
    *,
    loaded: Mapping[str, int],
    limit: int,
    moving: Mapping[str, Collection[int]] = MappingProxyType({}),
) -> None:
    """Every unit 1..loaded is in exactly one place over all buckets; counts are true; no fan is over the limit.

    moving: units that no bucket has yet.
    """
    for item, units in loaded.items():
        places = Counter(moving.get(item, ()))
        for number, held in enumerate(buckets):
            places += Counter(held.free[item]) + Counter(held.live[item]) + Counter(_on_the_way(buckets, number, item))
            assert held.counts.get(f"free:{item}", 0) == len(held.free[item]), f"the count of free {item} is wrong"
        wrong = {unit: places[unit] for unit in set(places) | set(range(1, units + 1)) if places[unit] != 1}
        assert not wrong, f"units of {item} that are not in exactly one place: {wrong}"
        assert all(1 <= unit <= units for unit in places), f"units of {item} that were never loaded: {places}"
    for held in buckets:
        _check_outbox(held)
    fans = {fan for held in buckets for fan in held.lines}
    for fan in fans:
        _check_fan(fan, [line for held in buckets for line in held.lines.get(fan, [])], limit=limit)


def _on_the_way(buckets: Sequence[Holdings], source: int, item: str) -> list[int]:
    """Units that have left a bucket and have not come in: those of its open transfer, if the other has not got it."""
    leaving = buckets[source].leaving
    if not leaving or leaving.item != item:
        counted = buckets[source].counts.get(f"moving:{item}", 0)
        assert counted == 0, f"the count of moving {item} is wrong"
        return []
    assert buckets[source].counts.get(f"moving:{item}", 0) == len(leaving.units), f"the count of moving {item} is wrong"
    come_in = buckets[leaving.to].received.get(source, 0) >= leaving.number
    return [] if come_in else list(leaving.units)


def _check_outbox(held: Holdings) -> None:
    wins = [win for entry in held.entries for win in entry.wins]
    assert not [entry.fault for entry in held.entries if entry.fault]
    assert held.counts.get("outbox", 0) == len(wins), "the count of the outbox is wrong"
    assert len({win.order for win in wins}) == len(wins), "an order is twice in the outbox"
    known = {line.order for lines in held.lines.values() for line in lines}
    assert {win.order for win in wins} <= known, "the outbox has an order that no fan has"


def _check_fan(fan: str, lines: Sequence[BuyerLine], *, limit: int) -> None:
    live = [line for line in lines if line.live]
    assert len(live) <= limit, f"{fan} holds {len(live)} units, the limit is {limit}"
    assert len({line.order for line in lines}) == len(lines), f"{fan} has an order twice"
    assert len({line.key for line in lines}) == len(lines), f"{fan} won twice with one key"


def _leaving(fields: dict[bytes, bytes]) -> Leaving | None:
    """The transfer in this hash, if it holds one."""
    if not fields:
        return None
    units = tuple(_units(fields[b"ranges"].split(b",")))
    return Leaving(int(fields[b"number"]), fields[b"item"].decode(), int(fields[b"to"]), units)


def _units(ranges: list[bytes]) -> list[int]:
    """The units in order. A range that runs backwards is a defect."""
    found: list[int] = []
    for text in ranges:
        first, _, last = text.decode().partition("-")
        assert int(first) <= int(last), f"the range {text!r} is empty"
        found += range(int(first), int(last) + 1)
    return found
