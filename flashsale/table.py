"""A table for people: in a terminal no word of it is broken, in a pipe each row is a line."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_FOLDED_MIN: Final = 20  # a text is not folded to less
_GAP: Final = 2


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    title: str | None = None,
    right: Collection[str] = (),
) -> None:
    """A table; numbers stand to the right. No word of it is broken, so that a number can be copied.

    In a pipe it is as wide as it needs to be, a line for each row. In a terminal long texts fold between words, and
    where that is not enough each row is shown as a list. right: columns of texts that stand to the right too.
    """
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    room = console.width if console.is_terminal else None
    widths = _widths([*zip(columns, *cells, strict=True)], room)
    if title:
        console.print(title, style="italic", markup=False, highlight=False, soft_wrap=True)
    if widths is None:
        _as_lists(console, columns, cells)
        return
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for at, column in enumerate(columns):
        number = column in right or (bool(rows) and all(isinstance(row[at], int) for row in rows))
        made.add_column(column, justify="right" if number else "left", width=widths[at])
    for row in cells:
        made.add_row(*map(escape, row))
    (Console(file=console.file, width=_total(widths)) if room is None else console).print(made)
    console.print()


def _widths(columns: Sequence[Sequence[str]], room: int | None) -> list[int] | None:
    """How wide each column, header first, may be; None when they don't fit. room: None when there is no end of it."""
    widths = [max(map(cell_len, column)) for column in columns]
    least = [_least(column) for column in columns]
    while room is not None and _total(widths) > room:
        width, at = max((width if width > least[at] else 0, at) for at, width in enumerate(widths))
        if not width:
            return None
        widths[at] -= 1
    return widths


def _least(column: Sequence[str]) -> int:
    """How narrow a column may be: as its longest word, and short texts don't fold."""
    longest = max((cell_len(word) for cell in column for word in cell.split()), default=0)
    return max(longest, min(_FOLDED_MIN, max(map(cell_len, column))))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _as_lists(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Each row as lines of a name and a value."""
    widest = max(map(cell_len, columns))
    for row in rows:
        lines = (f"[bold]{name:<{widest}}[/bold]  {escape(cell)}" for name, cell in zip(columns, row, strict=True))
        console.print("\n".join(lines) + "\n", highlight=False, soft_wrap=True)
