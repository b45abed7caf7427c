"""The model: what one bucket must do, in plain Python, as short as the promises are.

It knows nothing of keys, ranges or streams. Where it and a server differ, one of them is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from flashsale.outcomes import Effect, Outcome
from tests.support.verbs import Code, Told


@dataclass(frozen=True, slots=True)
class Line:
    """One order of a fan."""

    order: str
    key: str
    unit: int
    item: str
    at_ms: int
    live: bool = True


@dataclass(frozen=True, slots=True)
class Attempt:
    """One press, with the line as it is sent."""

    order: str
    key: str
    fan: str
    line: str


@dataclass(slots=True)
class Model:
    """One bucket. refusal: what the state and the clock say to all, if they say no."""

    limit: int
    returned_max: int
    outbox_max: int
    reservations_max: int
    refusal: Outcome | None = None
    reserve_refusal: Outcome | None = None
    free: dict[str, list[int]] = field(default_factory=lambda: {"a": [], "b": []})
    loaded: dict[str, int] = field(default_factory=lambda: {"a": 0, "b": 0})
    loads: set[str] = field(default_factory=set)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    outbox: list[list[str]] = field(default_factory=list)
    reserved: dict[int, int] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """Orders in the outbox."""
        return sum(map(len, self.outbox))

    def purchase(self, item: str, attempts: Sequence[Attempt], *, now_ms: int) -> list[Told]:
        """Decide a batch, one attempt after the other."""
        full = self.waiting + len(attempts) > self.outbox_max
        refusal = self.refusal or (Outcome.WAIT if full else None)
        entry: list[str] = []
        told = [self._decide(item, attempt, refusal=refusal, now_ms=now_ms, entry=entry) for attempt in attempts]
        if entry:
            self.outbox.append(entry)
        return told

    def _decide(self, item: str, attempt: Attempt, *, refusal: Outcome | None, now_ms: int, entry: list[str]) -> Told:
        lines = self.lines.get(attempt.fan, [])
        before = next((line for line in lines if line.key == attempt.key), None)
        if before:
            if before.item != item:
                return Outcome.KEY_REUSED, ""
            return Effect.WON_BEFORE, f"{before.order} {before.unit} {before.at_ms}"
        if refusal:
            return refusal, ""
        live = [line for line in lines if line.live]
        if len(live) >= self.limit:
            return Outcome.ALREADY_BOUGHT, live[-1].order
        if len(lines) - len(live) > self.returned_max:
            return Outcome.RETURNED_TOO_OFTEN, ""
        if not self.free[item]:
            return Outcome.SOLD_OUT, ""
        unit = self.free[item].pop(0)
        self.lines.setdefault(attempt.fan, []).append(Line(attempt.order, attempt.key, unit, item, now_ms))
        entry.append(attempt.order)
        return Outcome.WON, unit

    def give_back(self, item: str, order: str, fan: str) -> Code:
        """A unit of this item comes back, once, and goes first."""
        lines = self.lines.get(fan, [])
        place = next((place for place, line in enumerate(lines) if line.order == order), None)
        if place is None or lines[place].item != item:
            return Effect.NO_SUCH_ORDER
        line = lines[place]
        if not line.live:
            return Effect.APPLIED_BEFORE
        lines[place] = replace(line, live=False)
        self.free[line.item].insert(0, line.unit)
        return Effect.APPLIED

    def add_stock(self, item: str, load: str, first: int, last: int) -> Code:
        """A range comes in, once."""
        if load in self.loads:
            return Effect.APPLIED_BEFORE
        self.loads.add(load)
        self.free[item] += range(first, last + 1)
        self.loaded[item] += last - first + 1
        return Effect.APPLIED

    def reserve(self, number: int, channel: int) -> tuple[Code, int]:
        """A fan gets into the list, once, under the first channel."""
        if number in self.reserved:
            return Outcome.RESERVED, self.reserved[number]
        if self.reserve_refusal:
            return self.reserve_refusal, channel
        if len(self.reserved) >= self.reservations_max:
            return Outcome.RESERVATION_FULL, channel
        self.reserved[number] = channel
        return Outcome.RESERVED, channel
