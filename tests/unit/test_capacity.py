"""Capacity: the arithmetic of a fleet by hand, what it refuses, and the opening played through."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale import limits
from flashsale.capacity import calibration, fleet, mix, opening, rehearsed
from flashsale.capacity.certify import predicted_us
from flashsale.capacity.fleet import Demand, Fleet
from flashsale.capacity.mix import Mix
from flashsale.capacity.planned import planned
from flashsale.errors import BadInputError
from tests.support.costs import COSTS
from tests.support.edge import DEPLOY

MIX: Final = Mix(words="by hand", kept=0.5, refused=0.1, decided=0.4)
DEMAND: Final = Demand(peak=100_000, fans=1_000_000, reserved=2_000_000, units=10_000, landed_within_s=10)


def report(**changed: Any) -> dict[str, Any]:
    """A bench's report with the costs above."""
    data: dict[str, Any] = {}
    for name, (suite, metric) in calibration._METRICS.items():
        data.setdefault(suite, {})[metric] = {"value": getattr(COSTS, name)}
    data["http"]["purchase_cpu"]["conditions"] = {"machine": dict(COSTS.machine), "commit": "c"}
    return data | changed


def test_each_part_is_sized_by_its_work() -> None:
    """Given a demand, a mix and costs / Then each part has the cores that multiplying by hand gives, at half busy."""
    made = fleet.of(DEMAND, MIX, COSTS, busy=0.5)
    work = {part.name: part.work_cores for part in made.parts}
    assert work[fleet.EDGE] == pytest.approx((50_000 * 10 + 50_000 * 20) / 1e6)
    assert work[fleet.API] == pytest.approx((40_000 * 30 + 10_000 * 15) / 1e6)
    assert work[fleet.VALKEY] == pytest.approx((10_000 * 5 + 30_000 * 3) / 1e6)
    assert work[fleet.LANDING] == pytest.approx(10_000 / 10 * 25 / 1e6)
    assert {part.name: part.number for part in made.parts} == {
        fleet.EDGE: 3, fleet.API: 3, fleet.VALKEY: 1, fleet.REPLICA: 1, fleet.LANDING: 1,
    }  # fmt: skip
    assert (made.cores, made.limiting.name) == (9, fleet.EDGE)
    assert made.connections == 333_334
    assert made.wire_bits_s == 100_000 * 1_100 * 8
    assert made.valkey_bytes == pytest.approx(1.3 * (2_000_000 * 8 + 10_000 * 300 + fleet.SALES_FIELDS_BYTES))
    assert made.broken == []


@given(factor=st.integers(1, 50), busy=st.floats(0.1, 1))
def test_more_asks_for_no_less(factor: int, busy: float) -> None:
    """Given any factor / Then no part of the larger fleet is smaller, and no core is busier than allowed."""
    small, large = (fleet.of(DEMAND.times(by), MIX, COSTS, busy=busy) for by in (1, factor))
    for one, other in zip(small.parts, large.parts, strict=True):
        assert other.number >= one.number
        assert max(one.busy, other.busy) <= busy + 1e-9


def test_limits_that_a_plan_goes_beyond_are_named() -> None:
    """Given more primaries and reservations than there may be / Then both are named: what is needed and allowed."""
    demand = replace(DEMAND, peak=40_000_000, reserved=60_000_000, units=2_000_000)
    broken = fleet.of(demand, MIX, COSTS).broken
    assert [words.split(":")[0].split(" (")[0] for words in broken] == ["buckets of a sale", "reservations of a sale"]
    assert f"60,000,000 are needed, {limits.RESERVATIONS_MAX:,} is the most; 1.2 times too many" in broken[1]


def test_fewer_cores_than_needed_are_told_by_how_much() -> None:
    """Given a number of cores / Then a plan that needs more says how many, and where most of them go."""
    made = planned(DEMAND, MIX, COSTS)
    assert made.broken(made.fleet.cores) == []
    (words,) = made.broken(made.fleet.cores - 2)
    assert f"cores: {made.fleet.cores} are needed, {made.fleet.cores - 2} are there; 2 too few" in words
    assert all(str(value) for value in orjson.loads(orjson.dumps(made.as_data())).values())
    assert any("raise worker_connections" in line for line in made.words())


