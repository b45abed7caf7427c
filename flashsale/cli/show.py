"""How the command line shows things: tables for people, JSON for scripts."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flashsale.audit import NAMED_MAX, Audit
from flashsale.clock import from_ms
from flashsale.sale import Sale

_console = Console()
_FOLDED_MIN: Final = 20  # a text is not folded to less
_GAP: Final = 2


def json(data: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")


def text(words: str) -> None:
    """A line for a person; markup as rich has it, so escape() what came from elsewhere."""
    _console.print(words, highlight=False, soft_wrap=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """A table; numbers stand to the right. No word of it is broken, so that a number can be copied.

    In a pipe it is as wide as it needs to be, a line for each row. In a terminal long texts fold between words, and
    where that is not enough each row is shown as a list.
    """
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    room = _console.width if _console.is_terminal else None
    widths = _widths([*zip(columns, *cells, strict=True)], room)
    if title:
        _console.print(title, style="italic", markup=False, highlight=False, soft_wrap=True)
    if widths is None:
        _as_lists(columns, cells)
        return
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for at, column in enumerate(columns):
        number = bool(rows) and all(isinstance(row[at], int) for row in rows)
        made.add_column(column, justify="right" if number else "left", width=widths[at])
    for row in cells:
        made.add_row(*map(escape, row))
    (Console(file=_console.file, width=_total(widths)) if room is None else _console).print(made)
    text("")


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


def _as_lists(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Each row as lines of a name and a value."""
    widest = max(map(cell_len, columns))
    for row in rows:
        lines = (f"[bold]{name:<{widest}}[/bold]  {escape(cell)}" for name, cell in zip(columns, row, strict=True))
        text("\n".join(lines) + "\n")


def counted(number: int, one: str, more: str) -> str:
    """A number with the words for one, or for more: counted(2, "bucket is", "buckets are")."""
    return f"{number:,} {one if number == 1 else more}"


def moment(at_ms: int | None, zone: str = "UTC") -> str:
    """A time for people, in the sale's own zone."""
    if at_ms is None:
        return "-"
    return from_ms(at_ms).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S %Z")


def sale_data(sale: Sale, *, now_ms: int) -> dict[str, Any]:
    """A sale for scripts. *_ms: ms since 1970 UTC."""
    reservation = sale.reservation
    return {
        "sale": sale.sale,
        "state": sale.state_at(now_ms),
        "title": {"zh": sale.title.zh, "en": sale.title.en},
        "entry": sale.entry,
        "opens_ms": sale.opens_ms,
        "closes_ms": sale.closes_ms,
        "reservation": reservation
        and {
            "opens_ms": reservation.opens_ms,
            "closes_ms": reservation.closes_ms,
            "capacity": reservation.capacity,
        },
        "per_fan_limit": sale.per_fan_limit,
        "pay_window_s": sale.pay_window_s,
        "currency": sale.currency,
        "channels": list(sale.channels),
        "buckets": sale.buckets,
        "returned": sale.returned,
        "version": sale.version,
        "items": [
            {"item": item.item, "price_minor": item.price_minor, "loaded": item.loaded, "title_en": item.title.en}
            for item in sale.items
        ],
    }


def audit_table(audited: Audit) -> None:
    """The equation, one line an item."""
    table(
        ("item", "loaded", "free", "moving", "outbox", "live", "returning", "held", "off by"),
        [
            (i.item, i.loaded, i.free, i.moving, i.outbox, i.live, i.returning, i.held, i.difference)
            for i in audited.items
        ],
        title=f"Audit of {audited.sale}: loaded = free + moving + outbox + live + returning + held",
    )
    if audited.closed:
        closed = counted(audited.closed, "bucket is", "buckets are")
        text(f"[red]{closed} closed, what is there is not counted: flashsale recover {audited.sale} --dry-run[/red]")
    for item in audited.items:
        for words, units in (("nowhere", item.missing), ("in two places", item.doubled), ("never loaded", item.beyond)):
            if units:
                more = f" and {len(units) - NAMED_MAX:,} more" if len(units) > NAMED_MAX else ""
                text(f"[red]{item.item}: units {words}: {', '.join(map(str, units[:NAMED_MAX]))}{more}[/red]")
        if item.counter_off:
            text(f"[red]{item.item}: the free counter is off by {item.counter_off}[/red]")
    if audited.set_aside:
        aside = counted(audited.set_aside, "order is", "orders are")
        text(f"[yellow]{aside} set aside and not settled: flashsale outbox list {audited.sale}[/yellow]")
    text("[green]It balances.[/green]" if audited.balanced else "[red]It does not balance.[/red]")


def when(at: datetime) -> str:
    """A time of the log."""
    return at.strftime("%Y-%m-%d %H:%M:%S")
