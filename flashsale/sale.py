"""A sale 场次: one drop with its items, its times and its state; the rules of what may follow what.

draft -> loaded -> open <-> paused -> closed. A loaded sale opens by the clock, without a command. "Sold out" is a
fact about an item, not a state.
"""

import enum
import re
from dataclasses import dataclass
from typing import Final

from flashsale import limits
from flashsale.durability import Level
from flashsale.errors import StateError
from flashsale.keys import Bucket, bucket_number, buckets_of

SLUG: Final = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{limits.SLUG_LENGTH_MAX - 2}}}[a-z0-9])?")


class State(enum.StrEnum):
    """What ops have made of the sale."""

    DRAFT = "draft"
    LOADED = "loaded"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"


class Entry(enum.StrEnum):
    """Who may buy: those who reserved, or everybody with an identity."""

    RESERVATION = "reservation"
    OPEN = "open"


class ReturnedTo(enum.StrEnum):
    """Where units that come back go: on sale again, or held until ops release them.

    waitlist holds them for a draw, which does not exist yet; until then it is the same as hold.
    """

    PUBLIC = "public"
    HOLD = "hold"
    WAITLIST = "waitlist"


class UnitPool(enum.StrEnum):
    """Which lane may take a unit: everybody's, or that of the F-codes."""

    PUBLIC = "public"
    FCODE = "fcode"


class Challenged(enum.StrEnum):
    """Whose presses have to solve a challenge first: nobody's, those who ask too often, everybody's."""

    OFF = "off"
    SUSPICIOUS = "suspicious"
    ALL = "all"


class Verb(enum.StrEnum):
    """What ops may do to a sale."""

    LOAD = "load"
    OPEN = "open"
    PAUSE = "pause"
    RESUME = "resume"
    CLOSE = "close"
    ADD_STOCK = "add-stock"
    RELEASE = "release"
    CHALLENGE = "challenge"


ALLOWED: Final[dict[Verb, dict[State, State]]] = {
    Verb.LOAD: {State.DRAFT: State.LOADED},
    Verb.OPEN: {State.LOADED: State.OPEN},
    Verb.PAUSE: {State.OPEN: State.PAUSED},
    Verb.RESUME: {State.PAUSED: State.OPEN},
    Verb.CLOSE: {State.LOADED: State.CLOSED, State.OPEN: State.CLOSED, State.PAUSED: State.CLOSED},
    Verb.ADD_STOCK: {s: s for s in (State.LOADED, State.OPEN, State.PAUSED)},
    Verb.RELEASE: {s: s for s in (State.LOADED, State.OPEN, State.PAUSED)},
    Verb.CHALLENGE: {s: s for s in (State.DRAFT, State.LOADED, State.OPEN, State.PAUSED)},
}

_HINTS: Final[dict[State, str]] = {
    State.DRAFT: "load it first: flashsale sale load {sale}",
    State.LOADED: "it opens by itself at its time, or now with: flashsale sale open {sale}",
    State.OPEN: "see it with: flashsale sale show {sale}",
    State.PAUSED: "go on with: flashsale sale resume {sale}",
    State.CLOSED: "a closed sale stays closed; see flashsale sale results {sale}",
}


@dataclass(frozen=True, slots=True)
class Title:
    """A name in the two languages of the fans."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Item:
    """One thing on sale. price_minor: in the smallest unit of the currency; loaded: units numbered 1..loaded."""

    item: str
    title: Title
    price_minor: int
    loaded: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """When fans may reserve, and how many at the most."""

    opens_ms: int
    closes_ms: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale as Postgres has it. version grows with every change; generation tells this sale from a namesake.

    ack: the level that a win should have when its fan is told. in_buckets: whether its buckets have been made, so that
    one that is not there has lost its memory.
    returned: where units that come back go. challenged: whose presses have to solve a challenge first. takes_fcodes:
    whether it has a bucket of its own for F-codes, behind the others.
    """

    sale: str
    generation: str
    version: int
    state: State
    title: Title
    entry: Entry
    opens_ms: int
    closes_ms: int
    reservation: Reservation | None
    per_fan_limit: int
    pay_window_s: int
    currency: str
    channels: tuple[str, ...]
    buckets: int
    items: tuple[Item, ...]
    in_buckets: bool = True
    returned: ReturnedTo = ReturnedTo.PUBLIC
    ack: Level = Level.ACCEPTED
    challenged: Challenged = Challenged.OFF
    takes_fcodes: bool = False

    def item(self, name: str) -> Item | None:
        """The item of that name, or None."""
        return next((item for item in self.items if item.item == name), None)

    @property
    def all_buckets(self) -> tuple[Bucket, ...]:
        """Its buckets, in order; that of the F-codes, if there is one, is the last."""
        return buckets_of(self.sale, self.buckets + self.takes_fcodes)

    @property
    def public_buckets(self) -> tuple[Bucket, ...]:
        """The buckets whose units everybody may buy, in order."""
        return buckets_of(self.sale, self.buckets)

    @property
    def fcode_bucket(self) -> Bucket | None:
        """The bucket of the F-codes: their units, what was spent of them, and the lines of who redeemed one."""
        return Bucket(self.sale, self.buckets) if self.takes_fcodes else None

    def buckets_in(self, pool: UnitPool) -> tuple[Bucket, ...]:
        """The buckets that hold a pool's units; none for a pool that the sale has not."""
        return self.public_buckets if pool is UnitPool.PUBLIC else self.all_buckets[self.buckets :]

    def pool_of(self, bucket: int) -> UnitPool:
        """The pool whose units a bucket, told by number, holds."""
        return UnitPool.PUBLIC if bucket < self.buckets else UnitPool.FCODE

    def bucket_of(self, fan: str) -> Bucket:
        """The bucket that a fan belongs to."""
        return Bucket(self.sale, bucket_number(sale=self.sale, fan=fan, buckets=self.buckets))

    def buckets_of(self, fan: str) -> tuple[Bucket, ...]:
        """The buckets where lines of a fan may be: their own, and that of the F-codes."""
        return (self.bucket_of(fan), *self.buckets_in(UnitPool.FCODE))

    def state_at(self, now_ms: int) -> State:
        """The state as the clock has it: the scripts' rule, for telling people. It decides nothing."""
        return state_at(self.state, opens_ms=self.opens_ms, closes_ms=self.closes_ms, now_ms=now_ms)


def state_at(state: State, *, opens_ms: int, closes_ms: int, now_ms: int) -> State:
    """A loaded sale is open from its opening on, and any that is not a draft is closed from its end on."""
    if state is not State.DRAFT and now_ms >= closes_ms:
        return State.CLOSED
    if state is State.LOADED and now_ms >= opens_ms:
        return State.OPEN
    return state


def next_state(sale: str, *, now: State, verb: Verb) -> State:
    """The state that the verb leads to. Raises StateError, with what to do instead, where it doesn't fit."""
    allowed = ALLOWED[verb]
    if now not in allowed:
        fitting = " or ".join(allowed)
        hint = _HINTS[now].format(sale=sale)
        raise StateError(f"Sale {sale} is {now}; {verb} needs it to be {fitting}. {hint[0].upper()}{hint[1:]}")
    return allowed[now]
