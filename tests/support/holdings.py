"""What a bucket holds, read without any script, and the equation that must be true of it at any time."""

from collections import Counter
from dataclasses import dataclass

from redis.asyncio import Redis

from flashsale.keys import Bucket
from flashsale.outbox import BuyerLine, Entry, parse_entry, parse_lines


@dataclass(frozen=True, slots=True)
class Holdings:
    """free: units of each item in the order of sale; counts: as the bucket counts; lines: of each fan."""

    free: dict[str, list[int]]
    counts: dict[str, int]
    lines: dict[str, list[BuyerLine]]
    entries: list[Entry]
    loads: int

    @property
    def live(self) -> dict[str, list[int]]:
        """The units that fans hold, of each item."""
        return {
            item: [line.unit for lines in self.lines.values() for line in lines if line.live and line.item == item]
            for item in self.free
        }


async def holdings(redis: Redis, bucket: Bucket, items: tuple[str, ...] = ("a", "b")) -> Holdings:
    """Read all of a bucket in one round trip. Not as a transaction: Redis 7.0 refuses those above maxmemory."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(bucket.counts_key)
        pipe.hgetall(bucket.buyers_key)
        pipe.xrange(bucket.outbox_key)
        pipe.scard(bucket.loads_key)
        for item in items:
            pipe.lrange(bucket.free_key(item), 0, -1)
        counts, buyers, entries, loads, *free = await pipe.execute()
    return Holdings(
        free={item: _units(ranges) for item, ranges in zip(items, free, strict=True)},
        counts={name.decode(): int(value) for name, value in counts.items()},
        lines={fan.decode(): parse_lines(lines) for fan, lines in buyers.items()},
        entries=[parse_entry(entry_id, fields) for entry_id, fields in entries],
        loads=loads,
    )


def check(held: Holdings, *, loaded: dict[str, int], limit: int) -> None:
    """Every unit 1..loaded is in exactly one place; counts are true; no fan is over the limit."""
    for item, units in loaded.items():
        places = Counter(held.free[item]) + Counter(held.live[item])
        wrong = {unit: places[unit] for unit in set(places) | set(range(1, units + 1)) if places[unit] != 1}
        assert not wrong, f"units of {item} that are not in exactly one place: {wrong}"
        assert all(1 <= unit <= units for unit in places), f"units of {item} that were never loaded: {places}"
        assert held.counts.get(f"free:{item}", 0) == len(held.free[item]), f"the count of free {item} is wrong"
    wins = [win for entry in held.entries for win in entry.wins]
    assert not [entry.fault for entry in held.entries if entry.fault]
    assert held.counts.get("outbox", 0) == len(wins), "the count of the outbox is wrong"
    assert len({win.order for win in wins}) == len(wins), "an order is twice in the outbox"
    for fan, lines in held.lines.items():
        live = [line for line in lines if line.live]
        assert len(live) <= limit, f"{fan} holds {len(live)} units, the limit is {limit}"
        assert len({line.order for line in lines}) == len(lines), f"{fan} has an order twice"
        assert len({line.key for line in lines}) == len(lines), f"{fan} won twice with one key"
    known = {line.order for lines in held.lines.values() for line in lines}
    assert {win.order for win in wins} <= known, "the outbox has an order that no fan has"


def _units(ranges: list[bytes]) -> list[int]:
    """The units in order. A range that runs backwards is a defect."""
    found: list[int] = []
    for text in ranges:
        first, _, last = text.decode().partition("-")
        assert int(first) <= int(last), f"the range {text!r} is empty"
        found += range(int(first), int(last) + 1)
    return found
