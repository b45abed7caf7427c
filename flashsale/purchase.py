"""Purchase 抢购: an attempt, coalesced with those beside it, decided by one script in the fan's bucket."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from uuid_utils import uuid7

from flashsale import scripts
from flashsale.coalesce import Coalescer, CrowdedError
from flashsale.keys import Bucket
from flashsale.outcomes import Effect, Outcome

LEVEL_ACCEPTED: Final = "accepted"
_KEY_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended. order: 32 hex digits, of the win or of the order the fan has already; accepted_ms and
    unit only with WON."""

    outcome: Outcome
    order: str = ""
    unit: int = 0
    accepted_ms: int = 0


_Decided = tuple[int, int, "str | int | bytes"]  # now_ms, code, detail: as the script told it


def key_digest(*, fan: str, key: str) -> str:
    """Sixteen hex digits for a fan's Idempotency-Key. Two keys of one fan share them once in 10^19."""
    return blake2b(key.encode(), key=fan.encode(), digest_size=_KEY_BYTES).hexdigest()


def attempt_line(*, order: str, key: str, fan: str, channel: str, lane: str) -> str:
    """An attempt as the script reads it. key: 16 hex digits."""
    return f"{order} {key} {fan} {channel} {lane}"


class Purchases:
    """Makes attempts on one Valkey. One for each process; it owns a coalescer for each bucket and item."""

    def __init__(self, redis: Redis, *, on_batch: Callable[[int], None] = lambda size: None) -> None:
        self._redis = redis
        self._on_batch = on_batch
        self._lanes: dict[tuple[str, int, str], Coalescer[str, _Decided]] = {}

    async def attempt(self, *, bucket: Bucket, item: str, fan: str, channel: str, lane: str, key: str) -> Answer:
        """One press of buy. key: the fan's Idempotency-Key, or "" for one of its own. Never raises for trouble with
        the store: that is UNKNOWN, and the same key tells later."""
        order: str = uuid7().hex
        digest = key_digest(fan=fan, key=key) if key else order[-16:]
        lane_key = (bucket.sale, bucket.number, item)
        coalescer = self._lanes.get(lane_key) or self._open_lane(bucket, item)
        try:
            now_ms, code, detail = await coalescer.submit(
                attempt_line(order=order, key=digest, fan=fan, channel=channel, lane=lane)
            )
        except CrowdedError:
            return Answer(Outcome.WAIT)
        except ResponseError:
            return Answer(Outcome.WAIT)  # refused whole, out of memory for instance: nothing was written
        except (RedisError, OSError, TimeoutError):
            return Answer(Outcome.UNKNOWN)
        return _answer(order, now_ms, code, detail)

    async def drain(self) -> None:
        """Wait until every attempt taken in has its answer."""
        for coalescer in list(self._lanes.values()):
            await coalescer.drain()

    def forget(self, sale: str) -> None:
        """Drop the idle lanes of a sale that is over."""
        for lane in [lane for lane, coalescer in self._lanes.items() if lane[0] == sale and not coalescer.waiting]:
            del self._lanes[lane]

    def _open_lane(self, bucket: Bucket, item: str) -> Coalescer[str, _Decided]:
        script = scripts.load("purchase").at(
            [bucket.sale_key, bucket.counts_key, bucket.buyers_key, bucket.outbox_key, bucket.free_key(item)]
        )

        async def decide(lines: Sequence[str]) -> list[_Decided]:
            reply = await script(self._redis, item, *lines)
            now_ms = reply[0]
            return [(now_ms, code, detail) for code, detail in zip(reply[1::2], reply[2::2], strict=True)]

        coalescer: Coalescer[str, _Decided] = Coalescer(decide, on_batch=self._on_batch)
        self._lanes[bucket.sale, bucket.number, item] = coalescer
        return coalescer


def _answer(order: str, now_ms: int, code: int, detail: str | int | bytes) -> Answer:
    """The script's code and detail as an answer. A win from before is told as that win."""
    if code == Outcome.WON:
        return Answer(Outcome.WON, order, int(detail), now_ms)
    text = detail.decode() if isinstance(detail, bytes) else str(detail)
    if code == Effect.WON_BEFORE:
        first, unit, accepted = text.split(" ")
        return Answer(Outcome.WON, first, int(unit), int(accepted))
    return Answer(Outcome(code), text)
