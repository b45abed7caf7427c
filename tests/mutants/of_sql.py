"""The mutants of SQL, found in its text: conditions and their sides, bounds, signs, locks, and what a conflict does.

A condition becomes `(… or true)`, so that its parameters keep their places and types: a query that no longer fits its
call would be caught by that alone.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from tests.mutants.changes import Changes, as_edits, bounds, operands, signs, text
from tests.mutants.mutant import Edit, Mutant, mutants_of, query_place
from tests.mutants.tokens import Token, cut_sql, reach

_ALWAYS: Final = frozenset({"where", "on", "having", "check", "when"})  # what follows comes true whatever there is
_NEVER: Final = frozenset({"if", "elsif"})  # and here it never does
_END: Final = _ALWAYS | _NEVER | {
    "join", "left", "cross", "group", "order", "limit", "for", "returning", "union", "set", "then", "else", "case",
    "end", "from", "select", "filter", "as", ";", ",",
}  # fmt: skip
_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_DROPPED: Final = (
    re.compile(r"\bon conflict( \([\w, ]+\))?( where [^\n]*)? do nothing", re.IGNORECASE),
    re.compile(r"\bfor (no key |key )?(update|share)( of \w+)?( skip locked| nowait)?", re.IGNORECASE),
    re.compile(r"\bskip locked\b", re.IGNORECASE),
)


def mutants(root: Path) -> list[Mutant]:
    """Every mutant of every named query."""
    found: list[Mutant] = []
    for path in sorted((root / "flashsale" / "sql").glob("*.sql")):
        source = path.read_text(encoding="utf-8")
        names = list(_NAME.finditer(source))
        places = [(match.start(), query_place(path.stem, match[1])) for match in names]
        found += mutants_of(path.relative_to(root).as_posix(), source, [
            edit for (start, place), (end, _) in zip(places, [*places[1:], (len(source), "")], strict=True)
            for edit in edits(place, source) if start <= edit.start < end
        ])  # fmt: skip
    return found


def edits(place: str, source: str) -> list[Edit]:
    """Every change to make to this SQL."""
    tokens = cut_sql(source)
    betweens = set(_ands_of_betweens(tokens))
    changes = chain(
        _clauses(source, tokens, betweens),
        operands(source, tokens, lambda one, later, earlier: one.text in _END, no_operators=betweens),
        bounds(tokens),
        signs(tokens),
    )
    return [*as_edits(tokens, changes, place), *(Edit(start, end, "", place) for start, end in _dropped(source))]


def _ands_of_betweens(tokens: Sequence[Token]) -> Iterator[int]:
    """Where the `and` stands that belongs to a `between`."""
    for place, token in enumerate(tokens):
        if token.text == "between" and token.kind == "word":
            yield next(at for at in range(place, len(tokens)) if tokens[at].text == "and")


def _clauses(source: str, tokens: Sequence[Token], betweens: set[int]) -> Changes:
    """A condition of one part holds always; that of an `if`, whatever its parts, never does."""
    for place, token in enumerate(tokens[:-1]):
        if token.kind != "word" or token.text not in _ALWAYS | _NEVER or tokens[place + 1].text in {"conflict", ";"}:
            continue
        last = reach(tokens, place, +1, lambda one, _: one.text in _END)
        inside = range(place + 1, last + 1)
        parts = any(
            at not in betweens and tokens[at].text in {"and", "or"} and tokens[at].depth == token.depth for at in inside
        )
        # Of a case that compares with each, or `on true`.
        is_value = last == place + 1 and (tokens[last].kind in {"text", "number"} or tokens[last].text == "true")
        if last == place or is_value or (parts and token.text in _ALWAYS):
            continue
        condition = text(source, tokens, place + 1, last)
        yield place + 1, last, f"({condition} or true)" if token.text in _ALWAYS else f"(false and ({condition}))"


def _dropped(source: str) -> Iterator[tuple[int, int]]:
    """No lock; a conflict is an error."""
    code = re.sub(r"--[^\n]*", lambda comment: " " * len(comment[0]), source)
    for pattern in _DROPPED:
        yield from ((match.start(), match.end()) for match in pattern.finditer(code))
