"""Every problem that the API answers with, for its description: outcomes from their table, the rest as it is sent.

Where the code keeps a ready reply, that reply stands here. Where it makes one on the spot, this is its likeness, and
a test compares the two.
"""

from typing import Any, Final

import orjson

from flashsale import scripts
from flashsale.api import replies
from flashsale.api.replies import Reply, problem, refusal
from flashsale.challenge import Unsolved
from flashsale.outcomes import Outcome
from flashsale.rights import Fault

NO_IDENTITY: Final = replies.unauthorized("send Authorization: Bearer <the shop's token>")
BAD_INPUT: Final = replies.bad_input("the body is not a JSON object")
NOT_CONFIRMED_YET: Final = problem(
    409, "not-confirmed-yet", "The order is being written down, ask again", retry_after_s=1
)
ORDER_OVER_FOR_PAYMENT: Final = problem(
    409, "order-over", "This order can't be paid any more", detail="it is expired", state="expired"
)
ORDER_OVER_FOR_CANCELLATION: Final = problem(
    409, "order-over", "This order can't be cancelled any more", detail="it is paid", state="paid"
)
FORGED: Final = problem(401, "forged", "The signature does not fit", detail="No matching signature found")
MISMATCH: Final = problem(
    422,
    "payment-mismatch",
    "This is not what was asked for",
    detail="the event's order, amount or currency is not what was asked for",
)
UNKNOWN_PAYMENT: Final = problem(404, "unknown-payment", "There is no payment of that number")
STORE_AWAY: Final = problem(503, "store-away", "Orders can't be looked up right now; nothing is lost", retry_after_s=2)
BROKEN: Final = replies.BROKEN
TOO_OFTEN: Final = replies.BY_OUTCOME[Outcome.TOO_OFTEN]

EXAMPLE_ORDER: Final = "0197a5c0-7b1e-7c3a-9f52-3d1b8e6f4a21"
EXAMPLE_OPENS_MS: Final = 1_385_611_200_000  # noon in Beijing on 28 November 2013


def purchase_problems() -> tuple[Reply, ...]:
    """How a purchase may be refused: what the script may tell, and what is found out before it."""
    before = {Outcome.NO_RIGHT, Outcome.WAIT, Outcome.UNKNOWN, Outcome.TOO_OFTEN, Outcome.CHALLENGE}
    return (
        replies.BAD_KEY, NO_IDENTITY, replies.IDENTITY_AWAY, replies.UNKNOWN_SALE, replies.UNKNOWN_ITEM,
        replies.TOO_LARGE, replies.NOT_JSON,
        *_refusals("purchase", before),
    )  # fmt: skip


def reservation_problems() -> tuple[Reply, ...]:
    """How a reservation may be refused."""
    return (
        BAD_INPUT, NO_IDENTITY, replies.IDENTITY_AWAY, replies.UNKNOWN_SALE, replies.TOO_LARGE, replies.NOT_JSON,
        *_refusals("reserve", {Outcome.WAIT, Outcome.UNKNOWN, Outcome.TOO_OFTEN}),
    )  # fmt: skip


def challenge_problems() -> tuple[Reply, ...]:
    """How a challenge may be refused."""
    return (
        NO_IDENTITY, replies.IDENTITY_AWAY, replies.UNKNOWN_SALE, _refusal(Outcome.NO_RIGHT), TOO_OFTEN, BROKEN,
    )  # fmt: skip


def solution_problems() -> tuple[Reply, ...]:
    """How a solution may be refused."""
    refused = refusal(Outcome.CHALLENGE, detail=Unsolved.WRONG.value)
    return (BAD_INPUT, replies.TOO_LARGE, replies.NOT_JSON, refused, *challenge_problems())


def code_problems() -> tuple[Reply, ...]:
    """How an F-code may be refused."""
    before = {Outcome.CODE_FORGED, Outcome.UNKNOWN, Outcome.TOO_OFTEN}
    mistyped = refusal(Outcome.CODE_MISTYPED, detail="it seems to be in group 2 of the four", group=2)
    return (
        BAD_INPUT, NO_IDENTITY, replies.IDENTITY_AWAY, replies.TOO_LARGE, replies.NOT_JSON, mistyped,
        *_refusals("redeem", before),
    )  # fmt: skip


def facts_of(reply: Reply) -> dict[str, Any]:
    """The body of a problem."""
    data: dict[str, Any] = orjson.loads(reply.body)
    return data


def code_of(reply: Reply) -> str:
    """What a problem is known by: its outcome, or else the last part of its type."""
    facts = facts_of(reply)
    return str(facts.get("outcome") or facts["type"].rpartition("/")[2])


def _refusals(script: str, before: set[Outcome]) -> list[Reply]:
    """The refusals among a script's codes, and those that come before it, in the order of their numbers."""
    told = {Outcome[code] for code in scripts.load(script).header.codes if code in Outcome.__members__}
    return [_refusal(outcome) for outcome in sorted(told | before) if outcome not in {Outcome.WON, Outcome.RESERVED}]


def _refusal(outcome: Outcome) -> Reply:
    match outcome:
        case Outcome.ALREADY_BOUGHT:
            return refusal(outcome, order=EXAMPLE_ORDER)
        case Outcome.NOT_OPEN:
            return refusal(outcome, opens_ms=EXAMPLE_OPENS_MS)
        case Outcome.NO_RIGHT:
            return refusal(outcome, detail=Fault.FOREIGN.value)
        case _:
            return refusal(outcome)
