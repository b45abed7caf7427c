"""Cuts Lua and SQL into tokens, as far as finding conditions and their operands needs it."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_LUA: Final = re.compile(
    r"(?P<skip>\s+|--[^\n]*|#!lua[^\n]*)|(?P<text>'(?:[^'\\]|\\.)*'|\"[^\"]*\")|(?P<word>[A-Za-z_]\w*)|(?P<number>\d+)"
    r"|(?P<mark>\.\.\.|\.\.|==|~=|<=|>=|.)"
)
_SQL: Final = re.compile(
    r"(?P<skip>\s+|--[^\n]*)|(?P<text>'(?:[^']|'')*')|(?P<word>[A-Za-z_]\w*)|(?P<number>\d+)"
    r"|(?P<mark>\$\d+|::|->>|->|=>|<>|<=|>=|!=|.)"
)
OPENING: Final = {"(": ")", "[": "]", "{": "}"}
CLOSING: Final = frozenset(OPENING.values())


@dataclass(frozen=True, slots=True)
class Token:
    """One word, number, text or mark, and where it stands. depth: how many brackets are open around it."""

    kind: str
    text: str
    start: int
    end: int
    depth: int
    new_line: bool


def cut_lua(source: str) -> list[Token]:
    """The tokens of a script."""
    return list(_cut(_LUA, source))


def cut_sql(source: str) -> list[Token]:
    """The tokens of SQL, words in lower case."""
    return list(_cut(_SQL, source))


def _cut(pattern: re.Pattern[str], source: str) -> Iterator[Token]:
    depth, new_line = 0, True
    for match in pattern.finditer(source):
        kind, text = str(match.lastgroup), match[0]
        if kind == "skip":
            new_line = new_line or "\n" in text
            continue
        if text in CLOSING:
            depth -= 1
        yield Token(kind, text if kind == "text" else text.lower() if pattern is _SQL else text, *match.span(),
                    depth, new_line)  # fmt: skip
        if text in OPENING:
            depth += 1
        new_line = False


def reach(tokens: Sequence[Token], place: int, step: int, stops: Callable[[Token, Token], bool]) -> int:
    """How far an operand reaches from the operator at this place, to the left (-1) or right (+1): its last token.

    It ends before a bracket that it did not open, and before a token at which stops(token, the one before it) says so.
    """
    depth, at = tokens[place].depth, place
    while 0 <= at + step < len(tokens):
        token = tokens[at + step]
        if token.depth < depth or (token.depth == depth and stops(token, tokens[at])):
            break
        at += step
    return at
