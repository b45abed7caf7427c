"""Who gives units to whom, and when a sale of several buckets is sold out."""

import dataclasses

import pytest

from flashsale.api.picture import sold_out
from flashsale.balance import Move, moves, ranges_of, units_in
from flashsale.sale import State
from flashsale.stock import BucketFacts

BUCKET = BucketFacts(
    now_ms=0, loaded=True, generation="g", version=1, state=State.OPEN, opens_ms=0, closes_ms=1, free={}, moving={},
    lost={}, moves=0, wins=0, returned=0, loads=0, reserved=0, reserved_by_channel={}, outbox=0, fenced=False,
)  # fmt: skip


def buckets(*free: int, lost: tuple[int, ...] = (), moving: tuple[int, ...] = (), begun: int = 0) -> list[BucketFacts]:
    """Buckets with so many free units of item a. lost: attempts in vain; moving: units leaving; begun: transfers."""
    return [
        dataclasses.replace(
            BUCKET,
            free={"a": units},
            lost={"a": lost[number]} if lost else {},
            moving={"a": moving[number]} if moving else {},
            moves=begun,
        )
        for number, units in enumerate(free)
    ]


def test_a_poor_bucket_gets_its_share_of_the_richest() -> None:
    """Given much, and one bucket below half of the mean / Then it gets what is above the mean, up to the mean."""
    facts = buckets(100, 60, 5)
    assert moves("a", facts, facts) == [Move("a", source=0, to=2, units=45)]


def test_what_is_even_enough_stays() -> None:
    """Given buckets that differ a little / Then nothing moves."""
    facts = buckets(100, 70, 60)
    assert moves("a", facts, facts) == []


def test_a_bucket_gives_to_one_other_at_a_time() -> None:
    """Given one rich and two poor / Then one move; and none out of a bucket with an open transfer."""
    facts = buckets(90, 0, 0)
    assert len(moves("a", facts, facts)) == 1
    busy = buckets(90, 0, 0, moving=(3, 0, 0))
    assert moves("a", busy, busy) == []
    done = buckets(90, 0, 0, moving=(0, 0, 0))
    assert len(moves("a", done, done)) == 1


def test_the_last_units_go_where_they_are_asked_for() -> None:
    """Given little left / Then only a dry bucket that was asked in vain gets some: half of two, the whole of one."""
    before = buckets(0, 0, 2, lost=(5, 5, 0))
    assert moves("a", before, before) == []
    assert moves("a", buckets(0, 0, 2, lost=(5, 6, 0)), before) == [Move("a", 2, 1, 1)]
    before = buckets(0, 0, 1, lost=(5, 5, 0))
    assert moves("a", buckets(0, 0, 1, lost=(5, 6, 0)), before) == [Move("a", 2, 1, 1)]


def test_a_last_unit_stays_where_its_fans_wait() -> None:
    """Given one unit in a bucket that is asked itself, or to which it has just come / Then it stays."""
    before = buckets(0, 1, lost=(5, 5))
    assert moves("a", buckets(0, 1, lost=(6, 6)), before) == []
    assert moves("a", buckets(0, 1, lost=(6, 5)), before, keep={1}) == []
    assert moves("a", buckets(0, 1, lost=(6, 5)), before) == [Move("a", 1, 0, 1)]


@pytest.mark.parametrize(
    ("now", "before", "gone"),
    [
        (buckets(0), None, True),
        (buckets(1), None, False),
        (buckets(0, 0), None, False),
        (buckets(0, 0), buckets(0, 0), True),
        (buckets(0, 0), buckets(0, 1), False),
        (buckets(0, 1), buckets(0, 0), False),
        (buckets(0, 0, moving=(2, 0)), buckets(0, 0), False),
        (buckets(0, 0), buckets(0, 0, moving=(0, 2)), False),
        (buckets(0, 0, begun=1), buckets(0, 0), False),
    ],
)
def test_sold_out_is_seen_twice(now: list[BucketFacts], before: list[BucketFacts] | None, gone: bool) -> None:
    """Given several buckets / Then sold out when two looks saw all dry, none leaving, and no transfer between them."""
    assert sold_out("a", now, before) is gone


def test_ranges_are_read() -> None:
    """Given ranges as the scripts write them / Then both ends, and their units."""
    assert ranges_of("1-3,7-7") == [(1, 3), (7, 7)]
    assert units_in("1-3,7-7") == 4
    assert ranges_of("") == []
