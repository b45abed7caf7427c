"""A small run of the suites on servers of their own: right answers, the promised metrics, nothing left behind."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from flashsale import bench
from flashsale.bench import conditions, crowded, edge, engine, lane, levels, memory, nginx, scale, writer
from flashsale.bench.ground import Ground, attempts, fans, own_ground
from flashsale.bench.report import Metric
from flashsale.capacity import certify, mix
from flashsale.embedded import EmbeddedError
from flashsale.errors import InvariantError
from flashsale.outcomes import Outcome
from tests.support.costs import COSTS
from tests.support.servers import missing

pytestmark = pytest.mark.servers

SIZES = engine.Sizes(batched=640, one_each=100, pipelined=100)


@pytest.fixture
async def ground(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Ground]:
    """Servers of the bench's own; its folder is gone afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    try:
        async with own_ground() as found:
            yield found
    except EmbeddedError as trouble:
        missing(str(trouble))
    assert not left_in(tmp_path)


def left_in(folder: Path) -> list[Path]:
    """What a bench left behind in the folder for temporary files."""
    return list(folder.glob("flashsale-bench-*"))


def names(metrics: list[Metric]) -> set[str]:
    """The metrics without those of CPU, which only some systems tell."""
    return {metric.full_name for metric in metrics if not metric.name.endswith("_cpu")}


async def test_engine_measures_wins_and_losses(ground: Ground) -> None:
    """Given tiny numbers / When engine runs one round / Then its metrics are there, positive, with conditions."""
    told: list[str] = []
    metrics = await engine.run(ground, rounds=1, on_progress=told.append, sizes=SIZES)

    assert names(metrics) == {"engine.wins", "engine.wins_pipelined", "engine.losses", "engine.losses_pipelined"}
    assert all(metric.value > 0 and metric.reference_value > 0 and metric.rounds == 1 for metric in metrics)
    assert all(metric.conditions["seed"] for metric in metrics)
    assert any("engine.losses, round 1 of 1" in line for line in told)


async def test_the_lane_is_measured_in_memory(ground: Ground) -> None:
    """Given memory instead of sockets and Valkey / When lane runs one round / Then presses and refusals stand beside a
    constant, each request was answered, and the steps of a press are told."""
    metrics = await lane.run(ground, rounds=1, on_progress=lambda line: None)
    assert names(metrics) == {"lane.press", "lane.refusal"}
    steps = metrics[0].conditions["steps_us"]
    assert {"right checked", "reply written"} < set(steps)
    assert all(0 < step < 1_000 for step in steps.values())


async def test_engine_measures_no_wrong_answer(ground: Ground) -> None:
    """Given a sale with less stock than attempts / When wins are measured / Then it stops instead of reporting."""
    decisions = engine.Decisions(ground, outcome=Outcome.ALREADY_BOUGHT, sizes=SIZES)
    for contender in decisions.contenders():
        with pytest.raises(InvariantError, match="must all get ALREADY_BOUGHT"):
            await contender.once()


async def test_writer_and_memory_measure(ground: Ground) -> None:
    """Given tiny numbers / When they run / Then orders landed, a reservation costs less than a SET's, and a buyer less
    once the order has landed."""
    of_writer = await writer.run(ground, rounds=1, on_progress=lambda what: None, orders=300)
    reservation, order, buyer = await memory.run(ground, rounds=1, on_progress=lambda what: None, number=20_000)

    assert names(of_writer) == {"writer.landed", "writer.landed_own"}
    assert all(metric.value > 0 and metric.reference_value > 0 for metric in of_writer)
    assert reservation.full_name == "memory.reservation"
    assert 8 < reservation.value < reservation.reference_value / 3
    assert (order.full_name, buyer.full_name) == ("memory.order", "memory.buyer")
    assert buyer.reference_value < buyer.value < order.value


async def test_a_whole_list_is_measured_beside_none(ground: Ground) -> None:
    """Given a small list / When crowded runs a round / Then all are in it, and all attempts won in both."""
    reservation, wins, *_ = await crowded.run(ground, rounds=1, on_progress=lambda what: None, number=20_300, each=640)
    assert (reservation.full_name, wins.full_name) == ("crowded.reservation", "crowded.wins")
    assert 8 < reservation.value < reservation.reference_value / 3
    assert (wins.value > 0, reservation.conditions["fans"]) == (True, 20_300)


