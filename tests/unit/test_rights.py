"""A right holds for one fan, one sale and a time; nothing else makes one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale import limits
from flashsale.rights import KEY_BYTES, LANE_PUBLIC, Fault, Kind, Right, RightKeys, is_fan

KEYS = RightKeys({"k1": b"1" * KEY_BYTES})
FANS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:@|+=-]{0,63}", fullmatch=True)


def right(**changes: object) -> Right:
    """Alice's right for mi3, with what the test changes."""
    stated: dict[str, object] = {
        "kind": Kind.RESERVATION, "sale": "mi3", "fan": "alice", "lane": LANE_PUBLIC, "channel": "web",
        "expires_s": 2_000,
    } | changes  # fmt: skip
    return Right(**stated)  # type: ignore[arg-type]


@given(fan=FANS, sale=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True))
def test_what_was_signed_is_read_back(fan: str, sale: str) -> None:
    """Given a right of any fan for any sale / Then its text states it again, and fits the limit."""
    stated = right(fan=fan, sale=sale)
    text = KEYS.sign(stated)
    assert KEYS.check(text, sale=sale, now_s=1_000) == stated
    assert len(text) <= limits.RIGHT_LENGTH_MAX


@given(fan=FANS)
def test_a_mark_is_read_back_and_can_t_be_added(fan: str) -> None:
    """Given a right with the mark of a solved challenge / Then it is read back; one without it can't be given it."""
    solved = right(fan=fan, solved=True)
    assert KEYS.check(KEYS.sign(solved), sale="mi3", now_s=1_000) == solved
    plain = KEYS.sign(right(fan=fan))
    assert KEYS.check(plain.replace("v1.r.", "v1.rs.", 1), sale="mi3", now_s=1_000) is Fault.FORGED


def test_derived_keys_are_of_their_key_and_purpose() -> None:
    """Given two keys / Then what is derived differs by key and by purpose, and is the same each time."""
    both = RightKeys({"k1": b"1" * KEY_BYTES, "k2": b"2" * KEY_BYTES})
    found = {*both.derived(b"one").values(), *both.derived(b"two").values()}
    assert len(found) == 4
    assert both.derived(b"one")["k1"] == KEYS.derived(b"one")["k1"]
    assert [*both.derived(b"one")] == ["k1", "k2"]


def test_asking_again_gives_the_same_text() -> None:
    """Given the same fan, sale and key / Then the right is the same text."""
    assert KEYS.sign(right()) == RightKeys({"k1": b"1" * KEY_BYTES}).sign(right())


def test_each_altered_character_is_refused() -> None:
    """When any one character is another one, is missing or is doubled / Then the right is refused."""
    text = KEYS.sign(right())
    for at, was in enumerate(text):
        for other in {"0", "1", "a", "A", ".", "-", " ", "\n", "\x00", "é", was.swapcase()} - {was}:
            assert isinstance(KEYS.check(text[:at] + other + text[at + 1 :], sale="mi3", now_s=1_000), Fault)
        assert isinstance(KEYS.check(text[:at] + text[at + 1 :], sale="mi3", now_s=1_000), Fault)
        assert isinstance(KEYS.check(text[:at] + was + text[at:], sale="mi3", now_s=1_000), Fault)


def test_it_ends_at_its_second() -> None:
    """Given a right until second 2000 / Then it holds before that second and not in it."""
    text = KEYS.sign(right(expires_s=2_000))
    assert isinstance(KEYS.check(text, sale="mi3", now_s=1_999.9), Right)
    assert KEYS.check(text, sale="mi3", now_s=2_000) is Fault.EXPIRED


def test_another_sales_right_is_foreign() -> None:
    """Given a right for mi3 / When it is shown at mi4 / Then it is foreign."""
    assert KEYS.check(KEYS.sign(right()), sale="mi4", now_s=1_000) is Fault.FOREIGN


def test_a_key_that_we_do_not_have() -> None:
    """Given a right signed with another key, under another id or under ours / Then it is forged."""
    assert KEYS.check(RightKeys({"k2": b"2" * KEY_BYTES}).sign(right()), sale="mi3", now_s=0) is Fault.FORGED
    assert KEYS.check(RightKeys({"k1": b"2" * KEY_BYTES}).sign(right()), sale="mi3", now_s=0) is Fault.FORGED


def test_keys_rotate_by_id() -> None:
    """Given a new signing key before the old one / Then old rights still hold, and new ones bear the new id."""
    old = KEYS.sign(right())
    both = RightKeys({"k2": b"2" * KEY_BYTES, "k1": b"1" * KEY_BYTES})
    assert isinstance(both.check(old, sale="mi3", now_s=0), Right)
    assert both.sign(right()).startswith("v1.r.k2.")
    assert KEYS.check(both.sign(right()), sale="mi3", now_s=0) is Fault.FORGED


@pytest.mark.parametrize("text", ["", ".", "v1", "v1.r.k1", "." * 9, "v2" + KEYS.sign(right())[2:]])
def test_malformed(text: str) -> None:
    """Given a text that is no right / Then it is malformed."""
    assert KEYS.check(text, sale="mi3", now_s=0) is Fault.MALFORMED


def test_over_long_and_non_ascii_are_malformed_before_any_work() -> None:
    """Given a right with a tail, or with letters that look like ours / Then it is malformed."""
    text = KEYS.sign(right())
    assert KEYS.check(text + "a" * limits.RIGHT_LENGTH_MAX, sale="mi3", now_s=0) is Fault.MALFORMED
    assert KEYS.check(text.replace("a", "а", 1), sale="mi3", now_s=0) is Fault.MALFORMED
    assert KEYS.check(text + "\udcff", sale="mi3", now_s=0) is Fault.MALFORMED


def test_fans_with_dots_do_not_run_into_the_sale() -> None:
    """Given a fan whose id looks like a sale and a fan / Then the right is still only theirs."""
    text = KEYS.sign(right(fan="mi4.bob.x"))
    assert KEYS.check(text, sale="mi3", now_s=0) == right(fan="mi4.bob.x")
    assert KEYS.check(text, sale="mi4", now_s=0) is Fault.FOREIGN


@pytest.mark.parametrize("name", ["a", "A.b", "0@x|y+z=", "a" * limits.FAN_LENGTH_MAX])
def test_these_can_be_fans(name: str) -> None:
    """Given letters, digits and the allowed marks / Then it can be a fan."""
    assert is_fan(name)


@pytest.mark.parametrize(
    "name", ["", ".a", "-a", "a b", "a\n", "a\x00", "ä", "小米", "a" * (limits.FAN_LENGTH_MAX + 1)]
)
def test_these_can_not(name: str) -> None:
    """Given spaces, line ends, other alphabets, too many characters or none / Then it can't be a fan."""
    assert not is_fan(name)


@pytest.mark.parametrize(
    "keys", [{}, {"k1": b"short"}, {"K1": b"1" * KEY_BYTES}, {"": b"1" * KEY_BYTES}, {"k.1": b"1" * KEY_BYTES}]
)
def test_bad_keys_are_refused(keys: dict[str, bytes]) -> None:
    """Given no key, a short key or an id that would break the text / Then the keys are refused."""
    with pytest.raises(ValueError, match="key"):
        RightKeys(keys)
