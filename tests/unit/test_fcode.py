"""An F-code proves itself: what was written is read back, however it is typed; a typo or a forged one is told so."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale import limits
from flashsale.fcode import ALPHABET, Code, CodeKeys, Fault, mistyped_group
from flashsale.rights import KEY_BYTES

KEYS = CodeKeys({"k1": b"1" * KEY_BYTES})
CODES = st.builds(Code, st.integers(1, limits.FCODE_BATCHES_MAX), st.integers(0, limits.CODES_PER_BATCH_MAX - 1))
PLACES = st.integers(0, 19)


def written(code: Code, keys: CodeKeys = KEYS) -> str:
    """The code as text."""
    return keys.write(code, key_id="k1")


def symbols(text: str) -> list[str]:
    """Its twenty symbols."""
    return list(text.removeprefix("F-").replace("-", ""))


@given(code=CODES)
def test_what_was_written_is_read_back(code: Code) -> None:
    """Given any code / Then its text has the one form, and states it and its key again."""
    text = written(code)
    assert re.fullmatch(rf"F(-[{ALPHABET}]{{5}}){{4}}", text)
    assert KEYS.read(text) == ("k1", code)
    assert text == written(code)


@given(code=CODES, data=st.data())
def test_how_it_is_typed_does_not_matter(code: Code, data: st.DataObject) -> None:
    """Given a code / When it is typed in lower case, in full width, with other or no separators, with letters that look
    alike / Then it is the same code."""
    body = symbols(written(code))
    for place, symbol in enumerate(body):
        alike = {"0": "0Oo", "1": "1IiLl", "V": "VvUu"}.get(symbol, symbol + symbol.lower())
        one = data.draw(st.sampled_from(alike))
        body[place] = data.draw(st.sampled_from([one, chr(ord(one) + 0xFEE0)]))  # the same in full width
        if place % 5 == 4:
            body[place] += data.draw(st.sampled_from(["", "-", " ", " – ", "\uff0d"]))
    prefix = data.draw(st.sampled_from(["", "F", "f-", "\uff26\uff0d", " F "]))
    assert KEYS.read(prefix + "".join(body)) == ("k1", code)


@given(code=CODES, place=PLACES, symbol=st.sampled_from(ALPHABET))
def test_one_wrong_symbol_is_a_typo_and_its_group_is_known(code: Code, place: int, symbol: str) -> None:
    """Given a code / When one symbol is another / Then it is told as a typo, in the group where it is."""
    body = symbols(written(code))
    if body[place] == symbol:
        return
    body[place] = symbol
    assert KEYS.read("".join(body)) is Fault.MISTYPED
    assert mistyped_group("".join(body)) == place // 5 + 1


def test_any_two_that_changed_places_are_a_typo() -> None:
    """Given a code / When any two different symbols are swapped / Then it is told as a typo, and no group is named,
    since none is certain."""
    body = symbols(written(Code(77, 123_456)))
    for one, other in itertools.combinations(range(20), 2):
        if body[one] == body[other]:
            continue
        swapped = body.copy()
        swapped[one], swapped[other] = swapped[other], swapped[one]
        assert KEYS.read("".join(swapped)) is Fault.MISTYPED
        assert mistyped_group("".join(swapped)) is None


@given(code=CODES, first=PLACES, second=PLACES, data=st.data())
def test_two_wrong_symbols_never_make_another_code(code: Code, first: int, second: int, data: st.DataObject) -> None:
    """Given a code / When two symbols are others / Then it is a typo."""
    body = symbols(written(code))
    for place in {first, second}:
        body[place] = data.draw(st.sampled_from(ALPHABET.replace(body[place], "")))
    assert KEYS.read("".join(body)) is Fault.MISTYPED


@given(code=CODES)
def test_one_of_another_key_is_forged(code: Code) -> None:
    """Given a code that is spelled right but made with another key / Then it is forged."""
    other = CodeKeys({"k1": b"2" * KEY_BYTES})
    assert other.read(written(code, other)) == ("k1", code)
    assert KEYS.read(written(code, other)) is Fault.FORGED


@given(code=CODES, place=PLACES)
def test_a_symbol_that_is_missing(code: Code, place: int) -> None:
    """Given a code / When one symbol is left out / Then it is no code, with its prefix and without."""
    body = symbols(written(code))
    del body[place]
    for text in ("".join(body), "F-" + "".join(body), " f " + "".join(body), "\uff26\uff0d" + "".join(body)):
        assert KEYS.read(text) is Fault.MALFORMED
        assert mistyped_group(text) is None


def test_a_new_key_writes_and_the_old_one_still_reads() -> None:
    """Given a key that was put before the old one / Then old codes are read, and each is written by the key named."""
    both = CodeKeys({"k2": b"2" * KEY_BYTES, "k1": b"1" * KEY_BYTES})
    assert both.first == "k2"
    assert both.read(written(Code(1, 2))) == ("k1", Code(1, 2))
    assert both.read(both.write(Code(1, 2), key_id="k2")) == ("k2", Code(1, 2))
    assert KEYS.read(both.write(Code(1, 2), key_id="k2")) is Fault.FORGED


def test_texts_say_nothing_of_their_order() -> None:
    """Given a thousand codes in a row / Then their texts show no serial: each place holds most of the symbols."""
    texts = [written(Code(1, serial)) for serial in range(1_000)]
    assert len(set(texts)) == 1_000
    for place in range(20):
        assert len({symbols(text)[place] for text in texts}) > 20


@pytest.mark.parametrize(
    "text",
    [
        "", "F", "F-", "F-2WX9A", "F-2WX9A-7K3QM-0VJ4T-H8ZC1Q", "2WX9A-7K3QM-0VJ4T-H8Z*1",
        "F-2WX9A-7K3QM-0VJ4T-H8Z\n1", "G-2WX9A-7K3QM-0VJ4T-H8ZC1", "\x00" * 20, "０" * 19 + "٣", "1_" * 10, "9" * 65,
        "-" * 20,
    ],
)  # fmt: skip
def test_what_is_no_code_is_malformed(text: str) -> None:
    """Given a text that can't be a code / Then it is told so, and no group of it is named."""
    assert KEYS.read(text) is Fault.MALFORMED
    assert mistyped_group(text) is None


@pytest.mark.parametrize("keys", [{}, {"K": b"1" * KEY_BYTES}, {"k1": b"1" * (KEY_BYTES - 1)}, {"": b"1" * KEY_BYTES}])
def test_keys_that_are_none(keys: dict[str, bytes]) -> None:
    """Given no key, or one that is malformed / Then there is no reader."""
    with pytest.raises(ValueError, match="key"):
        CodeKeys(keys)
