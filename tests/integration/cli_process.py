"""Runs the command line in processes of their own, without paying a second of imports for each.

One helper process imports the command line once and forks for every command: the child gets its own arguments,
environment, folder and files, and calls the same main() as the console script, to the same exit status.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flashsale.config import ENV_PREFIX

_TIMEOUT_S: Final = 30
_HELPER: Final = """
import json, os, signal, sys, tempfile
from flashsale.cli import main, register
for line in sys.stdin:
    asked = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            signal.alarm(asked["timeout_s"])
            for file, number in ((out, 1), (err, 2)):
                os.dup2(file.fileno(), number)
            os.environ.clear()
            os.environ.update(asked["environment"])
            os.chdir(asked["folder"])
            sys.stdin = open(os.devnull)
            sys.argv = ["flashsale", *asked["arguments"]]
            status = 0
            try:
                main()
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                status = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        read = []
        for file in (out, err):
            file.seek(0)
            read.append(file.read().decode())
    print(json.dumps([status, *read]), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, which must be one JSON document."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Cli:
    """Runs commands against the given servers, in a folder of the test's own. Blocks until the command has ended."""

    helper: "subprocess.Popen[str]"
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, **changed: str | None) -> Done:
        """Run one command. changed: settings by their names in lower case; None takes one away."""
        environment = dict(self.environment)
        for name, value in changed.items():
            environment.pop(f"{ENV_PREFIX}{name.upper()}", None)
            if value is not None:
                environment[f"{ENV_PREFIX}{name.upper()}"] = value
        asked = {"arguments": arguments, "environment": environment, "folder": str(self.folder)}
        assert self.helper.stdin is not None
        assert self.helper.stdout is not None
        self.helper.stdin.write(json.dumps(asked | {"timeout_s": _TIMEOUT_S}) + "\n")
        self.helper.stdin.flush()
        return Done(*json.loads(self.helper.stdout.readline()))


def bare_environment() -> dict[str, str]:
    """Our environment without settings, and with lines long enough that no sentence is folded."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return ours | {"COLUMNS": "300", "TERM": "dumb"}


def console_script() -> str:
    """The installed command, beside our interpreter."""
    return str(Path(sys.executable).parent / "flashsale")


@contextmanager
def helper() -> Iterator["subprocess.Popen[str]"]:
    """The process that forks for each command; it ends when its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", _HELPER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=bare_environment() | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(_TIMEOUT_S)
