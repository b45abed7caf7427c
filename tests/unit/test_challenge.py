"""A challenge: solved by a device that does the work, for one fan and one sale, for a while; nothing else passes."""

import base64
import re
from typing import Any

import altcha
import orjson
import pytest

from flashsale import clock, limits
from flashsale.challenge import Challenges, Unsolved
from flashsale.rights import KEY_BYTES, RightKeys

OLD, NEW = b"1" * KEY_BYTES, b"2" * KEY_BYTES
CHALLENGES = Challenges(RightKeys({"k1": OLD}), tries=20)


def given(by: Challenges = CHALLENGES, *, sale: str = "mi3", fan: str = "alice", ago_s: float = 0) -> dict[str, Any]:
    """A challenge that was given so long ago."""
    return by.give(sale=sale, fan=fan, now_s=clock.now_s() - ago_s)


def solved(challenge: dict[str, Any], **changed: Any) -> str:
    """Its solution, found by trying; changed: what is altered of the challenge's parameters afterwards."""
    made = altcha.Challenge.from_dict(challenge)
    found = altcha.solve_challenge(made)
    assert found is not None
    whole = {"challenge": challenge, "solution": found.to_dict()}
    whole["challenge"]["parameters"] |= changed
    return base64.b64encode(orjson.dumps(whole)).decode()


def checked(payload: str, by: Challenges = CHALLENGES) -> Unsolved | None:
    """What is wrong with it for alice in mi3."""
    return by.check(payload, sale="mi3", fan="alice")


def test_a_solution_is_taken() -> None:
    """Given a challenge / When its number is found by trying / Then the solution is taken, also a second time."""
    solution = solved(given())
    assert checked(solution) is None
    assert checked(solution) is None


def test_the_work_is_within_its_bounds() -> None:
    """Given many challenges of at most three keys / Then each number up to three was looked for, and no other."""
    by = Challenges(RightKeys({"k1": OLD}), tries=3)
    found = [altcha.solve_challenge(altcha.Challenge.from_dict(given(by))) for _ in range(100)]
    assert {one.counter for one in found if one is not None} == {1, 2, 3}


def test_what_is_for_somebody_else_is_foreign() -> None:
    """Given a solution of bob's, or of another sale / When alice sends it here / Then it is foreign."""
    assert checked(solved(given(fan="bob"))) is Unsolved.FOREIGN
    assert checked(solved(given(sale="mi4"))) is Unsolved.FOREIGN


def test_it_runs_out() -> None:
    """Given challenges that are nearly and just too old / Then the first is taken and the other has run out."""
    assert checked(solved(given(ago_s=limits.CHALLENGE_S - 5))) is None
    assert checked(solved(given(ago_s=limits.CHALLENGE_S + 1))) is Unsolved.EXPIRED


@pytest.mark.parametrize(
    "changed",
    [
        {"data": {"sale": "mi3", "fan": "bob"}},
        {"expiresAt": 99_999_999_999},
        {"keyPrefix": "00"},
        {"cost": 1},
        {"keySignature": "00" * 32},
    ],
)
def test_what_was_changed_is_forged(changed: dict[str, Any]) -> None:
    """Given a solved challenge / When anything that we said is changed afterwards / Then it is forged."""
    assert checked(solved(given(), **changed)) is Unsolved.FORGED


def test_a_guess_is_wrong() -> None:
    """Given a challenge / When a key is sent that begins as told but was never derived / Then it is wrong."""
    challenge = given()
    guess = {"counter": 12, "derivedKey": challenge["parameters"]["keyPrefix"].ljust(64, "0")}
    payload = base64.b64encode(orjson.dumps({"challenge": challenge, "solution": guess})).decode()
    assert checked(payload) is Unsolved.WRONG


@pytest.mark.parametrize(
    "text",
    [
        "", "no base64 at all", "e30=", "bnVsbA==", "W10=", "MQ==", "\x00", "é",
        base64.b64encode(b'{"challenge": {}, "solution": {}}').decode(),
        base64.b64encode(b'{"challenge": 1, "solution": 2}').decode(),
        base64.b64encode(b'{"challenge": {"parameters": []}, "solution": {"counter": 1}}').decode(),
        base64.b64encode(b"[" * 5_000).decode(),
    ],
)  # fmt: skip
def test_what_is_no_solution_is_told_so(text: str) -> None:
    """Given something else / Then it can't be read, or is not ours; nothing breaks."""
    assert checked(text) in {Unsolved.UNREADABLE, Unsolved.FORGED}


def test_each_altered_character_is_refused() -> None:
    """Given a solution / When a character of a value in it is another one / Then it is not taken. The number itself is
    not looked at: the key that it leads to is."""
    text = base64.b64decode(solved(given())).decode()
    values = [match.span(1) for match in re.finditer(r'"(?!counter|time)\w+":"?(\w+)', text)]
    assert len(values) == 12
    for at in (place for first, last in values for place in range(first, last)):
        other = "0" if text[at] != "0" else "1"
        assert checked(base64.b64encode((text[:at] + other + text[at + 1 :]).encode()).decode()) is not None, text[at:]


def test_keys_rotate() -> None:
    """Given a challenge by the old key / When the new one signs and the old one still checks / Then it is taken; once
    the old one is gone, it is forged."""
    solution = solved(given())
    assert checked(solution, Challenges(RightKeys({"k2": NEW, "k1": OLD}), tries=20)) is None
    assert checked(solution, Challenges(RightKeys({"k2": NEW}), tries=20)) is Unsolved.FORGED
