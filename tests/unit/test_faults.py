"""Faults without servers: how they are asked for, when they fail a run, and what a soak draws."""

import subprocess
import sys
from array import array
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flashsale.bench.uvicorns import free_port
from flashsale.errors import BadInputError, FlashsaleError
from flashsale.outcomes import Outcome
from loadtest import soak, tail
from loadtest.faults import __main__ as suite
from loadtest.faults import catalogue, runs
from loadtest.faults.base import CLUSTER, SINGLE, After, Fault
from loadtest.faults.catalogue import FAULTS
from loadtest.faults.clocks import Clocks
from loadtest.faults.scene import STOPPED, Scene, held, state_of
from loadtest.faults.valkey import last_lines
from loadtest.faults.webhooks import Webhooks
from loadtest.records import Seen
from loadtest.rehearsal import Options
from loadtest.verdict import Allowed, Landed
from tests.support.waiting import until

OPENS_S = 1000.0


def test_every_fault_of_the_design_has_a_name() -> None:
    """Given the faults F1 to F12 / Then each is there, with words, and at a topology."""
    assert {f"F{number}" for number in range(1, 13)} <= FAULTS.keys()
    assert all(kind.words and set(kind.topologies) <= {SINGLE, CLUSTER} for kind in FAULTS.values())


def test_a_moment_is_taken_as_given_or_drawn_by_the_seed() -> None:
    """Given a fault with and one without a moment / Then the one is as given, the other the same for the same seed."""
    given, drawn = catalogue.asked_for(["F1@2.5", "F1"], topology=SINGLE, seed=7)
    assert given.at_s == 2.5
    assert catalogue.AT_S[0] <= drawn.at_s <= catalogue.AT_S[1]
    again = catalogue.asked_for(["F1@2.5", "F1"], topology=SINGLE, seed=7)
    other = catalogue.asked_for(["F1@2.5", "F1"], topology=SINGLE, seed=8)
    assert again[1].at_s == drawn.at_s != other[1].at_s


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("F99", "there is no fault F99"), ("", "there is no fault"), ("F1@", "seconds after the opening"),
        ("F1@soon", "seconds after the opening"), ("F1@-1", "0 to 3600"), ("F1@nan", "0 to 3600"),
        ("F1@3601", "0 to 3600"), ("F5", "needs --topology cluster"),
    ],
)  # fmt: skip
def test_an_unusable_fault(text: str, says: str) -> None:
    """Given a fault that is none, at no moment, or at the wrong topology / Then it is refused with a sentence."""
    with pytest.raises(BadInputError, match=says):
        catalogue.asked_for([text], topology=SINGLE, seed=1)


class _Played(Fault):
    """A fault that has been played from 3 to 5 s after the opening."""

    name = "F0"
    words = "none"
    lose = frozenset({"accepted"})

    def __init__(self, *, seen: int = 1, free: int = 10) -> None:
        super().__init__(3.0)
        self.began_at_s, self.healed_at_s = 3.0, 5.0
        self._seen = seen
        self.observed["free_when_healed"] = free

    async def inject(self, scene: Scene) -> None:
        """Nothing."""

    def seen_to_work(self) -> int:
        """As the test says."""
        return self._seen


def _after(*, wins_at: tuple[float, ...] = (6.0,)) -> After:
    seen = Seen(wins={"o1": ("f1", "a", 1, "accepted"), "o2": ("f2", "a", 2, "replicated")})
    for at in wins_at:
        seen.purchases.add(Outcome.WON, 0, OPENS_S + at - 0.1, OPENS_S + at)
    landed = Landed({"o2": ("f2", "a", 2)}, {}, 0, 0, 0, 0, None, {}, None)
    return After(seen=seen, landed=landed, allowed=Allowed(lose=_Played.lose), opens_s=OPENS_S, result={})


def test_a_fault_that_did_something_and_healed_is_no_reason() -> None:
    """Given a fault that was seen, and a win a second later / Then no reason, and what was seen stands there."""
    fault = _Played()
    assert fault.conclude(_after()) == []
    seen: Mapping[str, Any] = fault.as_data()["observed"]
    assert seen["next_win_s"] == 1.0
    assert seen["wins_by_level"] == {"accepted": 1, "replicated": 1}
    assert (seen["lost_tail"], seen["lost"]) == (["o1"], 1)


def test_a_fault_has_a_line_of_what_was_seen() -> None:
    """Given a fault that was played, and one that was not / Then the line says what it is, what was in flight, when the
    next win came, and in short what was seen; or why it was skipped."""
    fault = _Played()
    fault.observed |= {"in_flight": {"presses": 3, "outbox": 4}, "killed": 2, "recover_said": "many\nlines"}
    fault.conclude(_after())
    seen = "free when healed 10, killed 2, won on retry 0, lost 1, WON 1"
    assert runs.fault_cells(fault.as_data()) == ("F0 none", "3", "3 + 4", "1.0", seen)
    assert len(runs.FAULT_COLUMNS) == 5
    fault.observed["skipped"] = "no small file system"
    assert runs.fault_cells(fault.as_data())[-1] == "skipped: no small file system"


