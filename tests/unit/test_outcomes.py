"""The codes are frozen: a number, once given out, means the same for ever, in Lua, in stores and in logs."""

from http import HTTPStatus

from flashsale.outcomes import TELLINGS, Effect, Outcome

FROZEN = {
    "WON": 1, "RESERVED": 2, "SOLD_OUT": 10, "ALREADY_BOUGHT": 11, "NOT_OPEN": 12, "CLOSED": 13, "PAUSED": 14,
    "NO_RIGHT": 15, "WAIT": 16, "UNKNOWN": 17, "UNAVAILABLE": 18, "KEY_REUSED": 19, "RETURNED_TOO_OFTEN": 20,
    "RESERVATION_NOT_OPEN": 21, "RESERVATION_CLOSED": 22, "RESERVATION_FULL": 23,
    "TOO_OFTEN": 24, "CHALLENGE": 25,
    "CODE_MISTYPED": 30, "CODE_FORGED": 31, "CODE_SPENT": 32, "CODE_NOT_YET": 33, "CODE_EXPIRED": 34,
    "WON_BEFORE": 51, "APPLIED": 61, "APPLIED_BEFORE": 62, "OTHER_GENERATION": 63, "STALE": 64, "NOT_LOADED": 65,
    "NO_SUCH_ORDER": 66,
    "DRY": 67, "FENCED": 68, "OTHER_FENCE": 69,
}  # fmt: skip


def test_the_codes_are_frozen() -> None:
    """Given the codes as they were given out / Then they are still these. A new one is added here, never changed."""
    members = [*Outcome.__members__.items(), *Effect.__members__.items()]
    assert {name: int(code) for name, code in members} == FROZEN
    assert len(members) == len(FROZEN)


def test_no_code_is_used_twice() -> None:
    """Given both tables / Then no number stands in them twice."""
    assert len(set(FROZEN.values())) == len(FROZEN)


def test_every_outcome_is_told_in_the_statuses_promised() -> None:
    """Given every outcome / Then it has the status of the HTTP contract, and a title without full stop."""
    assert {outcome.name: telling.status for outcome, telling in TELLINGS.items()} == {
        "WON": 201, "RESERVED": 200, "SOLD_OUT": 409, "ALREADY_BOUGHT": 409, "NOT_OPEN": 409, "CLOSED": 410,
        "PAUSED": 503, "NO_RIGHT": 403, "WAIT": 503, "UNKNOWN": 503, "UNAVAILABLE": 503, "KEY_REUSED": 422,
        "RETURNED_TOO_OFTEN": 403, "RESERVATION_NOT_OPEN": 409, "RESERVATION_CLOSED": 410, "RESERVATION_FULL": 409,
        "TOO_OFTEN": 429, "CHALLENGE": 428, "CODE_MISTYPED": 422, "CODE_FORGED": 404, "CODE_SPENT": 409,
        "CODE_NOT_YET": 409, "CODE_EXPIRED": 410,
    }  # fmt: skip
    for telling in TELLINGS.values():
        assert HTTPStatus(telling.status)
        assert telling.title
        assert not telling.title.endswith(".")


def test_who_may_ask_again_is_told_when() -> None:
    """Given an answer that says "later" / Then it says when; one that says "never" doesn't."""
    for outcome, telling in TELLINGS.items():
        if telling.status == HTTPStatus.SERVICE_UNAVAILABLE:
            assert telling.retry_after_s > 0, outcome
        if telling.status in {HTTPStatus.FORBIDDEN, HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY}:
            assert telling.retry_after_s == 0, outcome


def test_only_what_holds_for_everybody_is_shared() -> None:
    """Given the answers that a cache may give / Then none of them is about one fan or one attempt."""
    shared = {outcome for outcome, telling in TELLINGS.items() if telling.shared}
    assert shared == {Outcome.SOLD_OUT, Outcome.NOT_OPEN, Outcome.CLOSED, Outcome.PAUSED}
