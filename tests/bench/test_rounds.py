"""The order of the rounds, and their medians."""

import asyncio

import pytest

from flashsale import bench
from flashsale.bench.rounds import Contender, Run, busy, interleaved, median_cpu_us, median_rate, ratios, timed
from flashsale.errors import BadInputError


async def test_contenders_take_turns_after_a_warm_up() -> None:
    """Given two contenders / When three rounds run / Then they take turns, and the warm-up counts for neither."""
    turns: list[str] = []

    def contender(name: str) -> Contender:
        async def once() -> Run:
            turns.append(name)
            return Run(len(turns), 1.0, None)

        return Contender(name, once)

    told: list[str] = []
    runs = await interleaved([contender("a"), contender("b")], rounds=3, on_progress=told.append)

    assert turns == ["a", "b"] * 4
    assert [run.operations for run in runs["a"]] == [3, 5, 7]
    assert told[0] == "warm-up: a"
    assert told[-1] == "round 3 of 3: b"


def test_medians_don_t_mind_one_bad_round() -> None:
    """Given five rounds, one of them disturbed / Then median and ratios are those of the others."""
    ours = [Run(100, seconds, 0.5) for seconds in (1.0, 1.0, 9.0, 1.0, 1.0)]
    reference = [Run(50, 1.0, 0.5)] * 5

    assert (median_rate(ours), median_rate(reference)) == (100, 50)
    assert median_cpu_us(ours) == 5_000
    assert sorted(ratios(ours, reference))[1:] == [2, 2, 2, 2]
    assert busy(ours) == 0.5


def test_a_round_without_cpu_gives_no_cpu_median() -> None:
    """Given a system that doesn't tell CPU / Then there is no figure rather than a wrong one."""
    assert median_cpu_us([Run(1, 1, 0.1), Run(1, 1, None)]) is None
    assert busy([Run(1, 1, None)]) is None


async def test_time_is_taken_of_the_work_only() -> None:
    """Given work and a CPU clock / When it is timed / Then operations, seconds and CPU are the work's."""
    clock = iter([10.0, 10.5])

    async def work() -> int:
        await asyncio.sleep(0)
        return 42

    run = await timed(work, cpu_s=lambda: next(clock))

    assert (run.operations, run.cpu_s) == (42, 0.5)
    assert run.seconds > 0


@pytest.mark.parametrize(
    ("suites", "rounds", "words"),
    [([], 5, "at least one"), (["engin"], 5, "no suite engin. Known are"), (["engine"], 0, "--rounds: must be 1")],
)
async def test_what_can_t_be_run_is_refused_before_anything_starts(suites: list[str], rounds: int, words: str) -> None:
    """Given no suite, an unknown one, or no rounds / Then it is refused in words, and nothing was begun."""
    told: list[str] = []
    with pytest.raises(BadInputError, match=words):
        await bench.run(suites, rounds=rounds, on_progress=told.append)
    assert not told
