"""Purchase 抢购: an attempt, coalesced with those beside it, decided by one script in the fan's bucket."""

import asyncio
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import repeat
from typing import Final, NamedTuple, Protocol, TypeAlias

from redis.exceptions import RedisError
from uuid_utils import uuid7

from flashsale import limits, scripts
from flashsale.coalesce import Coalescer, OnBatch
from flashsale.durability import DEFAULT, Level, Settling
from flashsale.keys import Bucket
from flashsale.outcomes import Effect, Outcome
from flashsale.router import UNDONE
from flashsale.scripts import Commands, CommandsInRow, ScriptAt

_KEY_BYTES: Final = 8


# What the script said of one attempt: its time in ms, the code, the detail as purchase.lua's RETURNS has it; and the
# level that its batch has reached.
Decided: TypeAlias = tuple[int, int, int | bytes, Level]


class Answer(NamedTuple):
    """How an attempt ended. order: 32 hex digits, of the win or of the order the fan has already; accepted_ms, unit
    and level only with WON. dry: no unit in the fan's bucket, but another may have some."""

    outcome: Outcome
    order: str = ""
    unit: int = 0
    accepted_ms: int = 0
    level: Level = Level.ACCEPTED
    dry: bool = False


# Not sure yet: asked again before the fan is told anything.
_DRY: Final = Answer(Outcome.WAIT, dry=True)
_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}
# Looking a member up in its class is slow (Python 3.11: a call in Python each time), and every press does it.
_WON: Final = Outcome.WON
_DRY_CODE: Final = Effect.DRY


def key_digest(key: str) -> str:
    """Sixteen hex digits for an Idempotency-Key. Two keys of one fan share them once in 10^19; fans keep apart."""
    return blake2b(key.encode(), digest_size=_KEY_BYTES).hexdigest()


def attempt_line(*, order: str, key: str, fan: str, channel: str, lane: str) -> str:
    """An attempt as the script reads it. key: 16 hex digits."""
    return f"{order} {key} {fan} {channel} {lane}"


