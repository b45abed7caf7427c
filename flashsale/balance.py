"""The balance between the buckets of a sale: who should give units to whom, and the way of a transfer.

A bucket that runs dry while others have units is given some. A transfer is three steps: taken out under a number that
rises, put in where that number is new, forgotten where it came from. Each may be repeated by anybody. A unit is always
in a named place, and no step is begun before the servers hold the one before it as safely as they can.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flashsale import limits, scripts
from flashsale.keys import Bucket
from flashsale.outcomes import Effect
from flashsale.scripts import Commands
from flashsale.settled import Settler
from flashsale.stock import BucketFacts

_LOW_SHARE: Final = 0.5  # a bucket below this share of the mean is given some before it runs dry


@dataclass(frozen=True, slots=True)
class Move:
    """Units of an item that one bucket should give to another; buckets by number.

    after: how many transfers had left the source when that was reckoned; nothing goes when others have left since. -1
    where that does not matter."""

    item: str
    source: int
    to: int
    units: int
    after: int = -1


@dataclass(frozen=True, slots=True)
class Transfer:
    """Units on their way. number: rises with each transfer out of that bucket; ranges as the scripts write them."""

    source: int
    number: int
    item: str
    to: int
    ranges: str


def moves(
    item: str, facts: Sequence[BucketFacts], before: Sequence[BucketFacts], *, keep: Collection[int] = ()
) -> list[Move]:
    """Who should give to whom now; each bucket gives to one other at the most.

    before: an earlier look; keep: buckets that don't give their last units now. While there is much, a bucket below
    half of the mean gets its share from the richest. When little is left, units go only where somebody has asked in
    vain since the earlier look.
    """
    free = [one.free.get(item, 0) for one in facts]
    asked = [now.lost.get(item, 0) > then.lost.get(item, 0) for now, then in zip(facts, before, strict=True)]
    mean = sum(free) / len(free)
    plenty = mean >= limits.UNITS_PER_BUCKET_LOW
    found = []
    givers = {number: units for number, units in enumerate(free) if units and not any(facts[number].moving.values())}
    if not plenty:
        givers = {number: units for number, units in givers.items() if number not in keep}
    for number in sorted(range(len(free)), key=free.__getitem__):
        needs = free[number] < mean * _LOW_SHARE if plenty else not free[number] and asked[number]
        richest = max(givers, key=givers.__getitem__, default=None)
        if not needs or richest is None or richest == number:
            continue
        units = _share(givers[richest], free[number], mean, plenty=plenty, giver_is_asked=asked[richest])
        if units:
            found.append(Move(item, richest, number, units))
            del givers[richest]
    return found


def _share(rich: int, poor: int, mean: float, *, plenty: bool, giver_is_asked: bool) -> int:
    if plenty:
        return max(0, min(int(rich - mean), int(mean - poor)))
    # The last ones go whole; of more, half stays. A giver whose own fans ask keeps its last one.
    return rich // 2 if rich > 1 else 0 if giver_is_asked else 1


class Balancer:
    """Moves units between the buckets of one sale. Any number may work at once."""

    def __init__(self, commands: Commands, *, sale: str, settler: Settler) -> None:
        self._commands = commands
        self._sale = sale
        self._settler = settler

    async def carry_out(self, move: Move) -> int:
        """Begin a move and bring it to its end. Returns how many units came in; raises what the client raises."""
        b = Bucket(self._sale, move.source)
        script = scripts.load("take_units").at([b.counts_key, b.transfers_key, b.free_key(move.item)])
        reply = await self._settled(script, move.item, move.to, move.units, limits.RANGES_PER_TRANSFER_MAX, move.after)
        if reply is None or not int(reply[0]):
            return 0
        return await self.bring_to_end(_transfer(move.source, reply))

    async def bring_to_end(self, transfer: Transfer) -> int:
        """Put a transfer's units in and forget it, wherever it stopped. Returns how many came in now."""
        b = Bucket(self._sale, transfer.to)
        keys = [b.sale_key, b.counts_key, b.received_key, b.free_key(transfer.item)]
        args = (transfer.source, transfer.number, transfer.item, transfer.ranges)
        reply = await self._settled(scripts.load("put_units").at(keys), *args)
        if reply is None or Effect(reply) in {Effect.NOT_LOADED, Effect.FENCED}:
            return 0
        await self.forget(transfer)
        return units_in(transfer.ranges) if Effect(reply) is Effect.APPLIED else 0

    async def forget(self, transfer: Transfer) -> None:
        """Forget a transfer where it came from: its units have come in, or are given to who is rebuilt."""
        source = Bucket(self._sale, transfer.source)
        script = scripts.load("end_transfer").at([source.counts_key, source.transfers_key])
        await script(self._commands, transfer.number)

    async def skip(self, bucket: Bucket, *, source: int, number: int) -> None:
        """From now on, transfers from that source come into this bucket only above a number."""
        await scripts.load("skip_transfers").at([bucket.received_key])(self._commands, source, number)

    async def open_transfers(self, buckets: Sequence[Bucket]) -> list[Transfer]:
        """Those that are on their way."""
        found = []
        for bucket in buckets:
            fields = await self._commands.execute_command(
                "HMGET", bucket.transfers_key, "number", "item", "to", "ranges"
            )
            if fields[0] is not None:
                found.append(_transfer(bucket.number, fields))
        return found

    async def _settled(self, script: scripts.ScriptAt, *args: str | int) -> Any:
        """The script's reply, or None when it is not settled: then it is too early for the next step, and a later turn
        goes on from here."""
        reply, settled = await self._settler.run(script, *args)
        return reply if settled else None


def units_in(ranges: str) -> int:
    """How many units there are in ranges as the scripts write them."""
    return sum(last - first + 1 for first, last in ranges_of(ranges))


def ranges_of(ranges: str) -> list[tuple[int, int]]:
    """The ranges in "lo-hi,lo-hi", with both ends."""
    pairs = (part.split("-") for part in ranges.split(",") if part)
    return [(int(first), int(last)) for first, last in pairs]


def _transfer(source: int, fields: Sequence[bytes]) -> Transfer:
    number, item, to, ranges = (field.decode() for field in fields)
    return Transfer(source, int(number), item, int(to), ranges)
