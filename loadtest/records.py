"""What a crowd saw: every answered request with its times, and every win that a fan was told of."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from flashsale.outcomes import Outcome

_COUNTS: Final = ("offered", "transport_errors", "paid", "won_on_retry", "cancelled")
_ANSWERS: Final = ("reservations", "purchases", "looks")
COLUMNS: Final = ("codes", "items", "sent", "answered")
OTHER: Final = 0  # an answer without an outcome, a 404 for instance


@dataclass(slots=True)
class Answers:
    """One line for each answered request, as columns. Times in seconds since 1970 UTC."""

    codes: "array[int]" = field(default_factory=lambda: array("H"))
    items: "array[int]" = field(default_factory=lambda: array("H"))
    sent: "array[float]" = field(default_factory=lambda: array("d"))
    answered: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, code: int, item: int, sent: float, answered: float) -> None:
        """Note one."""
        self.codes.append(code)
        self.items.append(item)
        self.sent.append(sent)
        self.answered.append(answered)

    def __len__(self) -> int:
        return len(self.codes)

    def extend(self, other: "Answers") -> None:
        """Add all of another's."""
        self.codes.extend(other.codes)
        self.items.extend(other.items)
        self.sent.extend(other.sent)
        self.answered.extend(other.answered)

    def within(self, code: int, begin_s: float, end_s: float) -> int:
        """How many of one outcome were answered in that time."""
        pairs = zip(self.codes, self.answered, strict=True)
        return sum(1 for its, at in pairs if its == code and begin_s <= at <= end_s)

    def next_after(self, code: int, at_s: float) -> float | None:
        """Seconds from that moment until the next answer of one outcome; None when there was none."""
        later = [at for its, at in zip(self.codes, self.answered, strict=True) if its == code and at > at_s]
        return round(min(later) - at_s, 3) if later else None

    def by_outcome(self) -> dict[str, int]:
        """How many of each outcome."""
        counts: dict[int, int] = {}
        for code in self.codes:
            counts[code] = counts.get(code, 0) + 1
        return {Outcome(c).name if c != OTHER else "OTHER": n for c, n in sorted(counts.items())}


@dataclass(slots=True)
class Seen:
    """All that one crowd, or several together, saw."""

    reservations: Answers = field(default_factory=Answers)
    purchases: Answers = field(default_factory=Answers)
    looks: Answers = field(default_factory=Answers)
    wins: dict[str, tuple[str, str, int, str]] = field(default_factory=dict)  # order -> fan, item, unit, level
    told_of: dict[str, str] = field(default_factory=dict)  # orders named with ALREADY_BOUGHT -> fan
    won_on_retry: int = 0
    cancelled: int = 0
    offered: int = 0
    transport_errors: int = 0
    paid: int = 0

    def write(self, folder: Path) -> None:
        """Write it down in a folder, for another process to read."""
        for name in _ANSWERS:
            answers = getattr(self, name)
            for column in COLUMNS:
                (folder / f"{name}.{column}").write_bytes(getattr(answers, column).tobytes())
        rest = {name: getattr(self, name) for name in (*_COUNTS, "told_of", "wins")}
        (folder / "seen.json").write_bytes(orjson.dumps(rest))


def read(folders: Iterable[Path]) -> Seen:
    """What several crowds wrote down, together."""
    seen = Seen()
    for folder in folders:
        for name in _ANSWERS:
            part = Answers()
            for column in COLUMNS:
                getattr(part, column).frombytes((folder / f"{name}.{column}").read_bytes())
            getattr(seen, name).extend(part)
        rest = orjson.loads((folder / "seen.json").read_bytes())
        for name in _COUNTS:
            setattr(seen, name, getattr(seen, name) + rest[name])
        seen.told_of |= rest["told_of"]
        seen.wins |= {order: tuple(win) for order, win in rest["wins"].items()}
    return seen
