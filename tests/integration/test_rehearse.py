"""flashsale rehearse as a person runs it: a small release day passes, says what it promises, and leaves nothing."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from flashsale.outcomes import Outcome
from tests.integration.cli_process import Cli, bare_environment
from tests.support.programs import folders_of, processes_naming, running
from tests.support.waiting import until

pytestmark = pytest.mark.servers
SLOW: Final = [pytest.mark.slow, pytest.mark.timeout(240)]
LATENCY: Final = {"p50", "p99", "p999", "max"}
ITEM: Final = {"item", "pool", "loaded", "free", "moving", "outbox", "live", "returning", "difference"}
# The form that others read. None: a plain value, or a table whose names are not fixed.
FORM: Final[dict[str, set[str] | None]] = {
    "scenario": None, "published": {"units", "seconds", "source"}, "seed": None, "scale": None, "topology": None,
    "ack": None, "commit": None, "versions": {"python", "valkey", "postgres"},
    "machine": {"cores", "system", "processor"},
    "units": {"loaded", "sold", "returned", "free"},
    "attempts": {"offered", "answered", "by_outcome", "transport_errors"},
    "orders": {"accepted", "confirmed", "paid", "expired", "missing", "lost", "replaced", "refused",
               "untold", "duplicate", "oversold", "set_aside"},
    "seconds": {"open_to_first_win", "open_to_last_unit", "open_to_last_confirmed"},
    "sold_out_bound_ms": {"p50", "p99", "max"},
    "latency_ms": {"reservation", "purchase"},
    "rates": {"attempts_per_s", "wins_per_s", "confirmed_per_s"},
    "peak": {"at_s", "requests", "looks", "by_outcome"}, "opening": {"at_s", "requests", "looks", "by_outcome"},
    "crowd": {"reserved", "came"},
    "lost_tail": None, "faults": None, "audit": {"balanced", "items"}, "verdict": None, "reasons": None,
    "logs": None,
}  # fmt: skip


@dataclass(slots=True)
class Rehearsed:
    """How it ended. processes: those seen while it ran; left: those and the folders that were there afterwards."""

    status: int = -1
    result: dict[str, Any] = field(default_factory=dict)
    said: str = ""
    processes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Rehearsed:
    """One rehearsal for all tests of this file, with a folder for temporary files of its own."""
    folder, temporary = tmp_path_factory.mktemp("rehearse"), tmp_path_factory.mktemp("temporary")
    arguments = ("rehearse", "mi3-wechat-2013", "--scale", "0.002", "--seed", "1", "--json")
    found = Rehearsed()
    states: list[Path] = []

    def beside() -> list[Path]:
        return [path for state in states for path in folders_of(state)]

    def started() -> bool:
        states[:] = temporary.glob("rehearsal-*/state")
        found.processes = processes_naming(temporary, *beside())
        return program.process.poll() is not None or any("loadtest.crowd" in one for one in found.processes)

    with running(folder, *arguments, TMPDIR=str(temporary)) as program:
        until(started, what="the crowd has come", deadline_s=60)
        found.status = program.wait(180)
        found.said = program.said + program.err.read_text()
        assert found.status == 0, found.said
        found.result = json.loads(program.said)
    folders = [*temporary.iterdir(), *(path for path in beside() if path.exists())]
    found.left = [*processes_naming(temporary, *beside()), *map(str, folders)]
    assert states, "its state folder was seen"
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_small_day_passes(rehearsed: Rehearsed) -> None:
    """Given the scenario at 0.002 / Then exit 0, 300 units sold to 300 fans, and the figures agree."""
    result = rehearsed.result
    assert (rehearsed.status, result["verdict"], result["reasons"]) == (0, "pass", []), rehearsed.said
    assert result["units"] == {"loaded": 300, "sold": 300, "returned": 0, "free": 0}
    assert (result["seed"], result["scale"], result["topology"], result["ack"]) == (1, 0.002, "single", "accepted")
    attempts, orders = result["attempts"], result["orders"]
    assert sum(attempts["by_outcome"].values()) == attempts["answered"]
    assert attempts["by_outcome"]["WON"] == orders["accepted"] == orders["confirmed"] == 300
    assert [orders[name] for name in ("missing", "duplicate", "oversold", "set_aside")] == [0] * 4
    assert result["audit"]["balanced"]
    assert [(item["item"], item["live"]) for item in result["audit"]["items"]] == [("silver", 180), ("black", 120)]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_form_is_the_one_that_others_read(rehearsed: Rehearsed) -> None:
    """Given its standard output / Then it is one JSON document with just the names that were promised, in order."""
    result = rehearsed.result
    assert list(result) == list(FORM)
    for name, names in FORM.items():
        assert names is None or set(result[name]) == names, name
    assert all(set(told) == LATENCY for told in result["latency_ms"].values())
    assert set(result["attempts"]["by_outcome"]) <= {*Outcome.__members__, "OTHER"}
    assert (result["faults"], result["logs"]) == ([], None)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_form_of_an_audited_item(rehearsed: Rehearsed) -> None:
    """Given the items of the audit / Then each has just the names that were promised."""
    assert [set(item) for item in rehearsed.result["audit"]["items"]] == [ITEM, ITEM]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nothing_is_left(rehearsed: Rehearsed) -> None:
    """Given an api, a worker, servers and a crowd that ran / When it has ended / Then no process, no folder is left."""
    for name in ("valkey-server", "postgres", "flashsale serve", "flashsale worker", "loadtest.crowd"):
        assert any(name in one for one in rehearsed.processes), name
    assert rehearsed.left == []


BAD: Final[Mapping[str, tuple[str, ...]]] = {
    "unknown scenario": ("no-such-day",),
    "another folder's file": ("../scenarios/demo",),
    "scale zero": ("mi3-wechat-2013", "--scale", "0"),
    "scale below zero": ("mi3-wechat-2013", "--scale", "-1"),
    "scale above ten": ("mi3-wechat-2013", "--scale", "10.1"),
    "scale that is no number": ("mi3-wechat-2013", "--scale", "nan"),
    "scale in words": ("mi3-wechat-2013", "--scale", "small"),
    "unknown topology": ("mi3-wechat-2013", "--topology", "ring"),
    "unknown level": ("mi3-wechat-2013", "--ack", "carved-in-stone"),
    "seed in words": ("mi3-wechat-2013", "--seed", "one"),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_arguments(cli_helper: "subprocess.Popen[str]", tmp_path: Path, name: str) -> None:
    """Given an argument that can't be used / Then exit 2 at once, with a sentence, and no server was started."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    cli = Cli(cli_helper, tmp_path, bare_environment() | {"TMPDIR": str(temporary)})
    done = cli("rehearse", *BAD[name], "--json")
    assert (done.status, done.out) == (2, "")
    assert done.err.strip()
    assert "Traceback" not in done.err
    assert list(temporary.iterdir()) == []
    assert processes_naming(tmp_path) == []
