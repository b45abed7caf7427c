"""flashsale demo as a person runs it: it sells, balances and ends; interrupted at any time, it leaves nothing."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flashsale.embedded import erase
from tests.support.edge import free_port
from tests.support.programs import Program, folders_of, processes_naming, running, sockets_of
from tests.support.waiting import until

# Interrupted in the middle of an import that executes text (a dataclass), `python -m` ends itself by the signal after
# all has been cleared away, which a shell shows as 130 as well.
ENDED = {0, 128 + signal.SIGINT, -signal.SIGINT}

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder; what a pair keeps outside of it is erased afterwards."""
    folder = tmp_path / "state"
    yield folder
    erase(folder)


def seen(state: Path, program: Program, what: str) -> None:
    """Wait until a process of that kind runs for this command."""

    def runs() -> bool:
        assert program.process.poll() is None, program.said + program.err.read_text()
        return any(what in one for one in processes_naming(state.parent, *folders_of(state)))

    until(runs, what=f"{what} runs", deadline_s=60)


def assert_nothing_is_left(state: Path, port: int) -> None:
    """No process of the command, no socket of the pair, nobody at the port.

    An initdb that is interrupted has children of its own, which end a moment after it.
    """
    until(lambda: not processes_naming(state.parent, *folders_of(state)), what="all processes have ended")
    assert sockets_of(state) == []
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


def test_a_small_crowd_buys_and_it_balances(tmp_path: Path, state: Path) -> None:
    """Given 200 fans and ample stock / When it has run once / Then exit 0, it balances, and nothing runs any more."""
    port = free_port()
    arguments = ("demo", "--crowd", "200", "--opens-in", "3", "--once", "--port", str(port), "--state", str(state))
    with running(tmp_path, *arguments) as program:
        seen(state, program, "loadtest.crowd")
        listing = httpx.get(f"http://127.0.0.1:{port}/api/v1/sales").json()["sales"]
        assert program.wait(180) == 0, program.said + program.err.read_text()
        assert program.err.read_text() == ""
    assert f"http://127.0.0.1:{port}/s/{listing[0]['sale']}" in program.said
    assert "It balances." in program.said
    assert "reserved 200   won 200   on their way 0   landed in Postgres 200" in program.said
    assert_nothing_is_left(state, port)


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
@pytest.mark.parametrize("while_runs", ["valkey-server", "flashsale serve", "loadtest.crowd"])
def test_interrupted_it_leaves_nothing(tmp_path: Path, state: Path, while_runs: str, ends: signal.Signals) -> None:
    """Given a demo at its start, starting its api, or in the middle / When it is interrupted / Then all of it ends."""
    port = free_port()
    arguments = ("demo", "--crowd", "200", "--opens-in", "1", "--port", str(port), "--state", str(state))
    with running(tmp_path, *arguments) as program:
        seen(state, program, while_runs)
        program.process.send_signal(ends)
        status = program.wait(60)
    told = program.said + program.err.read_text()
    assert status in ENDED, told
    assert "Traceback" not in told, told
    assert_nothing_is_left(state, port)
