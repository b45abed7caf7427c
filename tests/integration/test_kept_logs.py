"""A rehearsal that fails keeps what its servers and processes logged."""

import shutil
from pathlib import Path

import pytest

from loadtest import rehearsal, scenario

pytestmark = [pytest.mark.servers, pytest.mark.slow]


def test_the_logs_of_one_that_fails_are_kept(tmp_path: Path) -> None:
    """Given a bound that nothing can keep / When it is rehearsed / Then it fails, and the logs are outside of its
    folder."""
    loaded = scenario.load("mi3-wechat-2013")
    hurried = loaded.model_copy(update={"bound": loaded.bound.model_copy(update={"open_to_last_confirmed_s": 0.01})})
    options = rehearsal.Options(scale=0.001, seed=1, ack="accepted", topology="single")
    failed = rehearsal.run(hurried, options, folder=tmp_path / "failed", told=lambda phase, now: None)
    kept = Path(failed["logs"])
    try:
        assert {"api-1.log", "worker.log", "valkey.log", "postgres.log"} <= {path.name for path in kept.iterdir()}
        assert not kept.is_relative_to(tmp_path), "the folder of the rehearsal is removed"
    finally:
        shutil.rmtree(kept)
    assert failed["verdict"] == "fail"
