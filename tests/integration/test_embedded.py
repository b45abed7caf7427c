"""The embedded pair, with real processes: it starts, keeps data, refuses clearly, leaves nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flashsale.embedded import EmbeddedError, EmbeddedPair, erase, running
from tests.integration.pair_process import (
    assert_nothing_is_left,
    has_something,
    holder,
    is_alive,
    redis,
    run_python,
    socket_paths,
    sql,
    write_something,
)
from tests.support.waiting import until

pytestmark = pytest.mark.servers


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder that does not exist yet, and of which nothing is left afterwards."""
    folder = tmp_path / "state"
    yield folder
    erase(folder)


def test_both_answer_on_sockets_only(state: Path) -> None:
    """Given no state folder / When a pair starts / Then both answer, without a port, and others find it."""
    pair = EmbeddedPair(state=state)
    with pair as addresses:
        assert redis(addresses, "PING") is True
        assert sql(addresses, "select current_database() || current_setting('fsync')") == "flashsaleon"
        for pid in (pair.valkey_pid, pair.postgres_pid):
            assert psutil.Process(pid).net_connections(kind="inet") == []
        assert running(state) == addresses
    assert running(state) is None
    assert_nothing_is_left(state, addresses)


def test_settings_are_ours_unless_given(state: Path) -> None:
    """Given settings of the caller / When a pair starts / Then they win, the others stay."""
    valkey, postgres = {"appendfsync": "always"}, {"jit": "off"}
    asked = ("append*", "maxmemory-policy", "save", "port", "enable-debug-command")
    with EmbeddedPair(state=state, valkey_settings=valkey, postgres_settings=postgres) as addresses:
        found = redis(addresses, "CONFIG", "GET", *asked)
        assert isinstance(found, dict)
        expected = {
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        assert found.items() >= (expected | {"port": "0", "enable-debug-command": "no"}).items()
        limit = redis(addresses, "CONFIG", "GET", "maxmemory")
        assert isinstance(limit, dict)
        assert 0 < int(limit["maxmemory"]) <= psutil.virtual_memory().total // 2
        assert sql(addresses, "select current_setting('jit') || current_setting('max_connections')") == "off200"


async def test_starts_beside_a_running_loop(state: Path) -> None:
    """Given a running event loop / When a pair starts in its thread / Then it starts all the same."""
    with EmbeddedPair(state=state) as addresses:
        assert running(state) == addresses


def test_data_survives_a_restart(state: Path) -> None:
    """Given data of an earlier run / When a pair starts again on the folder / Then the data is there."""
    pair = EmbeddedPair(state=state)
    with pair as addresses:
        write_something(addresses)
    with pair as addresses:
        assert has_something(addresses)


def test_fresh_begins_without_data(state: Path) -> None:
    """Given data of an earlier run / When a pair starts afresh / Then the data is gone."""
    with EmbeddedPair(state=state) as addresses:
        write_something(addresses)
    with EmbeddedPair(state=state, fresh=True) as addresses:
        assert not has_something(addresses)


def test_second_holder_is_refused(state: Path) -> None:
    """Given a pair of another process / When one starts on or erases its folder / Then it is refused."""
    with holder(state) as (_, addresses, _):
        with pytest.raises(EmbeddedError, match=r"A pair or cluster already runs on .* choose another state folder"):
            EmbeddedPair(state=state, fresh=True).start()
        with pytest.raises(EmbeddedError, match="A pair or cluster already runs"):
            erase(state)
        assert running(state) == addresses


def test_stop_may_be_repeated(state: Path) -> None:
    """Given a pair / When it is stopped twice, or started twice / Then the second is clear."""
    pair = EmbeddedPair(state=state)
    pair.stop()
    addresses = pair.start()
    with pytest.raises(EmbeddedError, match="already started"):
        pair.start()
    pair.stop()
    pair.stop()
    with pytest.raises(EmbeddedError, match="isn't started"):
        _ = pair.valkey_pid
    assert_nothing_is_left(state, addresses)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_killed_parent_leaves_nothing(state: Path) -> None:
    """Given a pair / When its parent is killed / Then no process and no socket stay, but the data."""
    with holder(state) as (parent, addresses, pids):
        write_something(addresses)
        family = [process.pid for process in psutil.Process(parent.pid).children(recursive=True)]
        assert set(pids) < set(family)
        parent.kill()
        until(lambda: not any(is_alive(pid) for pid in family), what="the servers have ended")
    assert not any(path.exists() for path in socket_paths(addresses))
    assert running(state) is None
    with EmbeddedPair(state=state) as addresses:
        assert has_something(addresses)


def test_start_right_after_a_kill(state: Path) -> None:
    """Given a parent killed this moment / When a pair starts / Then it waits for the old one."""
    with holder(state) as (parent, addresses, pids):
        write_something(addresses)
        parent.kill()
        with EmbeddedPair(state=state) as again:
            assert has_something(again)
            assert not any(is_alive(pid) for pid in pids)


def test_start_after_servers_were_killed(state: Path) -> None:
    """Given servers killed, with files left / When a pair starts / Then it clears them away."""
    with holder(state) as (parent, addresses, pids):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        parent.kill()
        until(lambda: not any(is_alive(pid) for pid in pids), what="the servers have ended")
    assert any(path.exists() for path in socket_paths(addresses))
    with EmbeddedPair(state=state) as addresses:
        assert sql(addresses, "select 1") == 1


def test_leftover_server_is_ended(state: Path) -> None:
    """Given a server that outlived its owner / When a pair starts / Then that server is ended first."""
    with EmbeddedPair(state=state):
        pass
    lock = state / "valkey.lock"
    hold = """
import fcntl, signal, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print(flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", hold, lock], stdout=subprocess.PIPE) as leftover:
        assert leftover.stdout is not None
        leftover.stdout.readline()
        lock.write_text(str(leftover.pid))
        try:
            with EmbeddedPair(state=state) as addresses:
                assert leftover.wait(5) == -signal.SIGTERM
                assert running(state) == addresses
        finally:
            leftover.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_child_of_a_dead_parent_exits() -> None:
    """Given a parent that died before its child asks for the signal / When it asks / Then it exits."""
    # The middle process stands for whoever inherits the child: it isn't the parent that the child expects.
    code = """
import os, signal
from flashsale.embedded import die_with_parent
ask = die_with_parent(signal.SIGTERM)
if os.fork() == 0:
    if os.fork() == 0:
        ask()
        os._exit(0)
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert run_python(code).stdout.strip() == "1"


@pytest.mark.parametrize("name", ["long" * 50, "with space", "米粉"])
def test_any_state_path(tmp_path: Path, name: str) -> None:
    """Given a path too long or odd for a socket / When a pair starts / Then its sockets lie elsewhere."""
    state = tmp_path / name
    with EmbeddedPair(state=state) as addresses:
        assert all(len(os.fsencode(path)) <= 100 for path in socket_paths(addresses))
        write_something(addresses)
    assert_nothing_is_left(state, addresses)
    erase(state)
    assert not state.exists()


@pytest.mark.parametrize(
    ("server", "valkey_settings", "postgres_settings"),
    [("postgres", {}, {"shared_buffers": "nonsense"}), ("valkey", {"maxmemory-policy": "nonsense"}, {})],
)
def test_failed_start(
    state: Path, server: str, valkey_settings: dict[str, str], postgres_settings: dict[str, str]
) -> None:
    """Given a setting that a server refuses / When a pair starts / Then its log is shown, nothing runs."""
    before = psutil.Process().children()
    bad = EmbeddedPair(state=state, valkey_settings=valkey_settings, postgres_settings=postgres_settings)
    with pytest.raises(EmbeddedError, match=rf"{server} ended with status") as caught:
        bad.start()
    assert str(state / "log" / f"{server}.log") in str(caught.value)
    assert "nonsense" in str(caught.value)
    assert psutil.Process().children() == before
    with EmbeddedPair(state=state) as addresses:
        assert running(state) == addresses


@pytest.mark.parametrize("fresh", [False, True])
def test_foreign_folder_is_refused(tmp_path: Path, fresh: bool) -> None:
    """Given a folder with other files / When a pair is to use or erase it / Then it changes nothing."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "precious").write_text("data")
    with pytest.raises(EmbeddedError, match="holds other things"):
        EmbeddedPair(state=tmp_path, fresh=fresh).start()
    with pytest.raises(EmbeddedError, match="holds other things"):
        erase(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["postgres", "precious"]


def test_state_that_is_a_file(tmp_path: Path) -> None:
    """Given a file where the state folder should be / When a pair starts / Then it says so."""
    (tmp_path / "state").write_text("")
    with pytest.raises(EmbeddedError, match="Choose a state folder"):
        EmbeddedPair(state=tmp_path / "state").start()
    assert running(tmp_path / "state") is None
