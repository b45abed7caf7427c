"""A mutant: one change to the sources that takes away something they promise."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. name: stays the same when lines move, so that a list can name it. place: the script, query or table
    that it is of.

    file: from the project's root, with the line it stands in. text: the whole file, changed; or None for a change of
    the schema, which statements make in a database that the migrations have made.
    """

    name: str
    place: str
    file: str
    line: int
    what: str
    text: str | None = None
    statements: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edit:
    """What stands from start to end becomes something else. place: the script or query."""

    start: int
    end: int
    becomes: str
    place: str


def script_place(name: str) -> str:
    """The place of what stands in a script."""
    return f"script {name}"


def query_place(file: str, name: str) -> str:
    """The place of what stands in a named query."""
    return f"query {file}.{name}"


def table_place(name: str) -> str:
    """The place of what a table forbids."""
    return f"table {name}"


def mutants_of(file: str, source: str, edits: Iterable[Edit]) -> list[Mutant]:
    """A mutant for each edit of a file, in the order of its lines, with names that tell them apart."""
    found: list[Mutant] = []
    seen: Counter[str] = Counter()
    for edit in sorted(set(edits), key=lambda one: (one.start, one.end, one.becomes)):
        changed = source[: edit.start] + edit.becomes + source[edit.end :]
        what = f"{_line_around(source, edit.start, edit.end)} => {_shown(edit.becomes)}"
        name = f"{edit.place.partition(' ')[2]}: {what}"
        seen[name] += 1
        if seen[name] > 1:
            name = f"{name} #{seen[name]}"
        found.append(Mutant(name, edit.place, file, source.count("\n", 0, edit.start) + 1, what, text=changed))
    return found


def numbered(mutants: Iterable[Mutant]) -> list[Mutant]:
    """The same mutants; where a name comes twice, the later ones get a number."""
    seen: Counter[str] = Counter()
    found = []
    for one in mutants:
        seen[one.name] += 1
        found.append(replace(one, name=f"{one.name} #{seen[one.name]}") if seen[one.name] > 1 else one)
    return found


def _line_around(source: str, start: int, end: int) -> str:
    """The line with what is changed between marks."""
    first, last = source.rfind("\n", 0, start) + 1, source.find("\n", end)
    before, after = source[first:start], source[end : last if last >= 0 else len(source)]
    return _shown(f"{before}«{source[start:end]}»{after}")


def _shown(text: str) -> str:
    return " ".join(text.split())
