"""How the command line shows things: tables for people, JSON for scripts."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from rich.console import Console

from flashsale.audit import NAMED_MAX, Audit, ItemAudit
from flashsale.clock import from_ms
from flashsale.sale import Sale, UnitPool
from flashsale.table import print_table

_console = Console()


def json(data: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")


def text(words: str) -> None:
    """A line for a person; markup as rich has it, so escape() what came from elsewhere."""
    _console.print(words, highlight=False, soft_wrap=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """A table on standard output."""
    print_table(_console, columns, rows, title=title)


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
        "challenged": sale.challenged,
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
            (_named(i), i.loaded, i.free, i.moving, i.outbox, i.live, i.returning, i.held, i.difference)
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
                text(f"[red]{_named(item)}: units {words}: {', '.join(map(str, units[:NAMED_MAX]))}{more}[/red]")
        if item.counter_off:
            text(f"[red]{item.item}: the free counter is off by {item.counter_off}[/red]")
    if audited.set_aside:
        aside = counted(audited.set_aside, "order is", "orders are")
        text(f"[yellow]{aside} set aside and not settled: flashsale outbox list {audited.sale}[/yellow]")
    text("[green]It balances.[/green]" if audited.balanced else "[red]It does not balance.[/red]")


def _named(one: ItemAudit) -> str:
    """An item, and its pool where that is not everybody's."""
    return one.item if one.pool is UnitPool.PUBLIC else f"{one.item} ({one.pool})"


def when(at: datetime) -> str:
    """A time of the log."""
    return at.strftime("%Y-%m-%d %H:%M:%S")
