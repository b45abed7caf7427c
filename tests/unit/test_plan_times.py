"""The times of a plan: every way to write them, the wrong orders, and weekly sales across changes of the clocks."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from flashsale import plan
from flashsale.clock import from_ms, to_ms
from flashsale.errors import BadInputError
from flashsale.plan import Plan, Times
from tests.support.samples import PLAN

NOW = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)  # a Sunday
BERLIN = ZoneInfo("Europe/Berlin")


def written(*, opens: str, closes: str = '"+2h"', zone: str = "Asia/Shanghai", more: str = "") -> Plan:
    """A plan with these times, as TOML values. more: further lines of the plan."""
    items = PLAN.partition("[[items]]")
    lines = f'sale = "w"\ntitle = {{ zh = "周", en = "week" }}\ncurrency = "EUR"\nentry = "open"\ntime_zone = "{zone}"'
    return plan.read(f"{lines}\nopens = {opens}\ncloses = {closes}\n{more}\n[[items]]{items[2]}")


def opening(opens: str, *, now: datetime = NOW, zone: str = "Asia/Shanghai") -> str:
    """When a sale with this opening opens, in UTC."""
    return from_ms(plan.times(written(opens=opens, zone=zone), now=now).opens_ms).isoformat(" ", "seconds")[:-6]


@pytest.mark.parametrize(
    ("opens", "expected"),
    [
        ("2026-11-24T12:00:00+08:00", "2026-11-24 04:00:00"),
        ("2026-11-24T12:00:00", "2026-11-24 04:00:00"),
        ('"2026-11-24T12:00:00"', "2026-11-24 04:00:00"),
        ('"2026-11-24T12:00:00+08:00"', "2026-11-24 04:00:00"),
        ('"2026-11-24T04:00:00Z"', "2026-11-24 04:00:00"),
        ('"Tuesday 12:00"', "2026-11-24 04:00:00"),
        ('"tuesday 12:00"', "2026-11-24 04:00:00"),
        ('"Sunday 09:01"', "2026-11-22 01:01:00"),
        ('"Sunday 09:00"', "2026-11-29 01:00:00"),  # now itself is past: the next one is meant
        ('"+30s"', "2026-11-22 01:00:30"),
        ('"+1m"', "2026-11-22 01:01:00"),
        ('"+2h"', "2026-11-22 03:00:00"),
        ('"+1d"', "2026-11-23 01:00:00"),
        ('"+1500ms"', "2026-11-22 01:00:01"),
        ('"-1h"', "2026-11-22 00:00:00"),
    ],
)
def test_ways_to_write_a_time(opens: str, expected: str) -> None:
    """Given an opening in one of the forms / Then it is that moment."""
    assert opening(opens) == expected


@pytest.mark.parametrize(
    "opens",
    [
        '"noon"', '"Tue 12:00"', '"Tuesday"', '"+"', '"+5"', '"+5w"', '""',
        '"12:00"', '"2026-13-01T12:00:00"',
    ],
)  # fmt: skip
def test_what_is_no_time(opens: str) -> None:
    """Given something that is no time / Then the key is named."""
    with pytest.raises(BadInputError, match=r"^opens: .* is not a time"):
        plan.times(written(opens=opens), now=NOW)


@pytest.mark.parametrize(
    "far",
    [
        '"+999999999d"', '"-999999999d"', '"+999999999h"', '"9999-12-31T23:59:59"', "9999-12-31T23:59:59-08:00",
        "9999-01-02T00:00:00", "0001-01-01T00:00:00+14:00", "1969-12-31T23:00:00",
    ],
)  # fmt: skip
def test_a_time_that_is_too_far_away_is_named(far: str) -> None:
    """Given a year that can't be reckoned with, however written / Then the key is named, of an opening or another."""
    with pytest.raises(BadInputError, match=r"^opens: lies outside the years 1970 to 9998"):
        plan.times(written(opens=far), now=NOW)
    with pytest.raises(BadInputError, match=r"^closes: lies outside the years"):
        plan.times(written(opens='"+1h"', closes=far), now=NOW)


def test_the_last_time_there_is() -> None:
    """Given the last hours of the last year / Then they are taken."""
    found = plan.times(written(opens="9998-12-31T20:00:00", zone="UTC"), now=NOW)
    assert from_ms(found.closes_ms) == datetime(9998, 12, 31, 22, tzinfo=UTC)


@pytest.mark.parametrize("opens", ['"Tuesday 24:00"', '"Tuesday 12:60"'])
def test_a_time_of_day_that_is_none(opens: str) -> None:
    """Given a weekday with an hour or minute that no day has / Then the key is named."""
    with pytest.raises(BadInputError, match=r"^opens: .* is not a time of day"):
        plan.times(written(opens=opens), now=NOW)


