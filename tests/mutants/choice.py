"""Which tests a mutant meets, and in which order: those that use what it changes, and of these the likeliest first.

A test that never uses a script, query or table can't notice that it is changed. So leaving it out weakens nothing: the
worst that can come of it is a survivor that somebody looks at.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.mutants.mutant import Mutant

# Tests of one process on two stores, in tenths of a second; then those of whole processes, in seconds. What the first
# layer catches does not meet the second.
LAYERS: Final = (("tests/lua/", "tests/model/", "tests/ground/"), ("tests/integration/",))
_LUA: Final = ("tests/lua/", "tests/model/")
_SQL: Final = ("tests/ground/", "tests/integration/")

_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Watched:
    """What one test was seen to use, and the seconds that it took."""

    test: str
    seconds: float
    places: frozenset[str]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Watched":
        """As a slot tells it."""
        return cls(told["test"], told["seconds"], frozenset(told["places"]))


def folders_for(mutant: Mutant, layer: Collection[str]) -> tuple[str, ...]:
    """Where this layer's tests are that are about such mutants."""
    return tuple(folder for folder in (_LUA if mutant.file.endswith(".lua") else _SQL) if folder in layer)


@dataclass(slots=True)
class Choice:
    """Chooses among the tests of one layer, and learns what catches."""

    layer: Collection[str]
    watched: list[Watched] = field(default_factory=list)
    _caught: Counter[tuple[str, str]] = field(default_factory=Counter)

    def tests_for(self, mutant: Mutant) -> list[str]:
        """All tests that use what it changes. First those that share most names with it (a constraint, a query), then
        those that caught most of the same place, then the quickest."""
        names = set(_WORD.findall(mutant.name))
        folders = folders_for(mutant, self.layer)
        found = [one for one in self.watched if one.test.startswith(folders) and mutant.place in one.places]
        found.sort(
            key=lambda one: (
                -len(names & set(_WORD.findall(one.test.partition("::")[2]))),
                -self._caught[mutant.place, one.test],
                one.seconds,
            )
        )
        return [one.test for one in found]

    def learn(self, mutant: Mutant, test: str) -> None:
        """This test caught this mutant."""
        self._caught[mutant.place, test] += 1


def files_of(tests: Iterable[str], mutants: Iterable[Mutant], layer: Collection[str]) -> list[list[str]]:
    """The tests of a layer that these mutants may meet, file by file."""
    folders = {folder for mutant in mutants for folder in folders_for(mutant, layer)}
    files: dict[str, list[str]] = {}
    for test in tests:
        if test.startswith(tuple(folders)):
            files.setdefault(test.partition("::")[0], []).append(test)
    return list(files.values())
