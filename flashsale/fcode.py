"""An F-code F码: a code that carries its own proof, so that a forged one is refused by arithmetic.

It reads  F-2WX9A-7K3QM-0VJ4T-H8ZC1  and holds twenty symbols of Crockford's base 32 (crockford.com/base32.html), which
has no I, L, O and U to be misread: 40 bits for its batch and its serial number there, 50 bits of a MAC, and two symbols
by which a typo is known as one.

The MAC is keyed BLAKE2b over batch and serial, and batch and serial are hidden behind a pad made from it (the idea of
a synthetic initialisation vector, RFC 5297): nobody reads from a code how many there are, or which is next. Whatever is
known of other codes, one try in 2^50 finds the code of a given serial.

The two last symbols make the twenty a Reed-Solomon code over GF(32): one or two wrong symbols are always noticed, two
that changed places among them, and if only one is wrong it is known where.
"""

import enum
import hmac
import re
import unicodedata
from collections.abc import Mapping
from functools import reduce
from hashlib import blake2b
from operator import getitem, xor
from typing import Final, NamedTuple

from flashsale import limits
from flashsale.rights import check_keys

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

_GROUP: Final = 5
_SYMBOLS: Final = 20
_DATA_SYMBOLS: Final = 18
_SERIAL_BITS: Final = 20
_NAME_BYTES: Final = 5  # batch and serial, 20 bits each
_MAC_BYTES: Final = 7
_MAC_BITS: Final = 50
_MAC_PERSON: Final = b"flashsale-fcode"
_PAD_PERSON: Final = b"flashsale-fc-pad"

assert _DATA_SYMBOLS * 5 == _NAME_BYTES * 8 + _MAC_BITS
assert limits.FCODE_BATCHES_MAX < 1 << (_NAME_BYTES * 8 - _SERIAL_BITS)
assert limits.CODES_PER_BATCH_MAX <= 1 << _SERIAL_BITS

# As it may be typed: in lower case, I and L for 1, O for 0, U for V, with some of this between the groups or nothing.
_BETWEEN: Final = " \t-_.\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
_PYTHONS: Final = "0123456789abcdefghijklmnopqrstuv"  # int() reads these as base 32
_TYPED: Final = ALPHABET + ALPHABET[10:].lower() + "IiLlOoUu"
_MEANT: Final = ALPHABET + ALPHABET[10:] + "111100VV"
_READ: Final = str.maketrans(_TYPED, "".join(_PYTHONS[ALPHABET.index(one)] for one in _MEANT), _BETWEEN)
_WRITTEN: Final = str.maketrans(_PYTHONS, ALPHABET)
_PAIRS: Final = [first + second for first in _PYTHONS for second in _PYTHONS]
_PAIR_BITS: Final = range(5 * (_DATA_SYMBOLS - 2), -1, -10)
_WHOLE: Final = re.compile(rf"[0-9a-v]{{{_SYMBOLS}}}")
_PREFIX: Final = "f"  # which is a symbol too, so that only the length tells
_PREFIXED: Final = re.compile(rf"\s*[Ff\uff26\uff46][{re.escape(_BETWEEN)}\uff0d]")


class Fault(enum.Enum):
    """Why a text is not a code of ours."""

    MALFORMED = "this is not an F-code: it has four groups of five letters and digits, like F-2WX9A-7K3QM-0VJ4T-H8ZC1"
    MISTYPED = "there is a typo in this F-code"
    FORGED = "this F-code is not one of ours"


class Code(NamedTuple):
    """Which code it is. batch: 1 to 2^20 - 1; serial: from 0, below the size of its batch."""

    batch: int
    serial: int


