"""The load kit without servers: scenarios that hold together, records that are whole, shares that fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale import limits, plan
from flashsale.errors import BadInputError
from flashsale.outcomes import Outcome
from loadtest import scenario
from loadtest.crowd import Crowd, is_over
from loadtest.crowds import share_out
from loadtest.job import Job, read_job
from loadtest.records import OTHER, Answers, Seen, read
from tests.unit.test_plan_times import NOW

TIMES = {"opens": "+10s", "closes": "+6h", "reserve_opens": "-70s"}


@pytest.mark.parametrize("name", scenario.names())
@pytest.mark.parametrize("scale", [0.0001, 0.1, 1.0, 10.0])
def test_every_scenario_loads_and_scales(name: str, scale: float) -> None:
    """Given a scenario at a scale / Then its plan holds, in order of time, and units and fans are that share."""
    loaded = scenario.load(name)
    assert loaded.scenario == name
    assert loaded.words
    assert loaded.published.source
    assert loaded.bound.open_to_last_confirmed_s > 0
    if loaded.crowd.reserved * scale > limits.RESERVATIONS_MAX:
        with pytest.raises(BadInputError, match=r"reservation\.capacity"):
            scenario.scaled(loaded, scale=scale, sale=f"{name}-1", times=TIMES)
        return
    ready = scenario.scaled(loaded, scale=scale, sale=f"{name}-1", times=TIMES)
    times = plan.times(ready.plan, now=NOW)
    assert times.reserve_opens_ms is not None
    assert times.reserve_opens_ms < times.opens_ms < times.closes_ms
    assert [item.stock for item in ready.plan.items] == [
        max(1, round(item["stock"] * scale)) for item in loaded.sale["items"]
    ]
    assert ready.crowd.reserved == max(1, round(loaded.crowd.reserved * scale))
    assert ready.plan.reservation is not None
    assert ready.plan.reservation.capacity > ready.crowd.reserved, "every fan of the crowd can reserve"
    assert ready.crowd.presses_max == loaded.crowd.presses_max


def test_at_full_scale_the_published_units_are_sold_to_a_larger_crowd() -> None:
    """Given each scenario as it is / Then it loads the units that were published, for a crowd that wants them all."""
    for name in scenario.names():
        loaded = scenario.load(name)
        units = sum(item["stock"] for item in loaded.sale["items"])
        assert units < loaded.crowd.reserved * loaded.crowd.come_share, name
        assert loaded.published.units in {units, None}, name


def test_stock_may_have_a_scale_of_its_own() -> None:
    """Given a demo with a tenth of the crowd / Then its stock may stay whole."""
    ready = scenario.scaled(scenario.load("demo"), scale=0.1, sale="d", times=TIMES, stock_scale=1.0)
    assert [item.stock for item in ready.plan.items] == [600, 300, 100]
    assert ready.crowd.reserved == 500


@pytest.mark.parametrize("name", ["", "no-such-day", "../records", "demo.toml"])
def test_an_unknown_scenario(name: str) -> None:
    """Given a name that is none / Then it is refused, with the names there are."""
    with pytest.raises(BadInputError, match="demo, faults, mi3-wechat-2013"):
        scenario.load(name)


ANSWER = st.tuples(
    st.sampled_from([OTHER, *Outcome]), st.integers(0, 49), st.floats(0, 2e9), st.floats(0, 2e9)
)  # fmt: skip


@given(st.lists(st.tuples(st.lists(ANSWER), st.lists(ANSWER), st.integers(0, 9)), min_size=1, max_size=3))
def test_what_crowds_wrote_down_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, crowds: list[tuple[list[Any], list[Any], int]]
) -> None:
    """Given what several crowds saw / When each writes it down and all are read / Then nothing is lost or changed."""
    folders = [tmp_path_factory.mktemp("seen") for _ in crowds]
    wins: dict[str, tuple[str, str, int, str]] = {}
    for number, (folder, (reservations, purchases, count)) in enumerate(zip(folders, crowds, strict=True)):
        own = {f"o{number}-{n}": (f"小f{n}", "a", n, "accepted") for n in range(count)}
        seen = Seen(wins=own, offered=count, transport_errors=1, paid=2)
        for answers, column in (
            (seen.reservations, reservations),
            (seen.purchases, purchases),
            (seen.looks, reservations),
        ):
            for one in column:
                answers.add(*one)
        seen.write(folder)
        wins |= own
    together = read(folders)
    assert together.wins == wins
    assert (together.offered, together.transport_errors) == (sum(count for *_, count in crowds), len(crowds))
    assert together.paid == 2 * len(crowds)
    assert _lines(together.reservations) == [one for reservations, _, _ in crowds for one in reservations]
    assert _lines(together.looks) == _lines(together.reservations)
    assert _lines(together.purchases) == [one for _, purchases, _ in crowds for one in purchases]
    assert sum(together.purchases.by_outcome().values()) == len(together.purchases)


def _lines(answers: Answers) -> list[tuple[int, int, float, float]]:
    return list(zip(answers.codes, answers.items, answers.sent, answers.answered, strict=True))


def job(*, fans: int, late: int, connections: int = 64) -> Job:
    """A crowd's job."""
    return Job(
        host="127.0.0.1", port=1, sale="s", items=("a", "b"), weights=(1.0, 2.0), channels=("web",), name="fan",
        first=5, last=5 + fans, without_right=late, opens_s=1e9, presses_max=3, early_share=0.1, arrive_mean_s=3.0,
        repeat_share=0.1, pay_share=0.1, connections=connections, seed=7, out="",
    )  # fmt: skip


