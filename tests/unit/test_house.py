"""The house rules that a machine can hold: sizes, first sentences, where literals may stand.

Old offenders are listed by name. A list may only shrink: a file that offends no more must leave it.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

import flashsale

ROOT: Final = Path(flashsale.__file__).parent.parent
FOLDERS: Final = ("flashsale", "loadtest", "tests")
TEXT: Final = {".py", ".lua", ".sql", ".js", ".css", ".html", ".md"}
LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 50

TOO_LONG: Final[set[str]] = set()
FUNCTIONS_TOO_LONG: Final[set[str]] = set()
WITHOUT_DOCSTRING: Final[set[str]] = set()
# embedded_postgres_home.py makes the database itself with psql; queries.py keeps the steps of the schema.
SPELL_SQL: Final = {"flashsale/embedded_postgres_home.py", "flashsale/queries.py"}
SPELL_KEYS: Final = {"flashsale/keys.py"}
READ_THE_CLOCK: Final = {"flashsale/clock.py"}

_SQL: Final = re.compile(
    r"\s*(select\s.+\sfrom|insert\s+into|update\s.+\sset|delete\s+from|(create|alter|drop|truncate)\s+(table|index|database"
    r"|role|schema))\s|\s*with\s.+\sas\s+\(",
    re.IGNORECASE | re.DOTALL,
)
_KEY: Final = re.compile(r"(^|[^a-z])fs:")
_CLOCKS: Final = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


def files(*suffixes: str, folders: Iterable[str] = FOLDERS) -> Iterator[tuple[str, Path]]:
    """Every file of ours with one of these suffixes, by its name from the root."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), path


def trees(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """Every Python file of these folders, parsed."""
    for name, path in files(".py", folders=folders):
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def literals(tree: ast.Module) -> Iterator[str]:
    """Every text in the code that is not a docstring or another bare sentence."""
    sentences = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in sentences:
            yield node.value


def test_no_file_is_too_long() -> None:
    """Given all files / Then none has more than 400 lines."""
    found = {name for name, path in files(*TEXT) if len(path.read_text(encoding="utf-8").splitlines()) > LINES_MAX}
    assert found == TOO_LONG


def test_no_function_is_too_long() -> None:
    """Given all functions / Then none has more than 50 lines."""
    found = {
        f"{name}:{node.name}"
        for name, tree in trees(*FOLDERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    }
    assert found == FUNCTIONS_TOO_LONG


def test_every_file_says_what_it_is() -> None:
    """Given all Python files / Then each opens with a sentence."""
    assert {name for name, tree in trees(*FOLDERS) if not ast.get_docstring(tree)} == WITHOUT_DOCSTRING


def test_key_names_stand_in_keys_only() -> None:
    """Given all texts in the code / Then a key's prefix is spelled in keys.py only."""
    spell = {name for name, tree in trees("flashsale", "loadtest") if any(map(_KEY.search, literals(tree)))}
    build = {name for name, path in files(".py", folders=["flashsale", "loadtest"]) if "PREFIX" in path.read_text()}
    assert spell - SPELL_KEYS == set()
    assert "flashsale/keys.py" in build
    assert not [name for name, path in files(".lua", folders=["flashsale"]) if _KEY.search(path.read_text())]


def test_sql_stands_in_sql_files_only() -> None:
    """Given all texts in the code / Then SQL is written in flashsale/sql, and where the schema's own steps are kept."""
    found = {name for name, tree in trees("flashsale", "loadtest") if any(map(_SQL.match, literals(tree)))}
    assert found == SPELL_SQL, "SQL belongs into flashsale/sql; mended ones leave the list"


def test_time_is_read_in_clock_only() -> None:
    """Given all code of the engine / Then the wall clock is read in clock.py only."""
    found = {
        name
        for name, tree in trees("flashsale", "loadtest")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ".".join(ast.unparse(node).split(".")[-2:]) in _CLOCKS
    }
    assert found == READ_THE_CLOCK, "new ones read the clock by flashsale.clock; mended ones leave the list"


@pytest.mark.parametrize(
    ("text", "is_sql"),
    [
        ("select a from b", True), ("insert into a values (1)", True), ("update a set b = 1", True),
        ("drop table a", True), ("with x as (select 1) select a from x", True), ("Select an item", False),
        ("update the page", False), ("create a sale from a file", False), ("with love", False),
    ],
)  # fmt: skip
def test_the_guard_knows_sql(text: str, is_sql: bool) -> None:
    """Given sentences and statements / Then the guard tells them apart."""
    assert bool(_SQL.match(text)) is is_sql