async def test_the_edge_is_measured_beside_a_constant(ground: Ground) -> None:
    """Given short rounds / When edge runs one / Then "sold out" has its figure, few of those presses reached the app,
    and presses that go through have theirs."""
    if nginx.program() is None:
        missing(nginx.MISSING)
    metrics = await edge.run(ground, rounds=1, on_progress=lambda what: None, seconds=1.0)

    assert names(metrics) == {"edge.sold_out", "edge.passed"}
    said = metrics[0].conditions
    assert metrics[0].value > 0
    assert metrics[0].reference_value > 0
    assert 0 < said["reached_the_app"] < said["answers"] / 10


@pytest.mark.timeout(120)
async def test_a_prediction_is_put_to_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Given a mix and costs that are a thousandth of any machine's / When it is certified / Then every request of the
    mix had its right answer, and the prediction is seen to be far off."""
    if nginx.program() is None:
        missing(nginx.MISSING)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tiny = replace(COSTS, **{name: getattr(COSTS, name) / 1_000 for name in COSTS.__slots__ if name.endswith("_us")})
    told: list[str] = []
    seen = await certify.certify(mix.load(), tiny, on_progress=told.append, rounds=1, seconds=1.0)
    assert told[-1] == "certify: round 1 of 1"
    assert 0 < seen.measured_s < seen.predicted_s / 100
    assert (seen.measured_us > 10, 0 < seen.busy <= 1.1, seen.within) == (True, True, False)
    assert "NOT within 20%" in seen.words()


@pytest.mark.timeout(240)
async def test_what_a_purchase_costs_in_more_buckets_and_by_more_processes(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given short rounds and fewer processes / When scale runs one / Then both have a figure beside one of each."""
    monkeypatch.setattr(scale, "PROCESSES", 2)
    metrics = await scale.run(ground, rounds=1, on_progress=lambda what: None, seconds=1.0, rate_max=40_000)

    assert [metric.full_name for metric in metrics] == ["scale.buckets", "scale.processes"]
    assert all(metric.value > 0 and metric.reference_value > 0 for metric in metrics)


@pytest.mark.timeout(120)
async def test_levels_are_measured_beside_accepted(ground: Ground) -> None:
    """Given short rounds / When levels runs one / Then each level above accepted has its rate and its reply times,
    every win was told at its level, and accepted is what they are compared with."""
    loads = (levels.Load("few", 2, seconds=0.2), levels.Load("many", 8, seconds=0.2))
    metrics = await levels.run(ground, rounds=1, on_progress=lambda what: None, loads=loads)

    figures = ("", "_p50", "_p99", "_crowded_p50", "_crowded_p99")
    assert names(metrics) == {
        f"levels.{level}{figure}" for level in ("replicated", "fsynced", "confirmed") for figure in figures
    }
    assert all(metric.reference_name.startswith("accepted, ") for metric in metrics)
    assert all(metric.value > 0 and metric.reference_value > 0 for metric in metrics)
    assert {metric.conditions["at_level"] for metric in metrics} == {1.0}


async def test_conditions_name_code_versions_and_machine(ground: Ground) -> None:
    """Given running servers / Then commit, versions and machine are said."""
    said = await conditions.of_ground(ground)

    assert set(said) == {"commit", "versions", "machine"}
    assert {"flashsale", "python", "valkey", "postgres", "uvicorn"} <= set(said["versions"])
    assert said["machine"]["cores"] >= 1


def test_the_crowd_can_be_had_again() -> None:
    """Given a seed / Then attempts are the same again, and no fan comes twice."""
    assert attempts(100) == attempts(100)
    assert attempts(100) != attempts(100, seed=1)
    assert len(set(fans(1000) + fans(1000, first=1000))) == 2000
    assert {len(fan) for fan in fans(1000)} == {28}


def test_every_suite_of_the_command_is_known() -> None:
    """Given the command's suites / Then they are these."""
    assert set(bench.SUITES) == {
        "http",
        "lane",
        "edge",
        "engine",
        "writer",
        "memory",
        "scale",
        "crowded",
        "levels",
        "levels_cluster",
    }
