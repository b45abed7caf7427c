"""Imports point down. The layers are in pyproject.toml, [tool.importlinter], with how to extend them."""

import re
import subprocess
import sys

from tests.unit.test_house import ROOT

_COMMAND = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def test_imports_point_down() -> None:
    """Given the layers / Then no module imports one above it, and every module of flashsale is in a layer."""
    run = subprocess.run(
        [sys.executable, "-c", _COMMAND, "--config", "pyproject.toml", "--no-cache", "--no-logo"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, _plain(run.stdout + run.stderr)
    assert "0 broken" in _plain(run.stdout)


def _plain(told: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", told)
