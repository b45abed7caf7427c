"""The clock: one moment in three forms, and the forms at the borders."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale import clock


def test_the_three_forms_are_one_moment() -> None:
    """When the clock is read in ms, in seconds and as a datetime / Then each is between the reads beside it."""
    reads = [clock.now_ms(), round(clock.now_s() * 1000), clock.to_ms(clock.now()), clock.now_ms()]
    assert all(earlier - 1 <= later for earlier, later in pairwise(reads))
    assert reads[-1] - reads[0] < 1_000
    assert clock.now().tzinfo is UTC


@given(st.integers(0, 10**14))
def test_a_moment_comes_back_as_it_was(moment_ms: int) -> None:
    """Given any ms of our years / Then the datetime and back is the same ms."""
    assert clock.to_ms(clock.from_ms(moment_ms)) == moment_ms


def test_a_moment_is_the_same_in_every_zone() -> None:
    """Given noon in Beijing and 04:00 in UTC / Then both are the same ms."""
    noon = datetime(2026, 11, 24, 12, tzinfo=timezone(timedelta(hours=8)))
    assert clock.to_ms(noon) == clock.to_ms(datetime(2026, 11, 24, 4, tzinfo=UTC)) == 1_795_492_800_000


def test_a_time_without_a_zone_is_refused() -> None:
    """Given a naive datetime / Then ValueError: nobody guesses."""
    with pytest.raises(ValueError, match="no time zone"):
        clock.to_ms(datetime(2026, 11, 24, 12))  # noqa: DTZ001 -- that is the point
