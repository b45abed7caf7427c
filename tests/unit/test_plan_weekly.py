"""A weekly plan yields its next occurrence, at the same time by the clock on the wall."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from flashsale import plan
from flashsale.clock import from_ms
from flashsale.errors import BadInputError
from flashsale.plan import Plan
from tests.unit.test_plan_times import BERLIN, NOW, written

WEEKLY = 'repeat = "weekly"'


def local(moment_ms: int | None, zone: ZoneInfo) -> str:
    """A moment as the clock on the wall shows it."""
    assert moment_ms is not None
    return from_ms(moment_ms).astimezone(zone).strftime("%Y-%m-%d %H:%M")


def weeks(weekly: Plan, *, first: datetime, number: int) -> list[tuple[str, str]]:
    """Opening and closing of so many occurrences, each asked for when the one before opens, as the worker does it.

    The plan comes from the store each time, so it has been JSON in between.
    """
    zone, now, found = ZoneInfo(weekly.time_zone), first, []
    for _ in range(number):
        stored = plan.from_data(weekly.model_dump(mode="json"))
        times = plan.times(plan.occurrence(stored, now=now), now=now)
        found.append((local(times.opens_ms, zone), local(times.closes_ms, zone)))
        now = from_ms(times.opens_ms)
    return found


@pytest.mark.parametrize(
    ("opens", "closes"),
    [
        ('"Tuesday 12:00"', '"+2h"'),
        ('"Tuesday 12:00"', '"Tuesday 14:00"'),
        ("2026-10-13T12:00:00", "2026-10-13T14:00:00"),
        ("2026-10-13T12:00:00+02:00", "2026-10-13T14:00:00+02:00"),
        ('"2026-10-13T12:00:00"', '"2026-10-13T14:00:00"'),
    ],
)
def test_noon_stays_noon_when_the_clocks_go_back(opens: str, closes: str) -> None:
    """Given a Berlin sale on Tuesdays 12:00 to 14:00, however written / When October ends / Then it stays 12 to 14."""
    weekly = written(opens=opens, closes=closes, zone="Europe/Berlin", more=WEEKLY)
    found = weeks(weekly, first=datetime(2026, 10, 12, tzinfo=UTC), number=4)
    assert found == [
        (f"2026-{day} 12:00", f"2026-{day} 14:00") for day in ("10-13", "10-20", "10-27", "11-03")
    ]  # fmt: skip


def test_noon_stays_noon_when_the_clocks_go_forward() -> None:
    """Given the same in spring / Then noon is noon, one hour earlier in UTC."""
    weekly = written(opens='"Tuesday 12:00"', zone="Europe/Berlin", more=WEEKLY)
    found = weeks(weekly, first=datetime(2027, 3, 22, tzinfo=UTC), number=2)
    assert [opens for opens, _ in found] == ["2027-03-23 12:00", "2027-03-30 12:00"]


def test_an_occurrence_bears_its_local_date() -> None:
    """Given a sale early on Tuesday in Shanghai, still Monday in UTC / Then its name says Tuesday."""
    weekly = written(opens='"Tuesday 01:00"', more=WEEKLY)
    found = plan.occurrence(weekly, now=NOW)
    assert found.sale == "w-2026-11-24"
    assert found.opens == datetime(2026, 11, 23, 17, tzinfo=UTC)


def test_a_past_opening_is_moved_by_whole_weeks() -> None:
    """Given a weekly plan of years ago / Then its next occurrence is in the future, on its weekday and time."""
    weekly = written(opens="2013-10-15T12:00:00", closes="2013-10-15T13:00:00", more=WEEKLY)
    ((opens, closes),) = weeks(weekly, first=NOW, number=1)
    assert (opens, closes) == ("2026-11-24 12:00", "2026-11-24 13:00")


def test_a_closing_at_the_end_of_all_years_is_named() -> None:
    """Given a past weekly sale that closes in the last days there are / When moved on / Then closes is named."""
    weekly = written(opens="2013-10-15T12:00:00", closes="9999-12-30T13:00:00", more=WEEKLY)
    with pytest.raises(BadInputError, match=r"^closes: lies outside the years"):
        plan.occurrence(weekly, now=NOW)


def test_the_opening_itself_is_not_the_next_one() -> None:
    """When asked at the very opening / Then the next is a week later."""
    weekly = written(opens='"Tuesday 12:00"', zone="Europe/Berlin", more=WEEKLY)
    found = [datetime.fromisoformat(opens) for opens, _ in weeks(weekly, first=NOW, number=5)]
    assert {(later - earlier).days for earlier, later in pairwise(found)} == {7}


def test_the_reservation_moves_along() -> None:
    """Given absolute reservation times / Then they keep their place before the opening, by the clock on the wall."""
    table = f"{WEEKLY}\n[reservation]\nopens = 2026-10-15T09:00:00\ncloses = 2026-10-20T11:00:00"
    weekly = written(opens="2026-10-20T12:00:00", closes="2026-10-20T14:00:00", zone="Europe/Berlin", more=table)
    now = datetime(2026, 10, 20, 10, tzinfo=UTC)
    times = plan.times(plan.occurrence(weekly, now=now), now=now)
    assert local(times.opens_ms, BERLIN) == "2026-10-27 12:00"
    assert local(times.reserve_opens_ms, BERLIN) == "2026-10-22 09:00"
    assert local(times.reserve_closes_ms, BERLIN) == "2026-10-27 11:00"
