"""Time, in whole milliseconds since 1970 UTC, and its forms at the borders.

What decides is the bucket's own clock (TIME inside the scripts). This clock is for everything else: pages, tokens,
expiry of payment windows.
"""

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """The wall clock of this machine, in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def now_s() -> float:
    """The wall clock of this machine, in seconds since 1970 UTC."""
    return time.time()


def now() -> datetime:
    """The wall clock of this machine, as an aware UTC datetime."""
    return datetime.now(UTC)


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970 UTC of an aware datetime. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return round(moment.timestamp() * 1000)


def from_ms(moment_ms: int) -> datetime:
    """The aware UTC datetime of so many milliseconds since 1970."""
    return datetime.fromtimestamp(moment_ms / 1000, tz=UTC)
