"""The embedded pair under root, whom Postgres refuses, and under a normal user: whose is what, and where it lies."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashsale.embedded import EmbeddedError, EmbeddedPair, erase
from flashsale.embedded_binaries import postgres_account, postgres_programs, valkey_server
from flashsale.embedded_folder import LASTING, is_reachable
from tests.integration.pair_process import HOLD, has_something, run_python, socket_paths, write_something

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for both; a normal user is every other test"),
]


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every account may pass through, unlike pytest's own."""
    place = Path(tempfile.mkdtemp(prefix="flashsale-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def test_root_in_a_closed_folder(tmp_path: Path) -> None:
    """Given a folder for root only / When root starts a pair / Then Postgres's data lies outside."""
    tmp_path.chmod(0o700)
    state = tmp_path / "state"
    with EmbeddedPair(state=state) as addresses:
        data = (state / "postgres").readlink()
        assert data.parent.parent == LASTING
        assert (data.owner(), data.stat().st_mode & 0o777) == ("nobody", 0o700)
        write_something(addresses)
    with EmbeddedPair(state=state) as addresses:
        assert has_something(addresses)
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(data)
    with pytest.raises(EmbeddedError, match=r"is gone\. Start afresh"):
        EmbeddedPair(state=state).start()
    erase(state)
    assert not data.parent.exists()


def test_root_in_an_open_folder(open_place: Path) -> None:
    """Given a folder that all may pass through / When root starts a pair / Then all lies in it."""
    state = open_place / "state"
    with EmbeddedPair(state=state) as addresses:
        assert (state / "postgres").resolve().parent == state
        assert (state / "postgres").owner() == "nobody"
        assert all(path.is_relative_to(state) for path in socket_paths(addresses))


def test_root_with_closed_programs(tmp_path: Path) -> None:
    """Given packages where only root may go / When root starts a pair / Then Postgres runs from a copy."""
    before = set(LASTING.glob("flashsale-postgres-*"))
    package = postgres_programs(None).parent.parent
    for source in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(source, tmp_path / "packages" / source.name)
    say = "import psutil; print(psutil.Process(pair.postgres_pid).exe()); pair.stop()"
    try:
        done = run_python(HOLD.replace("signal.pause()", say), str(tmp_path / "state"), path=tmp_path / "packages")
        assert done.stderr == ""
        program = Path(done.stdout.splitlines()[-1])
        assert program.relative_to(LASTING).parts[0].startswith("flashsale-postgres-")
    finally:
        erase(tmp_path / "state")
        for copy in set(LASTING.glob("flashsale-postgres-*")) - before:
            shutil.rmtree(copy)


def test_as_a_normal_user(open_place: Path) -> None:
    """Given a normal user / When they start a pair / Then both run as that user, in a private folder."""
    account = postgres_account()
    assert account is not None
    for needed in (valkey_server().parent, postgres_programs(None), open_place):
        if not is_reachable(needed, account):
            pytest.skip(f"a normal user can't reach {needed}")
    os.chown(open_place, account.uid, account.gid)
    # The interpreter may be out of reach for that user, so the child imports first and then changes user.
    drop = f"import os, psutil; os.setgroups([]); os.setgid({account.gid}); os.setuid({account.uid}); pair ="
    say = "print(*(psutil.Process(p).uids().real for p in (pair.valkey_pid, pair.postgres_pid))); pair.stop()"
    done = run_python(HOLD.replace("pair =", drop, 1).replace("signal.pause()", say), str(open_place / "state"))
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].split() == [str(account.uid)] * 2
    assert (open_place / "state").stat().st_mode & 0o777 == 0o700
    with pytest.raises(EmbeddedError, match="belongs to another user"):
        EmbeddedPair(state=open_place / "state").start()
