"""The state folder of the embedded pair: whose it is, what lies where, and what may be removed from it.

All of the pair lies in that one folder where this is possible. Two things may have to lie outside, under a
name made from the folder's path: sockets, since their paths must be short, and Postgres's data, since root
runs Postgres as another account, which may not be let into the folder. Only what the pair made is removed.
"""

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flashsale.embedded_server import Account, EmbeddedError, locked

SOCKET_PATH_BYTES_MAX: Final = 100  # The kernel's own bound is 104 to 108, by system.
POSTGRES_SOCKET: Final = "postgres/.s.PGSQL.5432"
LASTING: Final = Path("/var/tmp")  # noqa: S108 (it survives restarts of the machine; own_folder() checks the owner)
MARKER_TEXT: Final = "flashsale's embedded pair keeps its data here; this file marks and locks the folder.\n"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The places in one state folder. path is absolute, without links."""

    path: Path

    @property
    def marker(self) -> Path:
        """Says that the folder is ours, and is locked as long as a process runs the pair."""
        return self.path / "embedded.lock"

    @property
    def valkey(self) -> Path:
        """Valkey's data."""
        return self.path / "valkey"

    @property
    def postgres(self) -> Path:
        """Postgres's data, or a link to it when it lies outside."""
        return self.path / "postgres"

    @property
    def cluster(self) -> Path:
        """What a cluster has to remember of its nodes; a pair has no such file."""
        return self.valkey / "cluster.json"

    @property
    def running(self) -> Path:
        """What another terminal needs to find a running pair."""
        return self.path / "running.json"

    def log(self, name: str) -> Path:
        """The log of the server of that name."""
        return self.path / "log" / f"{name}.log"

    def lock(self, name: str) -> Path:
        """The file that the server of that name holds locked as long as it lives."""
        return self.path / f"{name}.lock"

    def servers(self) -> list[str]:
        """The names of the servers that have ever run on this folder."""
        found = (lock.stem for lock in self.path.glob("*.lock"))
        return sorted(name for name in found if re.fullmatch(r"postgres|valkey(-[0-9]+)?", name))

    def valkey_locks(self) -> list[Path]:
        """The locks of the one Valkey, or of all nodes of a cluster."""
        return sorted(self.path.glob("valkey*.lock"))

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder for this process; it is made when missing. A dead process holds nothing.

        Raises EmbeddedError when it isn't ours or another holds it.
        """
        try:
            self._check_or_make()
        except OSError as error:
            raise EmbeddedError(
                f"{self.path} can't be used ({error}). Choose a state folder you may write to."
            ) from error
        refusal = f"A pair or cluster already runs on {self.path}. Use it, stop it, or choose another state folder."
        with locked(self.marker, refusal=refusal) as handle:
            os.pwrite(handle, MARKER_TEXT.encode(), 0)
            for part in (self.valkey, self.log("any").parent):
                own_folder(part, 0o700)
            yield

    def empty(self) -> None:
        """Remove data and logs of earlier runs, here and outside. Call it while claimed and none runs."""
        for part in (self.running, self.valkey, self.postgres, self.log("any").parent, *self._outside()):
            remove(part)
        for part in (self.valkey, self.log("any").parent):
            own_folder(part, 0o700)

    def vanish(self) -> None:
        """Remove all that was made, and the folder itself if it is empty then. Call it while claimed."""
        self.empty()
        for part in (
            self.valkey,
            self.log("any").parent,
            *map(self.lock, self.servers()),
            self.marker,
        ):
            remove(part)
        with suppress(OSError):  # Somebody's own files stay, and so does the folder around them.
            self.path.rmdir()

    def postgres_data(self, account: Account | None) -> Path:
        """Where Postgres's data is, or is to be. Raises EmbeddedError when it was outside and is gone."""
        if self.postgres.is_symlink() and not self.postgres.exists():
            raise EmbeddedError(f"Postgres's data, {self.postgres.readlink()}, is gone. Start afresh with --fresh.")
        if self.postgres.exists() or account is None or is_reachable(self.path, account):
            return self.postgres.resolve()
        own_folder(self._beside(LASTING), 0o711)
        return self._beside(LASTING) / "postgres"

    def make_sockets(self, account: Account | None) -> Path:
        """A new folder with a short path: Valkey's socket goes into it, Postgres's into its postgres/."""
        for base, run in self._socket_places():
            if _fits(run) and (account is None or is_reachable(base, account)):
                if run.parent != self.path:
                    own_folder(run.parent, 0o711)
                remove(run)
                own_folder(run, 0o700 if account is None else 0o711)
                own_folder(run / "postgres", 0o700, account)
                return run
        raise EmbeddedError("No folder for sockets has a path that is short enough: set TMPDIR to a shorter one.")

    def remove_sockets(self) -> None:
        """Remove the sockets' folder, wherever it is. Safe to repeat."""
        remove(self.path / "run")
        for outside in self._outside():
            remove(outside / "run")
            with suppress(OSError):  # It stays when it holds Postgres's data.
                outside.rmdir()

    def _check_or_make(self) -> None:
        if not self.path.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            # Root's Postgres runs as another account, which passes through here; it can't list or read.
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        elif not self.marker.exists() and any(self.path.iterdir()):
            raise EmbeddedError(
                f"{self.path} holds other things. Choose a state folder that is new, empty or of embedded servers."
            )
        elif self.marker.exists() and self.marker.stat().st_uid != os.geteuid():
            raise EmbeddedError(f"{self.path} belongs to another user's pair. Choose another state folder.")

    def _socket_places(self) -> list[tuple[Path, Path]]:
        """Folders that exist, each with the sockets' folder that would be made for it; the best first."""
        temporary = Path(tempfile.gettempdir())
        outside = [(base, self._beside(base) / "run") for base in (temporary, LASTING)]
        return [(self.path, self.path / "run"), *outside]

    def _beside(self, base: Path) -> Path:
        """Our folder outside, under a name that only this state folder's path yields."""
        return base / f"flashsale-{hashlib.blake2b(os.fsencode(self.path), digest_size=6).hexdigest()}"

    def _outside(self) -> list[Path]:
        """Our folders outside, as far as they exist and are ours: where all may write, a name is no proof."""
        places = (self._beside(base) for base in {Path(tempfile.gettempdir()), LASTING})
        return [place for place in places if place.exists() and _is_own_folder(place, os.geteuid())]


