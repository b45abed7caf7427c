"""The changes that Lua and SQL have in common: an operand that says nothing, a bound that is off by one, a sign."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from tests.mutants.mutant import Edit
from tests.mutants.tokens import Token, reach

OFF_BY_ONE: Final = {">=": ">", "<=": "<", ">": ">=", "<": "<="}
OTHER_SIGN: Final = {"+": "-", "-": "+"}
_AND_OR: Final = frozenset({"and", "or"})
_NO_VALUE: Final = frozenset({"return", "then", "else", "select", "and", "or", "not", "by"})  # a sign after it is unary

Changes = Iterator[tuple[int, int, str]]  # first token, last token, what takes their place
# Whether an operand ends before a token that it has reached: the token, and of the two at that border the later and the
# earlier.
Ends = Callable[[Token, Token, Token], bool]


def as_edits(tokens: Sequence[Token], changes: Changes, place: str) -> list[Edit]:
    """The same changes by their places in the text."""
    return [Edit(tokens[first].start, tokens[last].end, becomes, place) for first, last, becomes in changes]


def operands(source: str, tokens: Sequence[Token], ends: Ends, *, no_operators: Collection[int] = ()) -> Changes:
    """One side of an `and` or `or` says nothing any more. no_operators: the `and`s that belong to a between."""
    operators = {at for at, one in enumerate(tokens) if one.kind == "word" and one.text in _AND_OR}
    operators -= set(no_operators)
    starts = {tokens[at].start for at in operators}
    for place in sorted(operators):
        is_and = tokens[place].text == "and"

        def weak(one: Token, is_and: bool = is_and) -> bool:
            return one.start in starts and (is_and or one.text == "or")

        def left(one: Token, last: Token, weak: Callable[[Token], bool] = weak) -> bool:
            return weak(one) or ends(one, last, one)

        def right(one: Token, last: Token, weak: Callable[[Token], bool] = weak) -> bool:
            return weak(one) or ends(one, one, last)

        sides = (reach(tokens, place, -1, left), place - 1), (place + 1, reach(tokens, place, +1, right))
        for first, last in sides:
            if not (is_and and _is_always_true(tokens[first : last + 1])):
                yield first, last, f"({text(source, tokens, first, last)} {'or true' if is_and else 'and false'})"


def _is_always_true(operand: Sequence[Token]) -> bool:
    """Whether it is a table or a text, so that `or true` changes nothing."""
    return operand[0].text == "{" or operand[0].kind in {"text", "number"} or ".." in {one.text for one in operand}


def bounds(tokens: Sequence[Token]) -> Changes:
    """A bound is off by one."""
    yield from ((place, place, OFF_BY_ONE[one.text]) for place, one in enumerate(tokens) if one.text in OFF_BY_ONE)


def signs(tokens: Sequence[Token]) -> Changes:
    """What is added is taken away, what is taken away is added; a number loses its sign."""
    for place, one in enumerate(tokens):
        if one.text in OTHER_SIGN and one.kind == "mark":
            before = tokens[place - 1]
            is_value = before.kind != "mark" or before.text in {")", "]"} or before.text.startswith("$")
            yield place, place, OTHER_SIGN[one.text] if is_value and before.text not in _NO_VALUE else " "


def text(source: str, tokens: Sequence[Token], first: int, last: int) -> str:
    """What stands there."""
    return source[tokens[first].start : tokens[last].end]