class CodeKeys:
    """Writes and reads codes. Every key reads; the one that is named writes.

    keys: key id (1 to 8 of a-z0-9) to 32 secret bytes. Raises ValueError for anything else.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        check_keys(keys)
        self._keyed = {key_id: _Keyed(key) for key_id, key in keys.items()}

    @property
    def first(self) -> str:
        """The id of the key by which new batches are written."""
        return next(iter(self._keyed))

    def __contains__(self, key_id: str) -> bool:
        """Whether a key of that id is there."""
        return key_id in self._keyed

    def write(self, code: Code, *, key_id: str) -> str:
        """The code as text: the same at every call. Raises KeyError for a key that is not there."""
        name = (code.batch << _SERIAL_BITS | code.serial).to_bytes(_NAME_BYTES, "big")
        keyed = self._keyed[key_id]
        mac = keyed.mac(name)
        number = int.from_bytes(keyed.padded(name, mac), "big") << _MAC_BITS | mac
        data = "".join([_PAIRS[number >> bits & 1023] for bits in _PAIR_BITS])
        text = (data + _checks_of(data)).translate(_WRITTEN)
        return f"F-{text[:5]}-{text[5:10]}-{text[10:15]}-{text[15:]}"

    def read(self, text: str) -> tuple[str, Code] | Fault:
        """The code that a text states and the id of its key, or why it states none. No I/O; constant-time compare."""
        symbols = _symbols(text)
        if symbols is None:
            return Fault.MALFORMED
        if _syndrome(symbols):
            return Fault.MISTYPED
        number = int(symbols[:_DATA_SYMBOLS], 32)
        mac, padded = number & (1 << _MAC_BITS) - 1, (number >> _MAC_BITS).to_bytes(_NAME_BYTES, "big")
        for key_id, keyed in self._keyed.items():
            name = keyed.padded(padded, mac)
            if hmac.compare_digest(keyed.mac(name).to_bytes(_MAC_BYTES, "big"), mac.to_bytes(_MAC_BYTES, "big")):
                stated = int.from_bytes(name, "big")
                return key_id, Code(stated >> _SERIAL_BITS, stated & (1 << _SERIAL_BITS) - 1)
        return Fault.FORGED


class _Keyed:
    """One key, taken in for both of its uses."""

    def __init__(self, key: bytes) -> None:
        self._mac = blake2b(key=key, person=_MAC_PERSON, digest_size=_MAC_BYTES)
        self._pad = blake2b(key=key, person=_PAD_PERSON, digest_size=_NAME_BYTES)

    def mac(self, name: bytes) -> int:
        keyed = self._mac.copy()
        keyed.update(name)
        return int.from_bytes(keyed.digest(), "big") & (1 << _MAC_BITS) - 1

    def padded(self, name: bytes, mac: int) -> bytes:
        """The name hidden, or a hidden name uncovered."""
        keyed = self._pad.copy()
        keyed.update(mac.to_bytes(_MAC_BYTES, "big"))
        return bytes(map(xor, name, keyed.digest()))


def mistyped_group(text: str) -> int | None:
    """In which group, 1 to 4, a mistyped code is wrong if only one symbol is; None when more must be."""
    symbols = _symbols(text)
    if symbols is None:
        return None
    first, second = divmod(_syndrome(symbols), 32)
    if not first or not second:
        return None
    place = (_LOGARITHMS[second] - _LOGARITHMS[first]) % _ORDER
    return place // _GROUP + 1 if place < _SYMBOLS else None


def _symbols(text: str) -> str | None:
    """The twenty symbols in Python's digits; None when it can't be a code."""
    if len(text) > limits.FCODE_LENGTH_MAX:
        return None
    # What a Chinese keyboard writes in full width is the same letter.
    symbols = (text if text.isascii() else unicodedata.normalize("NFKC", text)).translate(_READ)
    if len(symbols) == _SYMBOLS + 1:
        symbols = symbols.removeprefix(_PREFIX)
    elif _PREFIXED.match(text):
        return None  # With its prefix it has twenty, so one is missing.
    return symbols if _WHOLE.fullmatch(symbols) else None


# GF(32), by powers of a root of x^5 + x^2 + 1.
_ORDER: Final = 31


def _powers() -> list[int]:
    powers, power = [], 1
    for _ in range(_ORDER):
        powers.append(power)
        power = power << 1 ^ (0b100101 if power & 16 else 0)
    return powers


_POWERS: Final = _powers()
_LOGARITHMS: Final = {power: exponent for exponent, power in enumerate(_POWERS)}


def _times(a: int, b: int) -> int:
    return _POWERS[(_LOGARITHMS[a] + _LOGARITHMS[b]) % _ORDER] if a and b else 0


# By place, what each symbol there adds to the sum of all symbols (upper five bits) and to the sum weighted by place.
_ADDED: Final = [
    {digit: value << 5 | _times(value, _POWERS[place]) for value, digit in enumerate(_PYTHONS)}
    for place in range(_SYMBOLS)
]


def _syndrome(symbols: str) -> int:
    """Both sums; 0 for what is spelled right."""
    return reduce(xor, map(getitem, _ADDED, symbols))


def _checks_of(data: str) -> str:
    """The two symbols that make both sums 0."""
    return _CHECKS[_syndrome(data)]


def _checks_for(syndrome: int) -> str:
    plain, weighted = divmod(syndrome, 32)
    at, next_to = _POWERS[_DATA_SYMBOLS], _POWERS[_DATA_SYMBOLS + 1]
    inverse = _POWERS[-_LOGARITHMS[at ^ next_to] % _ORDER]
    last = _times(weighted ^ _times(plain, at), inverse)
    return _PYTHONS[plain ^ last] + _PYTHONS[last]


_CHECKS: Final = [_checks_for(syndrome) for syndrome in range(1024)]
