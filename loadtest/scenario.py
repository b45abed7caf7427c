"""A scenario: a release day as data. The sale, the crowd, the published figures and the bound of the verdict."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flashsale import plan
from flashsale.errors import BadInputError
from flashsale.plan import Plan

Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Crowd(_Strict):
    """Who comes, and how they behave.

    reserved, without_right: fans; presses_max: how often a fan presses at the most; early_share: who presses before
    noon; arrive_mean_s: mean of the exponential time after noon at which the others come; repeat_share: winners who
    press again with a new key; pay_share: winners who pay; connections: kept open to the server; arrive_even_s: they
    come evenly over so many seconds instead; stay_s: so long after noon a fan goes on pressing, whatever presses_max
    says, or until everything is sold; cancel_share: winners who let their order go; come_share: of the reserved, who
    come at all; look_ahead_s: how long before their press fans begin to look at the page, at most; look_every_s: and
    how often.
    """

    reserved: Annotated[int, Field(ge=1)]
    without_right: Annotated[int, Field(ge=0)] = 0
    presses_max: Annotated[int, Field(ge=1, le=20)] = 3
    early_share: Share = 0.1
    arrive_mean_s: Annotated[float, Field(gt=0)] = 3.0
    repeat_share: Share = 0.05
    pay_share: Share = 0.01
    connections: Annotated[int, Field(ge=1, le=4096)] = 256
    arrive_even_s: Annotated[float, Field(ge=0, le=7200)] = 0.0
    stay_s: Annotated[float, Field(ge=0, le=7200)] = 0.0
    cancel_share: Share = 0.0
    come_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    look_ahead_s: Annotated[float, Field(ge=0, le=7200)] = 0.0
    look_every_s: Annotated[float, Field(gt=0, le=7200)] = 10.0


class Published(_Strict):
    """The figures that the scenario reproduces, and whose they are. None where nothing was published."""

    units: int | None = None
    seconds: float | None = None
    reserved: int | None = None
    on_page: int | None = None
    peak_per_s: int | None = None
    source: str


class Bound(_Strict):
    """What the verdict demands beyond the promises."""

    open_to_last_confirmed_s: float


class Scenario(_Strict):
    """The whole file; sale is a plan without times and with stock at full scale."""

    scenario: str
    words: str
    sale: dict[str, Any]
    crowd: Crowd
    published: Published
    bound: Bound


@dataclass(frozen=True, slots=True)
class Scaled:
    """A scenario at a scale: its plan and its crowd."""

    plan: Plan
    crowd: Crowd


def names() -> list[str]:
    """The scenarios that come with the kit."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


def load(name: str) -> Scenario:
    """A scenario by name. Raises BadInputError."""
    if name not in names():
        raise BadInputError(f"There is no scenario {name}. There are: {', '.join(names())}")
    try:
        return Scenario.model_validate(tomllib.loads((_folder() / f"{name}.toml").read_text(encoding="utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError) as fault:
        raise BadInputError(f"Scenario {name} can't be used: {fault}") from fault


def scaled(
    scenario: Scenario, *, scale: float, sale: str, times: Mapping[str, str], stock_scale: float | None = None
) -> Scaled:
    """The scenario with that share of its units and fans, under a sale of that name, at those times.

    stock_scale: another share for the units.
    """
    stock_share = scale if stock_scale is None else stock_scale
    data = dict(scenario.sale)
    data["sale"] = sale
    data["opens"], data["closes"] = times["opens"], times["closes"]
    crowd = scenario.crowd.model_copy(
        update={
            "reserved": max(1, round(scenario.crowd.reserved * scale)),
            "without_right": round(scenario.crowd.without_right * scale),
        }
    )
    data["reservation"] = {
        "opens": times["reserve_opens"],
        "closes": times["closes"],
        "capacity": crowd.reserved + 1000,
    }
    data["items"] = [{**item, "stock": max(1, round(item["stock"] * stock_share))} for item in scenario.sale["items"]]
    return Scaled(plan=plan.from_data(data), crowd=crowd)


def _folder() -> Any:
    return files("loadtest") / "scenarios"
