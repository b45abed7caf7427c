"""The mutants of a script, found in its text, so that a new script has them without anybody listing them.

A change leaves every name in its place: a condition becomes `false and (…)`, an operand `(… or true)`. So it is the
script's behaviour that has to give it away, not a word that is missing.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from tests.mutants.changes import Changes, as_edits, bounds, operands, signs, text
from tests.mutants.mutant import Edit, Mutant, mutants_of, script_place
from tests.mutants.tokens import Token, cut_lua
from tests.support.lua_text import READS

OTHER_END: Final = {"LPUSH": "RPUSH", "RPUSH": "LPUSH", "LPOP": "RPOP", "RPOP": "LPOP"}
_STATEMENT: Final = frozenset({
    "if", "elseif", "then", "else", "end", "for", "do", "while", "return", "local", "function", "in", "=", ",", ";",
})  # fmt: skip
_GOES_ON: Final = frozenset({"and", "or", "not", "==", "~=", "<", ">", "<=", ">=", "..", "+", "-", "*", "/", "%", ","})


def mutants(root: Path) -> list[Mutant]:
    """Every mutant of every script."""
    found: list[Mutant] = []
    for path in sorted((root / "flashsale" / "lua").glob("*.lua")):
        source = path.read_text(encoding="utf-8")
        found += mutants_of(path.relative_to(root).as_posix(), source, edits(path.stem, source))
    return found


def edits(script: str, source: str) -> list[Edit]:
    """Every change to make to this script."""
    tokens = cut_lua(source)
    changes = chain(
        _conditions(source, tokens), operands(source, tokens, _ends_an_operand), bounds(tokens), signs(tokens),
        _writes(source, tokens), _ends(tokens),
    )  # fmt: skip
    return as_edits(tokens, changes, script_place(script))


def _conditions(source: str, tokens: Sequence[Token]) -> Changes:
    """`if C then` never comes true."""
    for place, token in enumerate(tokens):
        if token.text in {"if", "elseif"} and token.kind == "word":
            last = next(at for at in range(place, len(tokens)) if tokens[at].text == "then") - 1
            yield place + 1, last, f"false and ({text(source, tokens, place + 1, last)})"


def _ends_an_operand(one: Token, later: Token, earlier: Token) -> bool:
    """Whether a statement ends or begins there."""
    return one.text in _STATEMENT or _begins_a_statement(later, earlier)


def _begins_a_statement(token: Token, before: Token) -> bool:
    """Whether this token begins a new line and a new statement."""
    return token.new_line and token.kind == "word" and token.text not in _GOES_ON and before.text not in _GOES_ON


def _writes(source: str, tokens: Sequence[Token]) -> Changes:
    """A command that writes is not sent; what it would have answered is 1."""
    for place, command in _commands(tokens):
        if command not in READS:
            first = place - 4
            last = next(at for at in range(place, len(tokens)) if tokens[at].depth == tokens[first].depth)
            arguments = text(source, tokens, place, last - 1)
            is_statement = tokens[first - 1].text in {"then", "else", "do"} or tokens[first].new_line
            yield first, last, f"local _ = {{{arguments}}}" if is_statement else "1"


def _ends(tokens: Sequence[Token]) -> Changes:
    """A list is used at its other end."""
    for place, command in _commands(tokens):
        if command in OTHER_END:
            yield place, place, f"'{OTHER_END[command]}'"


def _commands(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    """Every `redis.call('COMMAND'`: the place of the command, and its name."""
    for place in range(4, len(tokens)):
        if "".join(one.text for one in tokens[place - 4 : place]) == "redis.call(":
            yield place, tokens[place].text.strip("'")
