"""A plan: the TOML file in which ops write a sale down, and what it says once its times are worked out.

Times are absolute (`2026-11-24T12:00:00+08:00`), local to the plan's zone (`2026-11-24T12:00:00`), a weekday
("Tuesday 12:00": the next one), or relative ("-6d", "+2h"). The opening counts from now, everything else from the
opening. A weekly plan gives its next occurrence by moving the local time seven days, so that noon
stays noon across a change of the clocks.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from flashsale import limits
from flashsale.clock import to_ms
from flashsale.errors import BadInputError
from flashsale.sale import SLUG

_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAY_TIME: Final = re.compile(r"([A-Za-z]+) (\d{1,2}):(\d{2})")
_RELATIVE: Final = re.compile(r"([+-])(\d{1,9})(ms|s|m|h|d)")
_UNITS: Final = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_YEARS: Final = range(1970, 9999)  # a week later and in every zone, such a time can still be written down


def _moment_if_iso(value: datetime | str) -> datetime | str:
    """A time written as text is the same time; JSON has no other way to write one."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return value
    return value


When = Annotated[datetime | str, AfterValidator(_moment_if_iso)]
Slug = Annotated[str, StringConstraints(pattern=rf"^{SLUG.pattern}$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Channel = Annotated[str, StringConstraints(pattern=rf"^[a-z0-9_-]{{1,{limits.CHANNEL_LENGTH_MAX}}}$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as unknown:
        raise ValueError(f"{name!r} is not a time zone; write it like Asia/Shanghai") from unknown
    return name


class _Strict(BaseModel):
    """A key with a typo is an error, not something to be passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TitlePlan(_Strict):
    """A name in both languages."""

    zh: Words
    en: Words


class ItemPlan(_Strict):
    """One item of the plan. stock: units for everybody; fcode_stock: as many more that are set aside for F-codes."""

    item: Slug
    title: TitlePlan
    price_minor: Annotated[int, Field(ge=0, le=limits.PRICE_MINOR_MAX)]
    stock: Annotated[int, Field(ge=0, le=limits.UNITS_PER_ITEM_MAX)]
    fcode_stock: Annotated[int, Field(ge=0, le=limits.UNITS_PER_ITEM_MAX)] | None = None


class ReservationPlan(_Strict):
    """When fans may reserve. capacity: at most how many."""

    opens: When
    closes: When
    capacity: Annotated[int, Field(ge=1, le=limits.RESERVATIONS_MAX)] = 1_000_000


class Plan(_Strict):
    """The whole file. stock counts units, pay_window_s seconds, price_minor the currency's smallest unit."""

    sale: Slug
    title: TitlePlan
    opens: When
    closes: When
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    repeat: Literal["weekly"] | None = None
    entry: Literal["reservation", "open"] = "reservation"
    reservation: ReservationPlan | None = None
    per_fan_limit: Annotated[int, Field(ge=1, le=limits.PER_FAN_LIMIT_MAX)] = 1
    pay_window_s: Annotated[int, Field(ge=limits.PAY_WINDOW_S_MIN, le=limits.PAY_WINDOW_S_MAX)] = 900
    currency: Currency
    channels: Annotated[list[Channel], Field(min_length=1, max_length=limits.CHANNELS_PER_SALE_MAX)] = ["web"]
    ack: Literal["accepted", "replicated", "fsynced", "confirmed"] = "accepted"
    buckets: Annotated[int, Field(ge=1, le=limits.BUCKETS_PER_SALE_MAX)] = 1
    returned: Literal["public", "hold", "waitlist"] = "public"
    items: Annotated[list[ItemPlan], Field(min_length=1, max_length=limits.ITEMS_PER_SALE_MAX)]

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        names = [item.item for item in self.items]
        if len(set(names)) != len(names):
            raise ValueError("items: two items have the same name")
        for item in self.items:
            if item.stock + (item.fcode_stock or 0) > limits.UNITS_PER_ITEM_MAX:
                raise ValueError(f"items: {item.item} has more than {limits.UNITS_PER_ITEM_MAX} units in both pools")
        if len(set(self.channels)) != len(self.channels):
            raise ValueError("channels: two channels have the same name")
        if self.entry == "reservation" and self.reservation is None:
            raise ValueError('entry: "reservation" needs a [reservation] table; or set entry = "open"')
        if self.takes_fcodes and any(item.fcode_stock is None for item in self.items):
            raise ValueError("items: give each item its fcode_stock, 0 where there is none, or none of them one")
        if self.repeat and len(self.sale) > limits.SLUG_LENGTH_MAX - len("-2026-11-24"):
            raise ValueError("sale: too long for a weekly sale, whose occurrences add their date to it")
        return self

    @property
    def takes_fcodes(self) -> bool:
        """Whether the sale has a pool for F-codes."""
        return any(item.fcode_stock is not None for item in self.items)


@dataclass(frozen=True, slots=True)
class Times:
    """A plan's times, worked out; all in ms since 1970 UTC."""

    opens_ms: int
    closes_ms: int
    reserve_opens_ms: int | None
    reserve_closes_ms: int | None


def read(text: str) -> Plan:
    """The plan in a TOML text. Raises BadInputError that names each wrong key and says what it should be."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise BadInputError(f"This is not valid TOML: {fault}") from fault
    return from_data(data)


def from_data(data: Mapping[str, Any]) -> Plan:
    """The plan in decoded TOML or JSON. Raises BadInputError."""
    try:
        return Plan.model_validate(data)
    except ValidationError as faults:
        lines = [f"{'.'.join(map(str, fault['loc'])) or 'plan'}: {_words(fault)}" for fault in faults.errors()]
        raise BadInputError("The plan was refused:\n  " + "\n  ".join(lines)) from faults


def times(plan: Plan, *, now: datetime) -> Times:
    """Work the times out. Raises BadInputError when one can't be read or they stand in the wrong order."""
    zone = ZoneInfo(plan.time_zone)
    opens = _moment("opens", plan.opens, zone=zone, base=now)
    closes = _moment("closes", plan.closes, zone=zone, base=opens)
    # Compared in ms: two times of one zone would be compared by the wall, which jumps when the clocks change.
    opens_ms, closes_ms = to_ms(opens), to_ms(closes)
    if not opens_ms < closes_ms:
        raise BadInputError(f"closes: {closes.isoformat()} is not after opens {opens.isoformat()}")
    if plan.reservation is None:
        return Times(opens_ms, closes_ms, None, None)
    reserve_opens_ms = to_ms(_moment("reservation.opens", plan.reservation.opens, zone=zone, base=opens))
    reserve_closes_ms = to_ms(_moment("reservation.closes", plan.reservation.closes, zone=zone, base=opens))
    if not reserve_opens_ms < reserve_closes_ms:
        raise BadInputError("reservation.closes: must be after reservation.opens")
    if reserve_closes_ms > closes_ms:
        raise BadInputError("reservation.closes: must not be after closes")
    return Times(opens_ms, closes_ms, reserve_opens_ms, reserve_closes_ms)


def occurrence(plan: Plan, *, now: datetime) -> Plan:
    """The next occurrence of a weekly plan: dated name, absolute opening in the future. Others are given back as is."""
    if plan.repeat is None:
        return plan
    zone = ZoneInfo(plan.time_zone)
    opens = _moment("opens", plan.opens, zone=zone, base=now).astimezone(zone)
    first = opens
    while opens <= now:
        opens = datetime.combine(opens.date() + timedelta(days=7), opens.time(), tzinfo=zone)
    moved = {name: _moved(name, value, opens - first, zone=zone) for name, value in _absolute_times(plan).items()}
    reservation = plan.reservation and plan.reservation.model_copy(
        update={key.partition(".")[2]: value for key, value in moved.items() if key.startswith("reservation.")}
    )
    closes = moved.get("closes", plan.closes)
    name = f"{plan.sale}-{opens.date().isoformat()}"
    return plan.model_copy(update={"sale": name, "opens": opens, "closes": closes, "reservation": reservation})


def _absolute_times(plan: Plan) -> dict[str, datetime]:
    found: dict[str, When] = {"closes": plan.closes}
    if plan.reservation:
        found |= {"reservation.opens": plan.reservation.opens, "reservation.closes": plan.reservation.closes}
    return {name: value for name, value in found.items() if isinstance(value, datetime)}


def _moved(name: str, moment: datetime, by: timedelta, *, zone: ZoneInfo) -> datetime:
    """So many whole days later on the zone's wall clock, whatever the clocks did in between."""
    try:
        local = moment.astimezone(zone) if moment.tzinfo else moment
        return local + timedelta(days=round(by / timedelta(days=1)))
    except OverflowError as fault:
        raise _far_away(name) from fault


def moment(name: str, text: str, *, zone: str, base: datetime) -> datetime:
    """A time as in a plan: absolute, local to the zone, a weekday, or relative to base. Raises BadInputError."""
    return _moment(name, _moment_if_iso(text), zone=ZoneInfo(zone), base=base)


def _moment(name: str, value: When, *, zone: ZoneInfo, base: datetime) -> datetime:
    """One time of the plan as an aware datetime. Raises BadInputError that names it."""
    try:
        moment = _reckoned(name, value, zone=zone, base=base)
        year = moment.astimezone(UTC).year
    except OverflowError as fault:
        raise _far_away(name) from fault
    if year not in _YEARS:
        raise _far_away(name)
    return moment


def _far_away(name: str) -> BadInputError:
    return BadInputError(f"{name}: lies outside the years {_YEARS[0]} to {_YEARS[-1]}")


def _reckoned(name: str, value: When, *, zone: ZoneInfo, base: datetime) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=zone)
    if relative := _RELATIVE.fullmatch(value):
        sign, number, unit = relative.groups()
        step = timedelta(**{_UNITS[unit]: int(number if sign == "+" else f"-{number}")})
        # A day is a day on the wall; an hour is an hour even in the night when the clocks change.
        return base.astimezone(zone) + step if unit == "d" else base.astimezone(UTC) + step
    if (weekly := _WEEKDAY_TIME.fullmatch(value)) and weekly[1].lower() in _WEEKDAYS:
        return _next_weekday(
            _WEEKDAYS.index(weekly[1].lower()), int(weekly[2]), int(weekly[3]), zone=zone, after=base, name=name
        )
    raise BadInputError(
        f"{name}: {value!r} is not a time; write 2026-11-24T12:00:00+08:00, "
        '"Tuesday 12:00", or relative to the opening like "-6d" or "+2h"'
    )


def _next_weekday(weekday: int, hour: int, minute: int, *, zone: ZoneInfo, after: datetime, name: str) -> datetime:
    try:
        wall = time(hour, minute)
    except ValueError as fault:
        raise BadInputError(f"{name}: {hour}:{minute:02} is not a time of day") from fault
    today = after.astimezone(zone).date()
    day = today + timedelta(days=(weekday - today.weekday()) % 7)
    moment = datetime.combine(day, wall, tzinfo=zone)
    return moment if moment > after else datetime.combine(day + timedelta(days=7), wall, tzinfo=zone)


def _words(fault: Any) -> str:
    """A sentence for one of pydantic's faults, in the words of the file."""
    match fault["type"]:
        case "extra_forbidden":
            return "there is no such key; is it a typo?"
        case "missing":
            return "this key is missing"
        case "string_pattern_mismatch":
            return f"{fault['input']!r} does not fit {fault['ctx']['pattern']}"
        case _:
            return f"{fault['msg'].removeprefix('Value error, ')} (it is {fault['input']!r:.60})"
