"""The walk: a random sequence of verbs on a real server and on the model, compared after each step.

Hypothesis chooses the steps and, when one fails, cuts the walk down to the shortest that still does.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flashsale.keys import Bucket
from flashsale.outcomes import Effect, Outcome
from flashsale.purchase import key_digest
from tests.model.ground import Ground
from tests.model.model import Attempt, Line, Model
from tests.support.holdings import Holdings, check, holdings
from tests.support.samples import FAR_MS, Attempts, order_of
from tests.support.verbs import Verbs

T = TypeVar("T")
ITEMS = st.sampled_from(["a", "b"])
FANS = st.sampled_from(["alice", "bob", "carol.d", "d@e", "f|g", "h"])
KEYS = st.sampled_from(["k1", "k2", "k3", "k4"])
PICK = st.integers(0, 999)
# state, opens_ms, closes_ms, and what they say to a purchase and to a reservation (which is open from 0 for ever).
STATES = st.sampled_from([
    *[("open", 0, FAR_MS, None, None)] * 3,
    ("loaded", 0, FAR_MS, None, None),
    ("loaded", FAR_MS - 1, FAR_MS, Outcome.NOT_OPEN, None),
    ("paused", 0, FAR_MS, Outcome.PAUSED, None),
    ("closed", 0, FAR_MS, Outcome.CLOSED, Outcome.RESERVATION_CLOSED),
    ("open", 0, 1, Outcome.CLOSED, None),
])  # fmt: skip


class Walk(RuleBasedStateMachine):
    """One walk over one bucket of its own. A subclass gives it its ground."""

    ground: ClassVar[Ground]

    def __init__(self) -> None:
        super().__init__()
        self.bucket = Bucket(f"{self.ground.prefix}-{next(self.ground.numbers)}", 0)
        self.verbs = Verbs(self.ground.redis, self.bucket, self.ground.script)
        self.attempts = Attempts()
        self.model = Model(limit=1, returned_max=1, outbox_max=1, reservations_max=1)
        self.version = self.presses = 0
        self.last: tuple[str, list[Attempt]] | None = None
        self.ranges: list[tuple[str, str, int, int]] = []
        self.trimmed: list[tuple[str, int]] = []

    def run(self, step: Awaitable[T]) -> T:
        """Wait for the server."""

        async def waited() -> T:
            return await asyncio.wait_for(step, timeout=10)

        return self.ground.runner.run(waited())

    def note(self, *told: object) -> None:
        """Count what has been seen, so that a test can tell whether the walk gets around."""
        self.ground.steps.update(str(getattr(one, "name", one)) for one in told)

    def held(self) -> Holdings:
        """What the bucket holds."""
        return self.run(holdings(self.ground.redis, self.bucket))

    @initialize(limit=st.integers(1, 3), returned_max=st.integers(0, 2), outbox_max=st.sampled_from([8, 1000, 1000]))
    def plan(self, limit: int, returned_max: int, outbox_max: int) -> None:
        """A sale that is open, with some units of the first item."""
        self.model = Model(limit=limit, returned_max=returned_max, outbox_max=outbox_max, reservations_max=3)
        self.tell(("open", 0, FAR_MS, None, None), "alice")
        self.add_stock("a", 3)

    @rule(told=STATES, fan=FANS)
    def tell(self, told: tuple[str, int, int, Outcome | None, Outcome | None], fan: str) -> None:
        """Open, pause, resume, close, plan: the scripts take any order, the verbs' rules are in sale.py.

        Somebody with a new key presses at once, and somebody reserves, so that no state goes by unseen.
        """
        state, opens_ms, closes_ms, self.model.refusal, self.model.reserve_refusal = told
        self.version += 1
        assert self._set_sale(self.version, state, opens_ms, closes_ms) is Effect.APPLIED
        self.press("a", fan)
        self.reserve([(self.version % 7 + 1, self.version % 3)])

    @rule(item=ITEMS, fan=FANS)
    def press(self, item: str, fan: str) -> None:
        """One fan presses, with a key of its own."""
        self.presses += 1
        self.purchase(item, [(fan, f"p{self.presses}")])

    @rule(told=STATES, back=st.integers(0, 2))
    def tell_late(self, told: tuple[str, int, int, Outcome | None, Outcome | None], back: int) -> None:
        """News that is not new changes nothing."""
        effect = self._set_sale(self.version - back, told[0], told[1], told[2])
        assert effect is (Effect.STALE if back else Effect.APPLIED_BEFORE)

    def _set_sale(self, version: int, state: str, opens_ms: int, closes_ms: int) -> object:
        model = self.model
        return self.run(self.verbs.set_sale(
            create=True, generation="g", version=version, state=state, opens_ms=opens_ms, closes_ms=closes_ms,
            limit=model.limit, returned_max=model.returned_max, outbox_max=model.outbox_max,
            reserve_opens_ms=0, reserve_closes_ms=FAR_MS, reservations_max=model.reservations_max,
        ))  # fmt: skip

    @rule(item=ITEMS, pressed=st.lists(st.tuples(FANS, KEYS), min_size=1, max_size=6))
    def purchase(self, item: str, pressed: list[tuple[str, str]]) -> None:
        """A batch of presses; a fan's key is the same whenever it comes again."""
        attempts = []
        for fan, key in pressed:
            line = self.attempts.line(fan, key=key)
            attempts.append(Attempt(order_of(line), key_digest(key), fan, line))
        self.last = (item, attempts)
        self._purchase(item, attempts)

    @precondition(lambda self: self.last is not None)
    @rule()
    def purchase_again(self) -> None:
        """The very same lines again: a reply was lost and the client repeats the call."""
        assert self.last is not None
        self._purchase(*self.last)

    def _purchase(self, item: str, attempts: list[Attempt]) -> None:
        now_ms, told = self.run(self.verbs.purchase(item, [attempt.line for attempt in attempts]))
        assert told == self.model.purchase(item, attempts, now_ms=now_ms)
        self.note(*(code for code, _ in told))

    @precondition(lambda self: self.model.lines)
    @rule(picks=st.lists(PICK, min_size=1, max_size=3), stranger=st.booleans())
    def give_back(self, picks: list[int], stranger: bool) -> None:
        """Orders come back, again and again too; not those of another item than the first, nor a stranger's."""
        orders = [(fan, line) for fan, lines in self.model.lines.items() for line in lines]
        chosen = [orders[pick % len(orders)] for pick in picks]
        item = chosen[0][1].item
        returned = [(line.order, fan) for fan, line in chosen]
        if stranger:
            returned.append(("f" * 32, "alice"))
        told = self.run(self.verbs.give_back(item, *returned))
        assert told == [self.model.give_back(item, order, fan) for order, fan in returned]
        self.note(*(f"give_back {code.name}" for code in told))

    @rule(item=ITEMS, units=st.integers(1, 8))
    def add_stock(self, item: str, units: int) -> None:
        """New units, numbered on."""
        first = self.model.loaded[item] + 1
        self.ranges.append((item, f"load-{len(self.ranges)}", first, first + units - 1))
        self._add_stock(self.ranges[-1])

    @precondition(lambda self: self.ranges)
    @rule(pick=PICK)
    def add_stock_again(self, pick: int) -> None:
        """A load that is there already."""
        self._add_stock(self.ranges[pick % len(self.ranges)])

    def _add_stock(self, load: tuple[str, str, int, int]) -> None:
        assert self.run(self.verbs.add_stock(*load)) is self.model.add_stock(*load)

    @precondition(lambda self: self.model.outbox)
    @rule(pick=PICK, again=st.booleans())
    def trim(self, pick: int, again: bool) -> None:
        """One entry is committed; with again: those before are trimmed once more in the same call."""
        place = pick % len(self.model.outbox)
        entry = self.held().entries[place]
        earlier = self.trimmed if again else []
        self.trimmed = [*earlier, (entry.entry_id, entry.orders)]
        assert self.run(self.verbs.trim(*self.trimmed)) == len(self.model.outbox.pop(place))

    @rule(asked=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 2)), min_size=1, max_size=4))
    def reserve(self, asked: list[tuple[int, int]]) -> None:
        """Fans reserve through three channels, in two slices."""
        told = self.run(self.verbs.reserve([number % 2 for number, _ in asked], 3, *asked))
        assert told == [self.model.reserve(number, channel) for number, channel in asked]
        self.note(*(code for code, _ in told))

    @invariant()
    def every_unit_is_in_one_place(self) -> None:
        """The equation holds, and the bucket is what the model is."""
        held, model = self.held(), self.model
        check(held, loaded=model.loaded, limit=model.limit)
        assert held.free == model.free
        assert {fan: [_line(line) for line in lines] for fan, lines in model.lines.items()} == {
            fan: [(line.order, line.key, line.unit, line.item, line.accepted_ms, line.live) for line in lines]
            for fan, lines in held.lines.items()
        }
        assert [[win.order for win in entry.wins] for entry in held.entries] == model.outbox
        assert held.loads == len(model.loads)
        assert held.counts.get("reserved", 0) == len(model.reserved)
        by_channel = {f"reserved:{channel}": n for channel, n in Counter(model.reserved.values()).items()}
        assert {name: n for name, n in held.counts.items() if name.startswith("reserved:")} == by_channel


def _line(line: Line) -> tuple[str, str, int, str, int, bool]:
    return line.order, line.key, line.unit, line.item, line.at_ms, line.live
