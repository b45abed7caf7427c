"""Marks parametrised cases that fail now, with the reason; the mark is strict, so it goes away with the repair."""

from typing import Protocol

import pytest
from _pytest.mark import ParameterSet


class Named(Protocol):
    """A case with its name, and why it fails now if it does."""

    @property
    def name(self) -> str: ...

    @property
    def defect(self) -> str: ...


def case_of(named: Named) -> ParameterSet:
    """The case as a parameter, under its name."""
    marks = [pytest.mark.xfail(strict=True, reason=named.defect)] if named.defect else []
    return pytest.param(named, id=named.name, marks=marks)