@pytest.mark.parametrize("opens", ["5", "true", "2026-11-24", "12:00:00", "[]"])
def test_what_is_no_time_by_its_kind(opens: str) -> None:
    """Given a TOML value of another kind / Then it is refused when read."""
    with pytest.raises(BadInputError, match="opens"):
        written(opens=opens)


def test_a_time_as_text_is_a_time_from_the_start() -> None:
    """Given ISO text / When the plan is read / Then it is a datetime already, as TOML's own would be; words stay."""
    assert written(opens='"2026-11-24T12:00:00"').opens == written(opens="2026-11-24T12:00:00").opens
    assert written(opens='"Tuesday 12:00"', closes='"+2h"').closes == "+2h"


def test_a_bad_time_is_named_by_its_own_key() -> None:
    """Given a bad weekday time for closes / Then closes is named, not opens."""
    with pytest.raises(BadInputError, match=r"^closes"):
        plan.times(written(opens='"+1h"', closes='"Tuesday 25:00"'), now=NOW)


def reserving(opens: str, closes: str) -> Plan:
    """A sale that opens in two hours for one hour, with this reservation."""
    table = f"[reservation]\nopens = {opens}\ncloses = {closes}"
    return written(opens='"+2h"', closes='"+1h"', more=table)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (written(opens='"+1h"', closes='"-1s"'), "closes"),
        (written(opens='"+1h"', closes='"+0s"'), "closes"),
        (reserving('"-1h"', '"-2h"'), "reservation.closes"),
        (reserving('"-1h"', '"-1h"'), "reservation.closes"),
        (reserving('"-1h"', '"+2h"'), "reservation.closes"),
    ],
)
def test_times_in_the_wrong_order(given: Plan, named: str) -> None:
    """Given an end that is not after its beginning, or a reservation longer than its sale / Then that key is named."""
    with pytest.raises(BadInputError, match=f"^{named}"):
        plan.times(given, now=NOW)


def test_relative_times_count_from_the_opening() -> None:
    """Given "-6d" and "+2h" / Then they count from the opening, wherever now is."""
    read = plan.read(PLAN)
    noon = datetime(2026, 11, 24, 4, tzinfo=UTC)
    hour = 3_600_000
    assert plan.times(read, now=NOW) == Times(
        to_ms(noon), to_ms(noon) + 2 * hour, to_ms(noon) - 6 * 24 * hour, to_ms(noon) - hour
    )


def test_weekdays_count_from_the_opening() -> None:
    """Given an opening weeks ahead / Then the weekday of its closing is the next one after it, wherever now is."""
    found = plan.times(written(opens="2026-12-15T12:00:00", closes='"Tuesday 14:00"'), now=NOW)
    assert found.closes_ms - found.opens_ms == 2 * 3_600_000
    next_week = plan.times(written(opens="2026-12-15T12:00:00", closes='"Tuesday 11:00"'), now=NOW)
    assert next_week.closes_ms - next_week.opens_ms == (7 * 24 - 1) * 3_600_000


def test_days_are_days_on_the_wall() -> None:
    """Given a sale from noon over the night when Berlin's clocks go back / Then "+1d" is noon again, 25 h later."""
    found = plan.times(written(opens="2026-10-24T12:00:00", closes='"+1d"', zone="Europe/Berlin"), now=NOW)
    assert found.closes_ms - found.opens_ms == 25 * 3_600_000
    by_hours = plan.times(written(opens="2026-10-24T12:00:00", closes='"+24h"', zone="Europe/Berlin"), now=NOW)
    assert by_hours.closes_ms - by_hours.opens_ms == 24 * 3_600_000


def test_an_end_in_the_hour_that_is_skipped_is_compared_in_real_time() -> None:
    """Given an opening at 02:30, which Berlin skips in spring, and an end at 03:00 / Then closes is named.

    The opening is at 03:30 in truth.
    """
    skipped = written(opens="2027-03-28T02:30:00", closes="2027-03-28T03:00:00", zone="Europe/Berlin")
    with pytest.raises(BadInputError, match=r"^closes"):
        plan.times(skipped, now=NOW)


def test_hours_are_hours_when_the_clocks_change() -> None:
    """Given a sale over the night when Berlin's clocks go back / Then "+2h" is two hours of real time."""
    read = written(opens="2026-10-25T01:30:00", zone="Europe/Berlin")
    found = plan.times(read, now=NOW)
    assert found.closes_ms - found.opens_ms == 2 * 3_600_000


def test_a_plan_for_once_is_its_own_occurrence() -> None:
    """Given a plan that doesn't repeat / Then it is given back as it is, past or not."""
    read = written(opens="2020-01-01T12:00:00")
    assert plan.occurrence(read, now=NOW) is read
