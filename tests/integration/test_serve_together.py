"""flashsale serve --processes: several api processes on one port, looked after and ended together."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import httpx
import psutil
import pytest

from flashsale.bench.uvicorns import free_port
from flashsale.cli.listening import listen
from flashsale.queries import Pool
from tests.integration.cli_process import Cli, console_script
from tests.support.waiting import until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]
_START_S: Final = 60


@dataclass(frozen=True, slots=True)
class Together:
    """Two processes, and the one that looks after them. port: theirs; own: the first one's alone, then the other's."""

    parent: "subprocess.Popen[str]"
    port: int
    own: int

    def ready(self, port: int) -> bool:
        """Whether somebody answers there."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).is_success
        return False

    def all_ready(self) -> bool:
        """Whether each process answers, and both do on their port."""
        return all(map(self.ready, (self.own, self.own + 1, self.port)))

    def children(self) -> dict[int, psutil.Process]:
        """The processes, by the port of their own."""
        found = {}
        for child in psutil.Process(self.parent.pid).children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):  # killed, and not started again yet
                if own := re.search(r"--own-port (\d+)", " ".join(child.cmdline())):
                    found[int(own[1])] = child
        return found


@contextmanager
def together(cli: Cli) -> Iterator[Together]:
    """Start them and wait until all answer."""
    port, own = free_port(), 20_000 + os.getpid() % 10_000
    words = ["serve", "--processes", "2", "--port", str(port), "--own-port", str(own)]
    with subprocess.Popen(
        [console_script(), *words],
        cwd=cli.folder,
        env=dict(cli.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        started = Together(parent, port, own)
        try:
            until(started.all_ready, what="both processes answer", deadline_s=_START_S)
            yield started
        finally:
            parent.terminate()


def test_two_on_one_port(cli: Cli, postgres: Pool) -> None:
    """Given two processes on one port / Then each has metrics of its own; another flashsale is told that the port is
    taken; one that is killed comes back and the other is left alone. Told to stop, all end with exit 0."""
    with together(cli) as running:
        before = running.children()
        assert sorted(before) == [running.own, running.own + 1]
        for port in before:
            assert "flashsale_batch_attempts" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
        for number in ("1", "2"):
            done = cli("serve", "--processes", number, "--port", str(running.port))
            assert (done.status, f"Port {running.port} on 127.0.0.1 is taken" in done.err) == (3, True), done
        before[running.own].kill()

        def is_back() -> bool:
            return running.own in running.children() and running.all_ready()

        until(is_back, what="it is back", deadline_s=_START_S)
        after = running.children()
        assert after[running.own].pid != before[running.own].pid
        assert after[running.own + 1].pid == before[running.own + 1].pid
        running.parent.send_signal(signal.SIGTERM)
        out, err = running.parent.communicate(timeout=20)
        assert (running.parent.returncode, err) == (0, "")
        assert out.count(f"Serving on http://127.0.0.1:{running.port}") == 3
        assert [child for child in after.values() if child.is_running()] == []


def test_they_end_with_the_one_that_looks_after_them(cli: Cli, postgres: Pool) -> None:
    """When that one is killed at once / Then they end by themselves."""
    with together(cli) as running:
        children = list(running.children().values())
        running.parent.kill()
        until(lambda: not any(child.is_running() for child in children), what="they have ended", deadline_s=20)


def test_a_process_that_starts_takes_no_connection() -> None:
    """Given a port that one process serves, and another that has taken it and is not ready / Then all connections go to
    the first; when both listen, the second has its share."""
    with listen("127.0.0.1", 0, shared=True) as ready:
        port = ready.getsockname()[1]
        ready.listen()
        with listen("127.0.0.1", port, shared=True) as starting:
            starting.settimeout(0.2)
            clients = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(32)]
            ready.settimeout(5)
            for _ in range(32):
                ready.accept()[0].close()
            starting.listen()
            clients += [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(64)]
            starting.accept()[0].close()
            for client in clients:
                client.close()
