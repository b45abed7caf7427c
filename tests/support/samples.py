"""Samples: a sale, a plan's text, attempts and returns, with what a test cares about given by name."""

import itertools
import uuid
from dataclasses import dataclass, field
from typing import Final

from flashsale.keys import Bucket
from flashsale.purchase import attempt_line, key_digest
from flashsale.sale import Entry, Item, Reservation, Sale, State, Title

GENERATION: Final = "00000000-0000-0000-0000-000000000001"
FAR_MS: Final = 4_000_000_000_000  # in the year 2096
PLAN: Final = """
sale = "mi3"
title = { zh = "小米手机3", en = "Mi 3" }
opens = 2026-11-24T12:00:00+08:00
closes = "+2h"
time_zone = "Asia/Shanghai"
currency = "CNY"
channels = ["web", "wechat"]

[reservation]
opens = "-6d"
closes = "-1h"

[[items]]
item = "silver"
title = { zh = "银色", en = "Silver" }
price_minor = 199900
stock = 100

[[items]]
item = "black"
title = { zh = "黑色", en = "Black" }
price_minor = 199900
stock = 50
"""


def sale(
    name: str,
    *,
    state: State = State.OPEN,
    version: int = 1,
    opens_ms: int = 0,
    closes_ms: int = FAR_MS,
    limit: int = 1,
    reservation: Reservation | None = None,
    generation: str = GENERATION,
) -> Sale:
    """A sale of two items with one bucket; open for ever if nothing else is said."""
    items = tuple(Item(item, Title("项", item), 100, 0) for item in ("a", "b"))
    return Sale(
        sale=name, generation=generation, version=version, state=state, title=Title("场", "sale"),
        entry=Entry.RESERVATION if reservation else Entry.OPEN, opens_ms=opens_ms, closes_ms=closes_ms,
        reservation=reservation, per_fan_limit=limit, pay_window_s=900, currency="CNY", channels=("web", "wechat"),
        buckets=1, items=items,
    )  # fmt: skip


@dataclass(slots=True)
class Attempts:
    """Makes attempt lines whose orders count up, so that a failing test reads well."""

    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def line(self, fan: str, *, key: str = "k", channel: str = "web", lane: str = "public") -> str:
        """One press of this fan. The same key is the same digest; the order is a new one each time."""
        order = f"{next(self.numbers):032x}"
        return attempt_line(order=order, key=key_digest(key), fan=fan, channel=channel, lane=lane)


def order_of(line: str) -> str:
    """The order that an attempt's line names."""
    return line.split(" ", maxsplit=1)[0]


def bucket(name: str) -> Bucket:
    """The only bucket of a sale."""
    return Bucket(name, 0)


def load_id() -> str:
    """A new id for a stock load."""
    return str(uuid.uuid4())
