"""The bounds hold together: they are checked at import, and here from outside where they meet another file."""

from hypothesis import given
from hypothesis import strategies as st

from flashsale import limits
from flashsale.embedded import VALKEY_SETTINGS
from flashsale.ledger import even_ranges
from flashsale.purchase import attempt_line, key_digest
from flashsale.reservation import HASH_RANGE, hash_of, slices_for
from flashsale.rights import KEY_BYTES, LANE_PUBLIC, Kind, Right, RightKeys


def test_every_bound_is_a_positive_number() -> None:
    """Given all that limits.py says / Then each is a number above zero."""
    bounds = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert len(bounds) > 30
    assert all(isinstance(value, int | float) and value > 0 for value in bounds.values())


def test_the_longest_right_fits() -> None:
    """Given the longest fan, sale, channel and key id / Then the right is within its bound."""
    stated = Right(
        Kind.RESERVATION, "s" * limits.SLUG_LENGTH_MAX, "f" * limits.FAN_LENGTH_MAX, LANE_PUBLIC,
        "c" * limits.CHANNEL_LENGTH_MAX, 99_999_999_999,
    )  # fmt: skip
    assert len(RightKeys({"k" * 8: b"1" * KEY_BYTES}).sign(stated)) <= limits.RIGHT_LENGTH_MAX


def test_a_full_list_stays_a_list_of_small_integer_sets() -> None:
    """Given the most reservations / Then a slice's mean is half of what the servers keep as integer sets."""
    slices = slices_for(limits.RESERVATIONS_MAX)
    assert limits.RESERVATIONS_MAX / slices <= limits.FANS_PER_SLICE
    assert int(VALKEY_SETTINGS["set-max-intset-entries"]) > limits.FANS_PER_SLICE * 2
    assert slices_for(1) == slices_for(limits.FANS_PER_SLICE) == 1
    assert slices_for(limits.FANS_PER_SLICE + 1) == 2


@given(fan=st.text(min_size=1, max_size=64), sale=st.sampled_from(["a", "s" * limits.SLUG_LENGTH_MAX]))
def test_hashes_and_digests_have_their_size(fan: str, sale: str) -> None:
    """Given any fan / Then hash and digest are within their bounds, and the same again."""
    assert 0 <= hash_of(sale=sale, fan=fan) < HASH_RANGE
    assert hash_of(sale=sale, fan=fan) == hash_of(sale=sale, fan=fan)


@given(key=st.text(max_size=limits.IDEMPOTENCY_KEY_LENGTH_MAX))
def test_an_attempt_has_its_fields_in_place(key: str) -> None:
    """Given the longest fan and any key / Then order and key stand where the scripts look for them."""
    fan = "f" * limits.FAN_LENGTH_MAX
    line = attempt_line(order="0" * 32, key=key_digest(key), fan=fan, channel="web", lane="public")
    assert (line[:32], line[50:].split(" ")) == ("0" * 32, [fan, "web", "public"])


@given(first=st.integers(1, 10**7), units=st.integers(0, 10**7), parts=st.integers(1, 64))
def test_even_ranges_cut_without_loss(first: int, units: int, parts: int) -> None:
    """Given any stock and number of buckets / Then the ranges join up, cover all, and differ by one at the most."""
    ranges = even_ranges(first, units, parts=parts)
    lengths = [last - begin + 1 for begin, last in ranges]
    assert sum(lengths) == units
    assert len(ranges) == min(parts, units)
    assert all(length > 0 for length in lengths)
    assert not lengths or max(lengths) - min(lengths) <= 1
    expected = first
    for begin, last in ranges:
        assert begin == expected
        expected = last + 1