def test_what_recover_said_begins_at_a_line() -> None:
    """Given what somebody said / When only its end is kept / Then from a line's beginning; a short text is kept whole,
    and of one endless line its end."""
    assert last_lines("short\ntext") == "short\ntext"
    lines = [f"line {number:03}" for number in range(100)]
    kept = last_lines("\n".join(lines)).splitlines()
    assert kept == lines[-len(kept) :]
    assert 400 < sum(len(line) + 1 for line in kept) <= 501
    assert last_lines("x" * 900) == "x" * 500


def test_a_fault_that_did_nothing_fails_the_run() -> None:
    """Given a fault of which nothing was seen / Then that is the reason."""
    assert _Played(seen=0).conclude(_after()) == ["F0 injected nothing that could be seen"]


def test_a_fault_that_came_too_late_fails_the_run() -> None:
    """Given a fault that never began / Then that is the reason."""
    fault = _Played()
    fault.began_at_s = fault.healed_at_s = None
    assert fault.conclude(_after()) == ["F0 injected nothing: it was to begin 3 s after the opening, and all was over"]


@pytest.mark.parametrize("wins_at", [(), (4.9,), (36.0,)])
def test_selling_has_to_go_on(wins_at: tuple[float, ...]) -> None:
    """Given no win, or none within 30 s after it healed, with units free / Then that is the reason."""
    reasons = _Played().conclude(_after(wins_at=wins_at))
    assert reasons == ["F0: selling did not go on within 30 s after it healed"]
    assert _Played(free=0).conclude(_after(wins_at=wins_at)) == [], "where all was sold nothing can go on"


def test_a_skipped_fault_is_told_and_is_no_failure() -> None:
    """Given a fault that can't be done here / Then no reason, but the words why."""
    fault = _Played(seen=0)
    fault.skipped = "no small file system"
    assert fault.conclude(_after()) == []
    assert fault.observed["skipped"] == "no small file system"


def test_answers_are_counted_by_their_time() -> None:
    """Given answers / Then those within a time are counted, and the next after a moment is found."""
    told = _after(wins_at=(1.0, 2.0, 7.5)).seen.purchases
    assert told.within(Outcome.WON, OPENS_S + 1.0, OPENS_S + 2.0) == 2
    assert told.within(Outcome.WAIT, 0, 1e12) == 0
    assert told.next_after(Outcome.WON, OPENS_S + 2.0) == 5.5
    assert told.next_after(Outcome.WON, OPENS_S + 8) is None
    assert told.codes == array("H", [Outcome.WON] * 3)


@pytest.mark.parametrize("topology", [SINGLE, CLUSTER])
def test_a_soak_draws_the_same_faults_for_a_seed(topology: str) -> None:
    """Given a seed / Then the faults are the same, all possible here, some two at once; another seed, others."""
    options = soak.Options(minutes=10, seed=3, topology=topology, ack="accepted")
    drawn = soak.picks(options)
    assert drawn == soak.picks(options) != soak.picks(replace(options, seed=4))
    assert {len(pick) for pick in drawn} == {1, 2}
    assert all(len(set(pick)) == len(pick) for pick in drawn)
    names = {name for seed in range(8) for pick in soak.picks(replace(options, seed=seed)) for name in pick}
    assert names == {n for n, kind in FAULTS.items() if topology in kind.topologies}
    for seed in range(8):
        alone = {name for pick in soak.picks(replace(options, seed=seed)) for name in pick} & set(soak.OWN_GROUND)
        assert len(alone) <= 1, "a small disk and clocks from files don't go together"
    assert options.command == f"flashsale soak --minutes 10 --topology {topology} --ack accepted --seed 3"


GOOD: Mapping[str, list[tuple[str, str, bool]]] = {
    "refused": [("pending", "confirmed", False)],
    "paid": [("succeeded", "paid", False)],
    "late": [("succeeded", "cancelled", True), ("refund_due", "cancelled", False)],
}