def test_the_edges_connections_are_those_of_its_file() -> None:
    """Given nginx's file / Then a plan knows how many connections it allows."""
    found = re.search(r"worker_connections (\d+);", (DEPLOY / "nginx" / "nginx.conf").read_text())
    assert found
    assert int(found[1]) == fleet.EDGE_CONNECTIONS


def test_a_prediction_is_the_sum_of_what_requests_cost() -> None:
    """Given the mix / Then a request costs what multiplying by hand gives; landing is no part of it."""
    assert predicted_us(MIX, COSTS) == pytest.approx(0.5 * 10 + 0.5 * 20 + 0.1 * 15 + 0.4 * 35)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"peak": 0}, "--peak"), ({"fans": 0}, "--fans"), ({"units": -1}, "--units"), ({"reserved": -1}, "--reserved")],
)
def test_a_demand_that_is_none_is_refused(wrong: dict[str, int], told: str) -> None:
    """When a number can't be / Then the option is named."""
    with pytest.raises(BadInputError, match=told):
        replace(DEMAND, **wrong)


@pytest.mark.parametrize("busy", [0, -1, 1.1])
def test_a_share_of_a_core_is_one(busy: float) -> None:
    """When a core is to be busy beyond all of it, or not at all / Then that is refused."""
    with pytest.raises(BadInputError, match="--busy"):
        fleet.of(DEMAND, MIX, COSTS, busy=busy)


# ---- calibrations


def test_a_calibration_is_a_benchs_report(tmp_path: Path) -> None:
    """Given the JSON of a bench in a file / Then it gives the costs."""
    file = tmp_path / "calibration.json"
    file.write_bytes(orjson.dumps(report()))
    assert calibration.read(file) == COSTS


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no json", "is not JSON"),
        (b"[]", "is not the report of a bench"),
        (orjson.dumps(report(edge={})), r"has no edge\.sold_out_cpu"),
        (orjson.dumps(report(writer={"landed_cpu": {"value": 0}})), r"writer\.landed_cpu is 0\.0, not above 0"),
        (orjson.dumps(report(http={**report()["http"], "purchase_cpu": {"value": 1}})), "on which machine"),
    ],
    ids=["no-json", "no-report", "missing", "zero", "machine"],
)
def test_a_calibration_that_is_none_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    """When the file is not a whole report / Then it says what is missing and how to get it."""
    file = tmp_path / "calibration.json"
    file.write_bytes(content)
    with pytest.raises(BadInputError, match=rf"(?s){told}.*flashsale bench http edge"):
        calibration.read(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """When there is no such file / Then that is said."""
    with pytest.raises(BadInputError, match="No such file"):
        calibration.read(tmp_path / "none.json")


def test_a_calibration_from_other_hardware_is_refused() -> None:
    """Given another processor / Then it is refused and both are named; the same one is taken."""
    calibration.refuse_foreign(COSTS, {"processor": "a core"})
    with pytest.raises(BadInputError, match=r"'a core', here it is 'another'.*--force"):
        calibration.refuse_foreign(COSTS, {"processor": "another"})


# ---- mixes


def test_the_release_day_is_a_mix() -> None:
    """When none is given / Then the release day's comes, which is whole."""
    made = mix.load()
    assert made.kept + made.refused + made.decided == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('words = "w"\nkept = 0.5\nrefused = 0.1\ndecided = 0.5', r"are 1\.1 together, not 1"),
        ('words = "w"\nkept = 1\nrefused = 0\ndecided = 0', "decided: "),
        ('words = "w"\nkept = 0.5\nrefused = 0\ndecided = 0.5\nodd = 1', "odd: "),
        ("words = ", "not valid TOML"),
    ],
    ids=["sum", "nothing", "odd", "toml"],
)
def test_a_mix_that_is_none_is_refused(tmp_path: Path, text: str, told: str) -> None:
    """When a mix is malformed / Then the key is named."""
    file = tmp_path / "mix.toml"
    file.write_text(text)
    with pytest.raises(BadInputError, match=told):
        mix.load(file)


# ---- a rehearsed day

