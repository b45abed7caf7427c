"""A challenge 验证: work that a device does before its fan may press, so that a thousand accounts cost a thousand.

The scheme is ALTCHA's proof of work, version 2 (altcha.org/docs/v2/proof-of-work-captcha), by its own library: the
device looks for the number from which PBKDF2 derives a key that begins as the challenge says. Every number up to a
bound is as likely, so that nobody knows better where to begin. Nothing is kept here: a challenge is signed, names its
sale and its fan, and runs out.
"""

import enum
import secrets
from collections.abc import Sequence
from typing import Any, Final

import altcha

from flashsale import limits
from flashsale.rights import RightKeys

_ALGORITHM: Final = "PBKDF2/SHA-256"
_SIGNS: Final = b"flashsale-chal-s"
_SEALS: Final = b"flashsale-chal-k"


class Unsolved(enum.Enum):
    """Why a solution is none."""

    UNREADABLE = "this is not a solution: send ALTCHA's payload, base64 of the challenge with what was found"
    FORGED = "this challenge is not ours, or it was changed"
    EXPIRED = "the challenge has run out; get a new one"
    FOREIGN = "the challenge was given to somebody else, or for another sale"
    WRONG = "this is not what was looked for"


class Challenges:
    """Gives challenges and checks their solutions.

    tries: how many keys a device derives at the most; half of that in the mean.
    """

    def __init__(self, right_keys: RightKeys, *, tries: int) -> None:
        self._keys: Sequence[tuple[bytes, bytes]] = tuple(
            zip(right_keys.derived(_SIGNS).values(), right_keys.derived(_SEALS).values(), strict=True)
        )
        self._tries = tries

    def give(self, *, sale: str, fan: str, now_s: float) -> dict[str, Any]:
        """A new challenge, as ALTCHA's clients take it. It costs one derived key."""
        signs, seals = self._keys[0]
        made = altcha.create_challenge(
            _ALGORITHM,
            limits.CHALLENGE_ROUNDS,
            counter=1 + secrets.randbelow(self._tries),
            expires_at=int(now_s) + limits.CHALLENGE_S,
            data={"sale": sale, "fan": fan},
            hmac_secret=signs,
            hmac_key_secret=seals,
        )
        given: dict[str, Any] = made.to_dict()
        return given

    def check(self, payload: str, *, sale: str, fan: str) -> Unsolved | None:
        """What is wrong with a solution, or None. payload: as ALTCHA's clients send it. No key is derived for it."""
        try:
            solved = altcha.Payload.from_base64(payload)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return Unsolved.UNREADABLE
        for signs, seals in self._keys:
            found = altcha.verify_solution(solved, signs, hmac_key_secret=seals)
            if found.expired:
                return Unsolved.EXPIRED
            if not found.invalid_signature:
                break
        else:
            return Unsolved.FORGED
        # From here on the challenge is our own.
        if solved.challenge.parameters.data != {"sale": sale, "fan": fan}:
            return Unsolved.FOREIGN
        return None if found.verified else Unsolved.WRONG