class Buyer(Protocol):
    """Who presses, and how they came: a right, or what stands for one."""

    @property
    def fan(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def lane(self) -> str: ...


class Presser(NamedTuple):
    """A buyer without a right, for presses that don't come over HTTP."""

    fan: str
    channel: str
    lane: str


class Lane:
    """The attempts of this process that one call may carry: those on one item in one bucket, or by codes of one batch.

    arguments: what the script is given before the attempts.
    """

    def __init__(
        self,
        commands: Commands,
        waiting: CommandsInRow | None,
        script: ScriptAt,
        *arguments: str | int,
        level: Level,
        settling: Settling,
        on_batch: OnBatch,
    ) -> None:
        if level.waits_for_servers and waiting is None:
            raise ValueError(f"a lane of level {level} needs a connection that can wait")
        self._commands = commands
        self._waiting = waiting
        self._level = level
        self._settling = settling
        self._script = script
        self._arguments = arguments
        most = limits.WAITING_CALLS_IN_FLIGHT_MAX if level.waits_for_servers else limits.CALLS_IN_FLIGHT_MAX
        self._coalescer: Coalescer[str, Decided] = Coalescer(self._decide, in_flight_max=most, on_batch=on_batch)

    def attempt(self, order: str, right: "Buyer", *, key: str, last: bool = False) -> "asyncio.Future[Decided]":
        """One press of buy. order: 32 hex digits, new; key: the fan's Idempotency-Key, or "" for one of its own; last:
        after those that are not.

        Trouble with the store is UNKNOWN, and the same key tells later. Raises CrowdedError when too many wait.
        """
        digest = key_digest(key) if key else order[-16:]
        return self.submit(order, right, digest=digest, last=last)

    def submit(self, order: str, buyer: "Buyer", *, digest: str, last: bool = False) -> "asyncio.Future[Decided]":
        """The same with the 16 hex digits by which the script knows the attempt again."""
        line = attempt_line(order=order, key=digest, fan=buyer.fan, channel=buyer.channel, lane=buyer.lane)
        return self._coalescer.submit(line, last=last)

    async def drain(self) -> None:
        """Wait until every attempt taken in has its answer."""
        await self._coalescer.drain()

    async def _decide(self, lines: Sequence[str]) -> list[Decided]:
        level = Level.ACCEPTED
        try:
            if self._level.waits_for_servers and self._waiting is not None:
                questions = self._settling.questions(self._level)
                reply, *answers = await self._script.then(self._waiting, questions, *self._arguments, *lines)
                level = self._settling.proved(self._level, answers)
            else:
                reply = await self._script(self._commands, *self._arguments, *lines)
        except UNDONE:
            # Refused whole: nothing was written.
            return [(0, Outcome.WAIT, 0, level)] * len(lines)
        except (RedisError, OSError, TimeoutError):
            return [(0, Outcome.UNKNOWN, 0, level)] * len(lines)
        now, levels = repeat(reply[0], len(lines)), repeat(level, len(lines))
        return list(zip(now, reply[1::2], reply[2::2], levels, strict=True))


class Lanes:
    """All lanes of a process of one kind. waiting: a way of their own for those of a level that waits for servers, so
    that they don't hold up the others."""

    def __init__(
        self,
        commands: Commands,
        *,
        waiting: CommandsInRow | None = None,
        settling: Settling = DEFAULT,
        on_batch: OnBatch = lambda size, waited_s: None,
    ) -> None:
        self._commands = commands
        self._waiting = waiting
        self._settling = settling
        self._on_batch = on_batch
        self._lanes: dict[tuple[object, ...], Lane] = {}

    async def drain(self) -> None:
        """Wait until every attempt taken in has its answer."""
        for lane in list(self._lanes.values()):
            await lane.drain()

    def _lane(self, script: Callable[[], ScriptAt], *arguments: str | int, bucket: Bucket, level: Level) -> Lane:
        """The lane of these arguments in a bucket; the same at every call."""
        lane = self._lanes.get((bucket, *arguments))
        if lane is None:
            lane = self._lanes[bucket, *arguments] = Lane(
                self._commands,
                self._waiting,
                script(),
                *arguments,
                level=level,
                settling=self._settling,
                on_batch=self._on_batch,
            )
        return lane


class Purchases(Lanes):
    """The lanes of everybody's units: one for each item in each bucket."""

    def lane(self, bucket: Bucket, item: str, *, level: Level = Level.ACCEPTED) -> Lane:
        """The lane of an item in a bucket; the same at every call. level: of the sale."""
        keys = [bucket.sale_key, bucket.counts_key, bucket.buyers_key, bucket.outbox_key, bucket.free_key(item)]
        return self._lane(lambda: scripts.load("purchase").at(keys), item, bucket=bucket, level=level)

    async def attempt(self, *, bucket: Bucket, item: str, fan: str, channel: str, lane: str, key: str) -> Answer:
        """One press of buy, from beginning to end. Raises CrowdedError when too many wait."""
        order = new_order()
        return answer_of(order, await self.lane(bucket, item).attempt(order, Presser(fan, channel, lane), key=key))


def new_order() -> str:
    """The id of an order that may come to be: a time-ordered UUID (RFC 9562, version 7) in 32 hex digits."""
    made: str = uuid7().hex
    return made


def answer_of(order: str, decided: Decided) -> Answer:
    """The script's code and detail as an answer. A win from before is told as that win."""
    now_ms, code, detail, level = decided
    if code == _WON:
        return Answer(_WON, order, int(detail), now_ms, level)
    if code == _DRY_CODE:
        return _DRY
    text = detail.decode() if isinstance(detail, bytes) else ""
    if code == Effect.WON_BEFORE:
        first, unit, accepted = text.split(" ")
        return Answer(Outcome.WON, first, int(unit), int(accepted), level)
    return Answer(_OUTCOMES[code], text)
