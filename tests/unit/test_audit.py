"""Two looks of an audit: what is off in one of them alone was on the move; what stays is off."""

from dataclasses import replace

from flashsale.audit import ItemAudit, agreed
from flashsale.sale import UnitPool

WHOLE = ItemAudit(
    item="a", pool=UnitPool.PUBLIC, loaded=10, free=4, moving=0, outbox=2, live=4, returning=0, missing=(), doubled=(),
    beyond=(), counter_off=0,
)  # fmt: skip


def test_a_unit_that_is_nowhere_in_one_look_alone_is_on_the_move() -> None:
    """Given other units missing in each look / Then none is, and the sum is whole."""
    earlier, later = replace(WHOLE, free=3, missing=(7,)), replace(WHOLE, live=3, missing=(8,))
    found = agreed(earlier, later)
    assert found.balanced
    assert (found.missing, found.moving, found.difference) == ((), 1, 0)


def test_a_unit_that_is_twice_in_one_look_alone_is_counted_once() -> None:
    """Given a unit that is free and live in one look alone / Then it is in one place."""
    found = agreed(WHOLE, replace(WHOLE, free=5, doubled=(3,)))
    assert found.balanced
    assert (found.doubled, found.free) == ((), 4)


def test_what_stays_is_off() -> None:
    """Given a unit that is nowhere in both looks, and others in one / Then that unit is named."""
    found = agreed(replace(WHOLE, free=2, missing=(7, 8)), replace(WHOLE, free=2, missing=(8, 9), beyond=(11,)))
    assert not found.balanced
    assert (found.missing, found.doubled, found.beyond) == ((8,), (), ())


def test_a_counter_is_off_when_it_is_so_twice_and_by_as_much() -> None:
    """Given a counter that is off by other numbers / Then it moves; by the same, it is off."""
    assert agreed(replace(WHOLE, counter_off=1), replace(WHOLE, counter_off=2)).balanced
    assert agreed(replace(WHOLE, counter_off=1), replace(WHOLE, counter_off=1)).counter_off == 1