DAY: Final = {
    "scenario": "note-qzone-2014", "scale": 0.01, "seed": 3,
    "published": {"reserved": 15_000_000, "on_page": 5_000_000, "peak_per_s": 800_000},
    "crowd": {"reserved": 150_000, "came": 50_000},
    "units": {"loaded": 1_500},
    "peak": {"requests": 10_000},
    "opening": {"requests": 9_800, "looks": 5_000,
             "by_outcome": {"WON": 1_500, "NO_RIGHT": 200, "SOLD_OUT": 2_500, "NOT_OPEN": 500, "ALREADY_BOUGHT": 100}},
}  # fmt: skip


def test_a_rehearsed_day_is_scaled_to_the_whole(tmp_path: Path) -> None:
    """Given a rehearsal's result / Then its opening is the mix: what holds for everybody is kept at the edge; the
    published peak, list and page stand for those seen, else these are scaled."""
    file = tmp_path / "day.json"
    file.write_bytes(orjson.dumps(DAY))
    demand, asked = rehearsed.read(file)
    assert (demand.peak, demand.fans, demand.reserved, demand.units) == (800_000, 5_000_000, 15_000_000, 150_000)
    assert asked.kept == pytest.approx(8_000 / 9_800)
    assert asked.refused == pytest.approx(200 / 9_800)
    assert asked.decided == pytest.approx(1_600 / 9_800)
    file.write_bytes(orjson.dumps(DAY | {"published": {}}))
    demand, _ = rehearsed.read(file)
    assert (demand.peak, demand.fans, demand.reserved) == (1_000_000, 5_000_000, 15_000_000)


@pytest.mark.parametrize("content", [b"x", b"[]", b"{}", orjson.dumps(DAY | {"scale": 0})])
def test_what_is_no_rehearsal_is_refused(tmp_path: Path, content: bytes) -> None:
    """When the file is no result of a rehearsal / Then that is said, and how to make one."""
    file = tmp_path / "day.json"
    file.write_bytes(content)
    with pytest.raises(BadInputError, match=r"not the result of a rehearsal.*flashsale rehearse note-qzone"):
        rehearsed.read(file)


def test_an_opening_in_which_nothing_is_decided_is_refused(tmp_path: Path) -> None:
    """Given a rehearsal that had nothing but refusals for everybody in that second / Then that is said."""
    file = tmp_path / "day.json"
    file.write_bytes(orjson.dumps(DAY | {"opening": {"looks": 1, "by_outcome": {"SOLD_OUT": 1}}}))
    with pytest.raises(BadInputError, match="No press was decided"):
        rehearsed.read(file)


# ---- the opening


def played(demand: Demand, made_for: Demand | None = None, *, seed: int = 1, at_once: float = 0.0) -> opening.Opening:
    """The opening of a fleet that was planned for that demand, or for another."""
    asked = MIX.model_copy(update={"at_once": at_once})
    made = fleet.of(made_for or demand, asked, COSTS)
    over = Fleet(demand, made.parts, 0, 0, 0, [])
    return opening.play(over, asked, COSTS, seed=seed)


def test_an_opening_sells_as_fast_as_fans_press() -> None:
    """Given a fleet that is large enough / Then all is sold when so many have pressed, and hardly anybody waits."""
    seen = played(DEMAND)
    assert seen.sold_out_s == pytest.approx(10_000 / 40_000, rel=0.1)
    assert seen.p99_s < opening.UNLOADED_S + 0.02
    assert seen.told_to_wait == 0


def test_who_comes_at_once_waits() -> None:
    """Given a tenth of a second's presses in the first moment / Then the wait is about what the slowest part needs for
    them."""
    calm, burst = played(DEMAND), played(DEMAND, at_once=0.1)
    assert burst.longest_s > 4_000 * 30e-6 / 3 * 0.5
    assert burst.p99_s > calm.p99_s


def test_a_fleet_that_is_too_small_is_seen() -> None:
    """Given three times the presses that it was planned for / Then waits grow as long as it sells."""
    large = replace(DEMAND, peak=300_000, units=200_000)
    seen = played(large, replace(large, peak=100_000))
    assert seen.p99_s > 0.3
    assert seen.sold_out_s > 200_000 / 120_000


def test_the_same_seed_plays_the_same() -> None:
    """Given the same seed / Then the same opening; given another, another."""
    assert played(DEMAND, seed=3) == played(DEMAND, seed=3) != played(DEMAND, seed=4)