def is_reachable(path: Path, account: Account) -> bool:
    """Whether the account may pass through every folder down to this one, judged by owner and mode."""
    return all(_may_pass(folder.stat(), account) for folder in (path, *path.parents))


def own_folder(path: Path, mode: int, account: Account | None = None) -> None:
    """Make a folder, or accept one that we made. Raises EmbeddedError when something else has that name."""
    owner = os.geteuid() if account is None else account.uid
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        path.chmod(mode)  # Unlike mkdir's mode, this isn't narrowed by the umask.
        if account is not None:
            os.chown(path, account.uid, account.gid)
    if not _is_own_folder(path, owner):
        raise EmbeddedError(
            f"{path} is in the way: it isn't a folder of ours. Remove it, or choose another state folder."
        )


def remove(path: Path) -> None:
    """Remove a file, a link (never what it points to) or a whole folder. Safe to repeat."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_own_folder(path: Path, owner: int) -> bool:
    """Whether it is a folder, not a link to one, of this user."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner


def _may_pass(found: os.stat_result, account: Account) -> bool:
    if found.st_uid == account.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == account.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def _fits(run: Path) -> bool:
    """Whether sockets below this folder have short paths that need no escaping in an address."""
    path = f"{run}/{POSTGRES_SOCKET}"
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX and re.fullmatch(r"[A-Za-z0-9_./-]+", path) is not None
