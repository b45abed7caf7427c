"""What is nowhere else is free: marks, the gaps between them, and fair shares."""

import pytest

from flashsale.free_units import dealt, gaps, mark, split, units_in


@pytest.mark.parametrize(
    ("loaded", "outside", "free"),
    [
        (0, [], []),
        (1, [], [(1, 1)]),
        (5, [], [(1, 5)]),
        (5, [1, 2, 3, 4, 5], []),
        (5, [1], [(2, 5)]),
        (5, [5], [(1, 4)]),
        (5, [3], [(1, 2), (4, 5)]),
        (5, [2, 4], [(1, 1), (3, 3), (5, 5)]),
        (5, [3, 6, 99], [(1, 2), (4, 5)]),
    ],
)
def test_gaps(loaded: int, outside: list[int], free: list[tuple[int, int]]) -> None:
    """Given units that are outside / Then the free ones are the others of those loaded, as ranges."""
    marked = bytearray(loaded + 1)
    mark(marked, outside)
    assert gaps(marked) == free


@pytest.mark.parametrize(
    ("parts", "shares"),
    [
        (1, [[(1, 4), (9, 10)]]),
        (2, [[(1, 3)], [(4, 4), (9, 10)]]),
        (4, [[(1, 2)], [(3, 4)], [(9, 9)], [(10, 10)]]),
        (7, [[(1, 1)], [(2, 2)], [(3, 3)], [(4, 4)], [(9, 9)], [(10, 10)], []]),
    ],
)
def test_shares(parts: int, shares: list[list[tuple[int, int]]]) -> None:
    """Given free ranges / When they are dealt to so many buckets / Then each unit once, and shares differ by one."""
    assert dealt([(1, 4), (9, 10)], parts) == shares
    assert sum(map(units_in, shares)) == 6


@pytest.mark.parametrize(
    ("aside", "inside", "outside"),
    [
        ([], [], [(1, 4), (9, 10)]),
        ([(1, 10)], [(1, 4), (9, 10)], []),
        ([(3, 9)], [(3, 4), (9, 9)], [(1, 2), (10, 10)]),
        ([(2, 2), (4, 4)], [(2, 2), (4, 4)], [(1, 1), (3, 3), (9, 10)]),
        ([(11, 20)], [], [(1, 4), (9, 10)]),
    ],
)
def test_split(aside: list[tuple[int, int]], inside: list[tuple[int, int]], outside: list[tuple[int, int]]) -> None:
    """Given free ranges, and those that were loaded aside / Then each unit is on its side."""
    assert split([(1, 4), (9, 10)], aside) == (inside, outside)
