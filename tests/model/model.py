"""The model: what a bucket must do, in plain Python, as short as the promises are.

It knows nothing of keys, ranges or streams. Where it and a server differ, one of them is wrong.
"""

from collections.abc import Collection, Sequence
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


@dataclass(frozen=True, slots=True)
class Transfer:
    """Units that are leaving for another bucket. number: 0 when there are none."""

    number: int
    item: str
    to: int
    ranges: tuple[tuple[int, ...], ...] = ()


@dataclass(slots=True)
class Model:
    """One bucket of several. refusal: what the state and the clock say to all, if they say no."""

    buckets: int
    limit: int
    returned_max: int
    outbox_max: int
    reservations_max: int
    version: int = 0
    refusal: Outcome | None = None
    reserve_refusal: Outcome | None = None
    ranges: dict[str, list[tuple[int, ...]]] = field(default_factory=lambda: {"a": [], "b": []})
    loads: set[str] = field(default_factory=set)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    outbox: list[tuple[str, ...]] = field(default_factory=list)
    reserved: dict[int, int] = field(default_factory=dict)
    wins: int = 0
    moves: int = 0
    told_again: int = 0
    returned: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    leaving: Transfer | None = None
    received: dict[int, int] = field(default_factory=dict)
    kept: list[tuple[str, int]] = field(default_factory=list)
    fence: str | None = None

    @property
    def free(self) -> dict[str, list[int]]:
        """The free units of each item, in the order in which they are sold."""
        return {item: [unit for units in ranges for unit in units] for item, ranges in self.ranges.items()}

    @property
    def waiting(self) -> int:
        """Orders in the outbox."""
        return sum(map(len, self.outbox))

    def purchase(self, item: str, attempts: Sequence[Attempt], *, now_ms: int) -> list[Told]:
        """Decide a batch, one attempt after the other."""
        full = self.waiting + len(attempts) > self.outbox_max
        refusal = Outcome.UNAVAILABLE if self.fence else self.refusal or (Outcome.WAIT if full else None)
        entry: list[str] = []
        told = [self._decide(item, attempt, refusal=refusal, now_ms=now_ms, entry=entry) for attempt in attempts]
        if entry:
            self.outbox.append(tuple(entry))
        else:
            self.told_again += sum(code is Effect.WON_BEFORE for code, _ in told)
        dry = sum(code is Effect.DRY for code, _ in told)
        if dry:
            self.lost[item] = self.lost.get(item, 0) + dry
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
        if not self.ranges[item]:
            return (Effect.DRY if self.buckets > 1 else Outcome.SOLD_OUT), ""
        unit, *rest = self.ranges[item].pop(0)
        self.ranges[item][:0] = [tuple(rest)] if rest else []
        self.wins += 1
        self.lines.setdefault(attempt.fan, []).append(Line(attempt.order, attempt.key, unit, item, now_ms))
        entry.append(attempt.order)
        return Outcome.WON, unit

    def give_back(self, item: str, returned: Sequence[tuple[str, str]], *, hold: bool = False) -> list[Code]:
        """Units of this item come back: order and fan of each. A call that only repeats is counted."""
        if self.fence:
            return [Effect.FENCED] * len(returned)
        told = [self._give_back(item, order, fan, hold=hold) for order, fan in returned]
        if Effect.APPLIED not in told:
            self.told_again += told.count(Effect.APPLIED_BEFORE)
        return told

    def _give_back(self, item: str, order: str, fan: str, *, hold: bool) -> Code:
        """A unit of this item comes back, once, and goes first; with hold, it is kept outside of the bucket."""
        lines = self.lines.get(fan, [])
        place = next((place for place, line in enumerate(lines) if line.order == order), None)
        if place is None or lines[place].item != item:
            return Effect.NO_SUCH_ORDER
        line = lines[place]
        if not line.live:
            return Effect.APPLIED_BEFORE
        lines[place] = replace(line, live=False)
        self.returned += 1
        if hold:
            self.kept.append((line.item, line.unit))
        else:
            self.ranges[line.item].insert(0, (line.unit,))
        return Effect.APPLIED

    def replace_unit(self, item: str, attempt: Attempt, tried: Collection[int], *, at_ms: int) -> tuple[Code, int]:
        """An order gets the first free unit that it has not tried, unless it has one already, or is over, or its fan
        has what it may not have twice. The unit that it had is another order's."""
        if self.fence:
            return Outcome.UNAVAILABLE, 0
        lines = self.lines.setdefault(attempt.fan, [])
        place = next((place for place, line in enumerate(lines) if line.order == attempt.order), None)
        if place is None:
            if sum(line.live for line in lines) >= self.limit or attempt.key in {line.key for line in lines}:
                return Outcome.ALREADY_BOUGHT, 0
        elif lines[place].item != item:
            return Effect.NO_SUCH_ORDER, 0
        elif not lines[place].live:
            return Effect.STALE, 0
        elif lines[place].unit not in tried:
            return Effect.APPLIED_BEFORE, lines[place].unit
        unit = self._take_first(item, tried)
        if unit is None:
            if self.buckets == 1:
                return Outcome.SOLD_OUT, 0
            self.lost[item] = self.lost.get(item, 0) + 1
            return Effect.DRY, 0
        if place is None:
            lines.append(Line(attempt.order, attempt.key, unit, item, at_ms))
        else:
            self.kept.append((item, lines[place].unit))
            lines[place] = replace(lines[place], unit=unit)
        self.outbox.append((attempt.order,))
        return Effect.APPLIED, unit

    def _take_first(self, item: str, tried: Collection[int]) -> int | None:
        """Take the first free unit that is none of these; the others stay where they are."""
        for at, units in enumerate(self.ranges[item]):
            for place, unit in enumerate(units):
                if unit not in tried:
                    self.ranges[item][at : at + 1] = [rest for rest in (units[:place], units[place + 1 :]) if rest]
                    return unit
        return None

    def end_line(self, item: str, order: str, fan: str, unit: int) -> Code:
        """An order is over. That unit is another order's; one that it got since is free again."""
        if self.fence:
            return Effect.FENCED
        lines = self.lines.get(fan, [])
        place = next((place for place, line in enumerate(lines) if line.order == order and line.item == item), None)
        if place is None:
            return Effect.NO_SUCH_ORDER
        line = lines[place]
        if not line.live:
            return Effect.APPLIED_BEFORE
        lines[place] = replace(line, live=False)
        if line.unit == unit:
            self.kept.append((item, unit))
        else:
            self.ranges[item].insert(0, (line.unit,))
        return Effect.APPLIED

    def add_stock(self, item: str, load: str, first: int, last: int) -> Code:
        """A range comes in, once."""
        if self.fence:
            return Effect.FENCED
        if load in self.loads:
            self.told_again += 1
            return Effect.APPLIED_BEFORE
        self.loads.add(load)
        self.ranges[item].append(tuple(range(first, last + 1)))
        return Effect.APPLIED

    def trim(self, entries: Sequence[tuple[str, ...]]) -> int:
        """Entries are committed, each once; how many orders left the outbox."""
        before = self.waiting
        self.outbox = [entry for entry in self.outbox if entry not in entries]
        return before - self.waiting

    def set_sale(self, version: int, refusal: Outcome | None, reserve_refusal: Outcome | None) -> Code:
        """News of the plan; only what is new counts."""
        if version <= self.version:
            return Effect.APPLIED_BEFORE if version == self.version else Effect.STALE
        self.version, self.refusal, self.reserve_refusal = version, refusal, reserve_refusal
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

    def take_units(self, item: str, to: int, units: int, ranges_max: int) -> Transfer:
        """Units leave from the end, once: while a transfer is open it is told again."""
        if self.fence:
            return Transfer(0, item, to)
        if self.leaving:
            self.told_again += 1
            return self.leaving
        taken: list[tuple[int, ...]] = []
        while self.ranges[item] and units and len(taken) < ranges_max:
            last = self.ranges[item].pop()
            kept, goes = last[: max(0, len(last) - units)], last[max(0, len(last) - units) :]
            self.ranges[item] += [kept] if kept else []
            taken.append(goes)
            units -= len(goes)
        if not taken:
            return Transfer(0, item, to)
        self.moves += 1
        self.leaving = Transfer(self.moves, item, to, tuple(taken))
        return self.leaving

    def put_units(self, source: int, transfer: Transfer) -> Code:
        """Units come in, once: the numbers from a bucket rise."""
        if self.fence:
            return Effect.FENCED
        if self.received.get(source, 0) >= transfer.number:
            self.told_again += 1
            return Effect.APPLIED_BEFORE
        self.received[source] = transfer.number
        self.ranges[transfer.item] += transfer.ranges
        return Effect.APPLIED

    def end_transfer(self, number: int) -> Code:
        """A transfer that has come in is forgotten."""
        if not self.leaving or self.leaving.number != number:
            return Effect.APPLIED_BEFORE
        self.leaving = None
        return Effect.APPLIED

    def put_fence(self, fence: str) -> Code:
        """From here on nothing is sold, and no unit comes or goes."""
        if self.fence == fence:
            return Effect.APPLIED_BEFORE
        self.fence = fence
        return Effect.APPLIED
