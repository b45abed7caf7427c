"""How held units become stock loads: as ranges, dealt out evenly to the buckets."""

import pytest

from flashsale import plan
from flashsale.errors import BadInputError
from flashsale.held import ranges, shares
from tests.support.samples import PLAN


@pytest.mark.parametrize(
    ("units", "found"),
    [([], []), ([3], [(3, 3)]), ([1, 2, 3], [(1, 3)]), ([1, 3, 4, 9], [(1, 1), (3, 4), (9, 9)])],
)
def test_neighbours_are_one_range(units: list[int], found: list[tuple[int, int]]) -> None:
    """Given rising units / Then neighbours are one range, and none is lost."""
    assert ranges(units) == found


@pytest.mark.parametrize("buckets", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 20])
def test_every_unit_gets_one_bucket(count: int, buckets: int) -> None:
    """Given units and buckets / Then each unit is in one share, and shares differ by one at the most."""
    units = list(range(5, 5 + 2 * count, 2))
    found = shares(units, buckets)
    assert [unit for share in found for unit in share] == units
    assert len(found) <= buckets
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_the_plan_says_where_returned_units_go() -> None:
    """Given a plan / Then returned is public by itself; what it is not is refused, with what it may be."""
    assert plan.read(PLAN).returned == "public"
    assert plan.read(f'returned = "hold"\n{PLAN}').returned == "hold"
    with pytest.raises(BadInputError, match=r"returned: .*'public', 'hold' or 'waitlist'"):
        plan.read(f'returned = "burn"\n{PLAN}')
