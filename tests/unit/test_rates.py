"""Rates: how many may come at once, how many go on, and what is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale import rates as rates_module
from flashsale.rates import Rates


def test_a_burst_is_let_in_and_then_the_rate() -> None:
    """Given two a second and three at once / When one asks again and again / Then the fourth comes half a second too
    soon, and half a second later it does not."""
    rates = Rates(per_s=2, burst=3)
    assert [rates.early_s("a", 10.0) for _ in range(3)] == [0, 0, 0]
    assert rates.early_s("a", 10.0) == pytest.approx(0.5)
    assert rates.early_s("a", 10.5) == pytest.approx(0)
    assert rates.early_s("a", 10.5) == pytest.approx(0.5)


def test_everybody_has_a_rate_of_their_own() -> None:
    """Given one who has used up theirs / Then another has all of it."""
    rates = Rates(per_s=1, burst=1)
    assert (rates.early_s("a", 0.0), rates.early_s("a", 0.0) > 0, rates.early_s("b", 0.0)) == (0, True, 0)


def test_who_hammers_is_let_in_as_soon_as_who_waits() -> None:
    """Given one who asks a thousand times a second for a minute / Then what came far too soon was not counted: a second
    after the end one more is within the rate."""
    rates = Rates(per_s=1, burst=5)
    taken = [at for at in range(60_000) if rates.early_s("a", at / 1000) == 0]
    assert len(taken) == pytest.approx(5 + 59, abs=1)
    assert rates.early_s("a", 61.0) == 0


def test_what_comes_a_little_too_soon_is_counted() -> None:
    """Given askings counted up to two seconds ahead / When five come where one may / Then each is told how much too
    soon it came, up to where they are not counted any more."""
    rates = Rates(per_s=1, burst=1, far_s=2)
    assert [rates.early_s("a", 0.0) for _ in range(5)] == [0, 1, 2, 3, 3]


@given(
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3)), max_size=60),
    per_s=st.sampled_from([0.5, 1.0, 7.0]),
    burst=st.integers(1, 5),
    far_s=st.sampled_from([0.0, 2.0]),
)
def test_nobody_may_ask_more_often_and_few_less_at_once(
    steps: list[tuple[str, float]], per_s: float, burst: int, far_s: float
) -> None:
    """Given askings of several at any times / Then the answers are those of one that remembers every name for ever, or
    stricter by one asking at the most; with one at once, the very same."""
    rates, full, now = Rates(per_s=per_s, burst=burst, far_s=far_s), dict[str, float](), 0.0
    for name, later_s in steps:
        now += later_s
        known = max(full.get(name, now), now)
        exact_s = known - now - (burst - 1) / per_s
        early_s = rates.early_s(name, now)
        if early_s <= far_s:  # what we did not count, it must not count either: else the two remember different things
            full[name] = known + 1 / per_s
        stricter_s = 1 / per_s if burst > 1 else 0.0
        assert max(exact_s, 0) - 1e-6 <= early_s <= max(exact_s + stricter_s, 0) + 1e-6


def test_who_finds_anothers_mark_is_counted_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given two names that point to the same place / Then both may ask, and the second one less at once."""
    monkeypatch.setattr(rates_module, "_MARKS", 1)
    rates = Rates(per_s=1, burst=3)
    assert [rates.early_s("a", 0.0) for _ in range(4)] == [0, 0, 0, 1]
    assert [rates.early_s("b", 0.0) for _ in range(3)] == [0, 0, 1]


def test_names_are_bounded() -> None:
    """Given more names than are remembered / Then memory stays within that, and those that asked last are known."""
    rates = Rates(per_s=0.001, burst=1, names_max=100)
    for number in range(1_000):
        rates.early_s(f"n{number}", 0.0)
    assert len(rates) <= 100
    assert rates.early_s("n999", 0.0) > 0


def test_names_that_were_quiet_are_let_go() -> None:
    """Given a thousand names / When one asks much later, twice / Then the others take no memory."""
    rates = Rates(per_s=1, burst=1)
    for number in range(1_000):
        rates.early_s(f"n{number}", 0.0)
    rates.early_s("late", 10.0)
    rates.early_s("late", 20.0)
    assert len(rates) == 1


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_rate_that_lets_nobody_in_is_refused(per_s: float, burst: int) -> None:
    """When rate or burst are not above 0 / Then that is refused."""
    with pytest.raises(ValueError, match="above 0"):
        Rates(per_s=per_s, burst=burst)
