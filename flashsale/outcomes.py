"""The enumerated answers: what a fan is told (Outcome) and what a script did (Effect).

One table of codes for Lua, Python and JSON. A code, once given out, is never used for anything else.
"""

import enum
from dataclasses import dataclass
from typing import Final


class Outcome(enum.IntEnum):
    """What a fan is told. The name is the stable JSON form; the number is what the scripts return."""

    WON = 1
    RESERVED = 2
    SOLD_OUT = 10
    ALREADY_BOUGHT = 11
    NOT_OPEN = 12
    CLOSED = 13
    PAUSED = 14
    NO_RIGHT = 15
    WAIT = 16
    UNKNOWN = 17
    UNAVAILABLE = 18
    KEY_REUSED = 19
    RETURNED_TOO_OFTEN = 20
    RESERVATION_NOT_OPEN = 21
    RESERVATION_CLOSED = 22
    RESERVATION_FULL = 23
    TOO_OFTEN = 24
    CHALLENGE = 25
    CODE_MISTYPED = 30
    CODE_FORGED = 31
    CODE_SPENT = 32
    CODE_NOT_YET = 33
    CODE_EXPIRED = 34


class Effect(enum.IntEnum):
    """What a script did that no fan is told in these words."""

    WON_BEFORE = 51
    APPLIED = 61
    APPLIED_BEFORE = 62
    OTHER_GENERATION = 63
    STALE = 64
    NOT_LOADED = 65
    NO_SUCH_ORDER = 66
    DRY = 67
    FENCED = 68
    OTHER_FENCE = 69


@dataclass(frozen=True, slots=True)
class Telling:
    """How an outcome is told over HTTP.

    status: HTTP status; title: one English sentence without full stop; retry_after_s: 0 where asking again is
    no use; shared: true where the answer holds for everybody, so that a cache may give it for one second.
    """

    status: int
    title: str
    retry_after_s: int = 0
    shared: bool = False


TELLINGS: Final[dict[Outcome, Telling]] = {
    Outcome.WON: Telling(201, "You have it"),
    Outcome.RESERVED: Telling(200, "You are in the reservation list"),
    Outcome.SOLD_OUT: Telling(409, "This item is sold out", retry_after_s=5, shared=True),
    Outcome.ALREADY_BOUGHT: Telling(409, "You have bought all that one fan may buy in this sale"),
    Outcome.NOT_OPEN: Telling(409, "The sale has not opened yet", retry_after_s=1, shared=True),
    Outcome.CLOSED: Telling(410, "The sale is over", shared=True),
    Outcome.PAUSED: Telling(503, "The sale is paused for a moment", retry_after_s=3, shared=True),
    Outcome.NO_RIGHT: Telling(403, "This right does not let you buy here"),
    Outcome.WAIT: Telling(503, "It is crowded; nothing is decided yet, ask again", retry_after_s=1),
    Outcome.UNKNOWN: Telling(503, "We don't know yet how this ended; ask again with the same key", retry_after_s=1),
    Outcome.UNAVAILABLE: Telling(503, "The sale is closed until its state is known again", retry_after_s=5),
    Outcome.KEY_REUSED: Telling(422, "This Idempotency-Key was used for something else"),
    Outcome.RETURNED_TOO_OFTEN: Telling(403, "You have let too many orders of this sale go"),
    Outcome.RESERVATION_NOT_OPEN: Telling(409, "Reservation has not opened yet", retry_after_s=1),
    Outcome.RESERVATION_CLOSED: Telling(410, "Reservation is over"),
    Outcome.RESERVATION_FULL: Telling(409, "The reservation list is full"),
    Outcome.TOO_OFTEN: Telling(
        429, "You ask more often than is of use; this was not looked at, ask again more slowly", retry_after_s=12
    ),
    Outcome.CHALLENGE: Telling(428, "Solve a challenge first: GET /api/v1/sales/{sale}/challenge"),
    Outcome.CODE_MISTYPED: Telling(422, "There is a typo in this F-code"),
    Outcome.CODE_FORGED: Telling(404, "This F-code is not one of ours"),
    Outcome.CODE_SPENT: Telling(409, "This F-code is spent"),
    Outcome.CODE_NOT_YET: Telling(409, "This F-code can't be used yet"),
    Outcome.CODE_EXPIRED: Telling(410, "This F-code has expired"),
}

assert set(TELLINGS) == set(Outcome), "every outcome can be told"
assert not {o.value for o in Outcome} & {e.value for e in Effect}, "one table of codes"
