"""flashsale rehearse with faults, at a tiny scale: what was hurt is told, and a fault that hurts nothing fails."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.programs import folders_of, processes_naming, running

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(120)]
SCALE: Final = "0.1"


def rehearse(folder: Path, *faults: str) -> tuple[int, dict[str, Any]]:
    """A tenth of the scenario for faults. Returns its status and its result, and demands that nothing is left but the
    logs that it names."""
    temporary = folder / "temporary"
    temporary.mkdir()
    words = [word for fault in faults for word in ("--fault", fault)]
    with running(
        folder, "rehearse", "faults", "--scale", SCALE, "--seed", "1", *words, "--json", TMPDIR=str(temporary)
    ) as program:
        status = program.wait(110)
        assert program.said, program.err.read_text()
    result: dict[str, Any] = json.loads(program.said)
    kept = [Path(result["logs"])] if result["logs"] else []
    beside = [path for state in temporary.glob("*/state") for path in folders_of(state)]
    assert (processes_naming(temporary, *beside), list(temporary.iterdir())) == ([], kept)
    return status, result


def test_an_api_a_valkey_and_a_network_that_are_hurt(tmp_path: Path) -> None:
    """Given the api and Valkey killed -9, and replies dropped / Then nothing is lost, retries tell, all is told of."""
    # The longest is the last: it takes its time on a slow machine, and an api that is away tells nobody of the others.
    status, result = rehearse(tmp_path, "F4@1", "F7@4", "F1@12")
    assert (status, result["reasons"]) == (0, [])
    valkey, network, api = result["faults"]
    assert api["name"] == "F1"
    assert api["observed"]["kills"] >= 3
    assert api["observed"]["connections_broken"] > 0
    assert api["observed"]["won_on_retry"] > 0
    assert (valkey["name"], valkey["observed"]["killed"]) == ("F4", 1)
    assert valkey["healed_at_s"] > valkey["at_s"] >= 1
    assert network["observed"]["replies_dropped"] > 0
    assert network["observed"]["answers"]["UNKNOWN"] > 0
    assert [result["orders"][name] for name in ("missing", "untold", "duplicate", "oversold", "lost")] == [0] * 5


def test_a_fault_that_hurts_nothing_fails_the_run(tmp_path: Path) -> None:
    """Given a fault set for long after all is sold / Then the run fails, says that nothing was injected, and keeps what
    its servers and processes logged."""
    status, result = rehearse(tmp_path, "F1@300")
    assert status == 1
    assert result["reasons"] == ["F1 injected nothing: it was to begin 300 s after the opening, and all was over"]
    logs = {path.name for path in Path(result["logs"]).iterdir()}
    assert {"api-1.log", "worker.log", "valkey.log", "postgres.log"} <= logs