@given(fans=st.integers(0, 10_000), late=st.integers(0, 999), processes=st.integers(1, 64))
def test_every_fan_is_shared_out_once(fans: int, late: int, processes: int) -> None:
    """Given any crowd and number of processes / Then each fan is in one share; seeds and folders differ."""
    whole = job(fans=fans, late=late)
    shares = share_out(whole, processes=processes, folder=Path("/f"))
    assert [n for share in shares for n in range(share.first, share.last)] == list(range(whole.first, whole.last))
    assert sum(share.without_right for share in shares) == late
    sizes = [share.last - share.first for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert len({share.seed for share in shares}) == len({share.out for share in shares}) == processes
    assert all(share.connections >= 1 for share in shares)


def due_of(made: Job) -> tuple[Crowd, list[tuple[float, str, bool]]]:
    """A crowd whose fans have reserved, and what is due: when, whose, whether it is a look."""
    crowd = Crowd(made, jwt_key="k")
    crowd._plan_presses()
    return crowd, sorted((due.at, due.fan.name, due.look) for due in crowd._due)


def test_a_share_of_those_who_reserved_comes_and_looks_before_it_presses() -> None:
    """Given 3,000 fans of whom a third comes, and looks for up to 20 s / Then about so many press, each looks first,
    none looks after the press, and who stays away does neither."""
    _, due = due_of(replace(job(fans=3_000, late=0), come_share=1 / 3, look_ahead_s=20.0))
    presses = {name: at for at, name, look in due if not look}
    looks = {name: at for at, name, look in due if look}
    assert 900 < len(presses) < 1_100
    assert looks.keys() == presses.keys()
    assert all(0 < presses[name] - at <= 20 for name, at in looks.items())


def test_who_looked_looks_again_until_they_press() -> None:
    """Given a fan who looks every second or so / When they have looked / Then the next look is due, but none after
    their press, and none when the crowd goes home."""
    crowd, _ = due_of(replace(job(fans=1, late=0), look_ahead_s=20.0, look_every_s=1.0))
    fan = crowd._fans[0]
    crowd._due.clear()
    crowd._plan_look(fan, fan.comes_at - 0.5)
    crowd._plan_look(fan, fan.comes_at + 0.5)
    assert [(due.look, due.at) for due in crowd._due] == [(True, fan.comes_at - 0.5)]
    crowd.leave()
    crowd._plan_look(fan, fan.comes_at - 0.2)
    assert crowd._due == []


def test_without_looks_everything_is_planned_as_before() -> None:
    """Given a crowd that does not look and comes whole / Then each fan presses once, and nothing else is due."""
    _, due = due_of(job(fans=200, late=10))
    assert len({name for _, name, _ in due}) == len(due) == 210
    assert not any(look for _, _, look in due)


@pytest.mark.parametrize(
    ("status", "reply", "over"),
    [
        (0, b"", False), (200, b"{}", False), (404, b'{"type":"no-such-order"}', True),
        (409, b'{"type":"order-over","state":"cancelled"}', True), (409, b'{"type":"not-confirmed-yet"}', False),
        (503, b'{"type":"order-over"}', False),
    ],
)  # fmt: skip
def test_nobody_asks_again_for_an_order_that_is_over(status: int, reply: bytes, *, over: bool) -> None:
    """Given an answer to who wants to pay / Then one that will not change is known, and others are asked for again."""
    assert is_over(status, reply) is over


def test_a_job_is_read_back(tmp_path: Path) -> None:
    """Given a job / When it is written for a process / Then that one reads the same."""
    job(fans=3, late=1).write(tmp_path / "job.json")
    assert read_job(tmp_path / "job.json") == job(fans=3, late=1)
