"""Rights: signed statements that let a fan attempt, checked without I/O.

A right reads  v1.<kind>.<key id>.<expiry s>.<lane>.<channel>.<sale>.<fan>.<mac>  and is bound to one fan and one
sale. The MAC is keyed BLAKE2b (RFC 7693, section 2.9) of 16 bytes over all that stands before it: one pass, no
HMAC construction needed, about a microsecond. Keys rotate by id: the first signs, all of them check. For the same
fan, sale and key the right is the same text, so that asking again gives the same. A kind with an s behind it
says that the fan has solved a challenge as well (challenge.py).
"""

import enum
import hmac
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

from flashsale import limits

RIGHT_VERSION: Final = "v1"
KEY_BYTES: Final = 32
LANE_PUBLIC: Final = "public"

_MAC_BYTES: Final = 16
_PERSON: Final = b"flashsale-right"
FAN: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.:@|+=-]{{0,{limits.FAN_LENGTH_MAX - 1}}}")
_KEY_ID: Final = re.compile(r"[a-z0-9]{1,8}")


class Kind(enum.StrEnum):
    """What a right came from."""

    RESERVATION = "r"


_SOLVED: Final = "s"
_KINDS: Final = {kind + mark: (kind, bool(mark)) for kind in Kind for mark in ("", _SOLVED)}


class Fault(enum.Enum):
    """Why a text is not a valid right."""

    MALFORMED = "this is not a right of ours"
    FORGED = "the right's signature does not fit"
    EXPIRED = "the right has expired"
    FOREIGN = "the right is for another sale"


class Right(NamedTuple):
    """What a right states. expires_s: seconds since 1970 UTC; solved: a challenge, not long ago."""

    kind: Kind
    sale: str
    fan: str
    lane: str
    channel: str
    expires_s: int
    solved: bool = False


def is_fan(name: str) -> bool:
    """Whether this can be a fan's id: 1 to 64 of letters, digits and _.:@|+=- and a letter or digit first."""
    return FAN.fullmatch(name) is not None


def check_keys(keys: Mapping[str, bytes]) -> None:
    """Raises ValueError where there is no key, or one is not 32 bytes under an id of 1 to 8 of a-z0-9."""
    if not keys:
        raise ValueError("at least one key is needed")
    for key_id, key in keys.items():
        if not _KEY_ID.fullmatch(key_id) or len(key) != KEY_BYTES:
            raise ValueError(f"key {key_id!r}: an id of 1 to 8 of a-z0-9 and {KEY_BYTES} bytes are needed")


class RightKeys:
    """Signs and checks rights. The first key signs; all keys check.

    keys: key id (1 to 8 of a-z0-9) to 32 secret bytes. Raises ValueError for anything else.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        check_keys(keys)
        # Each key is taken in once; checking copies the keyed state, which is cheaper than setting it up again.
        self._keyed = {i: blake2b(key=key, digest_size=_MAC_BYTES, person=_PERSON) for i, key in keys.items()}
        self._signing_id = next(iter(self._keyed))
        self._keys = dict(keys)

    def sign(self, right: Right) -> str:
        """The right as text. The same right gives the same text for as long as the signing key stays."""
        stated = ".".join((
            RIGHT_VERSION, right.kind + _SOLVED * right.solved, self._signing_id, str(right.expires_s),
            right.lane, right.channel, right.sale, right.fan,
        ))  # fmt: skip
        return f"{stated}.{self._mac(self._signing_id, stated)}"

    def check(self, text: str, *, sale: str, now_s: float) -> Right | Fault:
        """The right that the text states, or why it doesn't hold for this sale now. No I/O; constant-time compare."""
        if len(text) > limits.RIGHT_LENGTH_MAX or not text.isascii():
            return Fault.MALFORMED
        stated, _, mac = text.rpartition(".")
        parts = stated.split(".", 7)
        if len(parts) != 8 or parts[0] != RIGHT_VERSION:
            return Fault.MALFORMED
        key_id = parts[2]
        if key_id not in self._keyed or not hmac.compare_digest(self._mac(key_id, stated), mac):
            return Fault.FORGED
        # From here on the text is our own: what we signed is well-formed.
        kind, solved = _KINDS[parts[1]]
        right = Right(kind, parts[6], parts[7], parts[4], parts[5], int(parts[3]), solved)
        if right.sale != sale:
            return Fault.FOREIGN
        return right if right.expires_s > now_s else Fault.EXPIRED

    def derived(self, purpose: bytes) -> dict[str, bytes]:
        """Keys for another purpose, by key id, one from each, in the same order. purpose: at most 16 bytes."""
        return {
            key_id: blake2b(key=key, person=purpose, digest_size=KEY_BYTES).digest()
            for key_id, key in self._keys.items()
        }

    def _mac(self, key_id: str, stated: str) -> str:
        keyed = self._keyed[key_id].copy()
        keyed.update(stated.encode())
        return keyed.hexdigest()
