"""Reservation 预约: a fan says before the drop that they want to take part, and gets a signed right for it.

Fifteen million fans must fit: a fan is kept as one integer of eight bytes in a small integer set. The integer is a
keyed hash of the fan below 9 * 10^16, followed by two decimal digits for the channel they came through, so that
"who was it, and through whom" costs one member. Two fans share a hash with a chance of about n^2 / 1.8 * 10^17 over
all pairs, 13 in 10,000 for fifteen million; then the count is one too low, and nobody is refused: the right is signed
for the fan, not for the hash.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from redis.exceptions import RedisError

from flashsale import limits, scripts
from flashsale.coalesce import Coalescer, CrowdedError, OnBatch
from flashsale.keys import Bucket
from flashsale.outcomes import Outcome
from flashsale.router import UNDONE
from flashsale.scripts import Commands

HASH_RANGE: Final = 90_000_000_000_000_000  # times 100 and 99 more stays below 2^63
_PERSON: Final = b"flashsale-reserv"

assert HASH_RANGE * 100 + 99 < 2**63
assert limits.CHANNELS_PER_SALE_MAX <= 100


@dataclass(frozen=True, slots=True)
class Request:
    """A fan who wants to be in the list. channel_number: the place of their channel among the sale's channels."""

    fan: str
    channel_number: int


@dataclass(frozen=True, slots=True)
class Answer:
    """RESERVED with the channel the fan is listed under (the first they came through), or why not."""

    outcome: Outcome
    channel_number: int


def slices_for(capacity: int) -> int:
    """How many slices a bucket's list has, so that each stays a small integer set when the list is full."""
    return max(1, -(-capacity // limits.FANS_PER_SLICE))


def hash_of(*, sale: str, fan: str) -> int:
    """The fan's keyed hash in this sale, 0 <= hash < HASH_RANGE."""
    digest = blake2b(fan.encode(), key=sale.encode(), digest_size=8, person=_PERSON).digest()
    return int.from_bytes(digest, "big") % HASH_RANGE


async def reserve(
    client: Commands, *, bucket: Bucket, slices: int, channels: int, requests: Sequence[Request]
) -> list[Answer]:
    """Put a batch of fans of one bucket into its list. Safe to repeat; one answer for each request, in order.

    Raises what the client raises; then some of the batch may be in the list, and asking again tells.
    """
    keys = [bucket.sale_key, bucket.counts_key]
    args: list[str | int] = [channels]
    for request in requests:
        number = hash_of(sale=bucket.sale, fan=request.fan)
        keys.append(bucket.reserved_key(number % slices))
        args.append(f"{number} {request.channel_number}")
    reply = await scripts.load("reserve").at(keys)(client, *args)
    return [Answer(Outcome(reply[i]), reply[i + 1]) for i in range(0, len(reply), 2)]


class Reservations:
    """Reserves on one Valkey. One for each process; it owns a coalescer for each bucket."""

    def __init__(self, commands: Commands, *, on_batch: OnBatch = lambda size, waited_s: None) -> None:
        self._commands = commands
        self._on_batch = on_batch
        self._lanes: dict[Bucket, Coalescer[Request, Answer]] = {}

    async def reserve(self, *, bucket: Bucket, slices: int, channels: int, request: Request) -> Answer:
        """Put one fan into the list, together with those who ask at the same time. Never raises for trouble with the
        store: that is UNKNOWN, and asking again tells."""
        lane = self._lanes.get(bucket) or self._open_lane(bucket, slices=slices, channels=channels)
        try:
            return await lane.submit(request)
        except (CrowdedError, *UNDONE):
            return Answer(Outcome.WAIT, request.channel_number)
        except (RedisError, OSError, TimeoutError):
            return Answer(Outcome.UNKNOWN, request.channel_number)

    async def drain(self) -> None:
        """Wait until every request taken in has its answer."""
        for lane in list(self._lanes.values()):
            await lane.drain()

    def _open_lane(self, bucket: Bucket, *, slices: int, channels: int) -> Coalescer[Request, Answer]:
        async def call(requests: Sequence[Request]) -> list[Answer]:
            return await reserve(self._commands, bucket=bucket, slices=slices, channels=channels, requests=requests)

        lane: Coalescer[Request, Answer] = Coalescer(call, on_batch=self._on_batch)
        self._lanes[bucket] = lane
        return lane