@pytest.mark.parametrize(
    ("kind", "effect", "let_go", "says"),
    [
        ("paid", ("succeeded", "paid", False), False, None),
        ("paid", ("pending", "confirmed", False), False, "paid webhooks had the effects"),
        ("paid", ("succeeded", "confirmed", False), False, "paid webhooks had the effects"),
        ("paid", ("late", "cancelled", False), True, None),
        ("paid", ("late", "cancelled", False), False, "orders that nobody let go were over"),
        ("paid", ("pending", "cancelled", False), True, "paid webhooks had the effects"),
        ("paid", ("succeeded", "cancelled", False), True, "paid webhooks had the effects"),
        ("refused", ("succeeded", "paid", False), False, "refused webhooks had the effects"),
        ("refused", ("refund_due", "cancelled", False), True, "refused webhooks had the effects"),
        ("late", ("succeeded", "paid", False), False, "late webhooks had the effects"),
        ("late", ("pending", "cancelled", False), False, "late webhooks had the effects"),
    ],
)
def test_webhooks_have_the_effects_that_they_may(
    kind: str, effect: tuple[str, str, bool], says: str | None, *, let_go: bool
) -> None:
    """Given what payments came to / Then an order is paid by the money that is for it, unless somebody let it go first;
    then the money pays another or goes back. What is refused leaves its payment pending."""
    fault = Webhooks(3.0)
    fault.observed["answers_to_webhooks"] = {"paid": {"204": 3}, "late": {"204": 2}, "forged": {"401": 1}}
    fault._effects = {**GOOD, kind: [*GOOD[kind], effect]}
    after = _after()
    after.seen.cancelled = int(let_go)
    reasons = fault.reasons(after)
    assert [says is not None and says in reason for reason in reasons] == ([True] if says else [])


def test_seeds_are_numbers_and_ranges() -> None:
    """Given seeds in words / Then they are told apart in their order; what is none, or too many, is refused."""
    assert runs.seeds_of("7") == [7]
    assert runs.seeds_of("1-3,9") == [1, 2, 3, 9]
    for text in ("", "a", "1-", "3-1", "1-101", "1--3"):
        with pytest.raises(BadInputError, match="--seed"):
            runs.seeds_of(text)


def test_a_failed_run_does_not_keep_the_others_from_their_turn() -> None:
    """Given a run that trouble ends and one that passes / Then both have a line; the failed one says how to repeat."""

    def rehearse(name: str, options: Options) -> Mapping[str, Any]:
        if options.seed == 1:
            raise FlashsaleError("the crowd stood still")
        return {"verdict": "pass", "reasons": [], "faults": [], "lost_tail": ["o1"]}

    said: list[str] = []
    failed, passed = runs.play("faults", suite.runs(["F7"], seeds=[1, 2]), said.append, rehearse=rehearse)
    assert (failed.verdict, passed.verdict, passed.lost_tail) == ("fail", "pass", ["o1"])
    assert said[1:3] == [
        "        the crowd stood still",
        "        again: flashsale rehearse faults --fault F7 --topology single --ack accepted --seed 1",
    ]


def test_the_tail_that_is_reported_is_the_one_that_fans_found() -> None:
    """Given orders lost by Postgres's word and by the api's / Then what only one of them says is a reason."""
    assert tail.differences(lost=["a", "b"], denied=["b", "a"]) == []
    (hidden,) = tail.differences(lost=["a", "b"], denied=["a"])
    assert hidden.startswith("1 orders are not in Postgres, but")
    assert "b" in hidden
    (unknown,) = tail.differences(lost=[], denied=["c"])
    assert unknown.startswith("1 orders are in Postgres, but")


def test_the_suite_runs_each_fault_wherever_it_can_be() -> None:
    """Given no choice / Then each fault comes at each of its topologies; a choice is kept, a wrong one refused."""
    found = {(run.faults[0], run.topology) for run in suite.runs([])}
    possible = {(name, topology) for name, kind in FAULTS.items() for topology in kind.topologies}
    assert found == possible - set(suite.LEFT_OUT)
    assert {name for name, _ in found} == FAULTS.keys()
    assert {run.ack for run in suite.runs(["F5"])} == {"accepted", "replicated"}
    assert {run.topology for run in suite.runs([], topology=SINGLE)} == {SINGLE}
    assert [run.seed for run in suite.runs(["F7"], seeds=[3, 4])] == [3, 4]
    with pytest.raises(BadInputError, match="F77"):
        suite.runs(["F77"])


def test_a_process_that_another_fault_has_killed_is_gone() -> None:
    """Given a process that is held / Then it is seen to stand still; killed meanwhile, it is gone, and no error."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with held([process.pid]):
        until(lambda: state_of(process.pid) == STOPPED, what="it stands still")
        process.kill()
        process.wait()
        assert state_of(process.pid) == ""


async def test_a_clock_is_not_seen_while_the_api_is_away() -> None:
    """Given an api that another fault has killed / When its clock is looked at / Then it is not seen, and no error."""
    clocks = Clocks(at_s=1.0)
    clocks.observed["api_clock_off_s"] = 0.0
    away = cast(Any, SimpleNamespace(base_url=f"http://127.0.0.1:{free_port()}"))
    assert await clocks._seen_off(away) is False
    assert clocks.seen_to_work() == 0
