"""Proof of the level that orders on their way have reached by now, for who looks one up.

The reply to a press states what was reached in its time. Later the order may be safer, but a look at the bucket does
not tell that. So the look is made by a script that writes, and the servers are asked right behind it over the same
connection: where that write is, all lines that the script saw are too. Those who ask at the same time share one call.
"""

from collections.abc import Sequence
from typing import TypeAlias

from redis.exceptions import RedisError

from flashsale import limits, scripts
from flashsale.coalesce import Coalescer, CrowdedError
from flashsale.durability import Level, Settling
from flashsale.keys import Bucket
from flashsale.outbox import parse_lines
from flashsale.sale import Sale
from flashsale.scripts import CommandsInRow

# A fan's lines as their bucket has them, and the level that they have reached.
Seen: TypeAlias = tuple[bytes, Level]


class Proofs:
    """All looks of a process. way: connections of their own, since waiting for servers holds a connection up."""

    def __init__(self, way: CommandsInRow, *, settling: Settling) -> None:
        self._way = way
        self._settling = settling
        self._looks: dict[tuple[Bucket, Level], Coalescer[str, Seen]] = {}

    async def level_of(self, sale: Sale, fan: str, order: str) -> Level:
        """The level that this order (32 hex digits) of the fan is proved to have now, up to what its sale asks for.

        accepted where nothing more can be proved: in a sale that waits for no servers, when they don't answer in time,
        and for an order that is not in its bucket any more. Takes as long as a press of that sale does, at the most.
        """
        if not sale.ack.waits_for_servers:
            return Level.ACCEPTED
        for bucket in sale.buckets_of(fan):
            try:
                lines, level = await self._look(bucket, sale.ack).submit(fan)
            except (CrowdedError, RedisError, OSError, TimeoutError):
                return Level.ACCEPTED
            if lines and any(line.order == order for line in parse_lines(lines)):
                return level
        return Level.ACCEPTED

    def _look(self, bucket: Bucket, level: Level) -> Coalescer[str, Seen]:
        look = self._looks.get((bucket, level))
        if look is None:
            script = scripts.load("witness").at([bucket.counts_key, bucket.buyers_key])

            async def call(fans: Sequence[str]) -> list[Seen]:
                lines, *answers = await script.then(self._way, self._settling.questions(level), *fans)
                proved = self._settling.proved(level, answers)
                return [(line, proved) for line in lines]

            most = limits.WAITING_CALLS_IN_FLIGHT_MAX
            look = self._looks[bucket, level] = Coalescer(call, in_flight_max=most)
        return look
