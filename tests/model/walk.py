"""The walk: a random sequence of verbs on the buckets of a sale and on the model, compared after each step.

Hypothesis chooses the steps and, when one fails, cuts the walk down to the shortest that still does. Some calls have a
fate: their reply is lost after the write, or they are lost themselves. Later they are made once more, as they were,
and must be told the truth.
"""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from flashsale.keys import Bucket
from flashsale.outcomes import Outcome
from flashsale.purchase import key_digest
from tests.model.base import FATES, ITEMS, PICK, Call, Fate
from tests.model.compare import compare
from tests.model.model import Attempt, Line, Model
from tests.model.recovering import Recovering
from tests.model.replacing import FANS
from tests.support.holdings import check_all
from tests.support.samples import FAR_MS, order_of
from tests.support.verbs import Verbs

FAN = st.sampled_from(FANS)
KEYS = st.sampled_from(["k1", "k2", "k3", "k4"])
State = tuple[str, int, int, Outcome | None, Outcome | None]
# state, opens_ms, closes_ms, and what they say to a purchase and to a reservation (which is open from 0 for ever).
OPEN: State = ("open", 0, FAR_MS, None, None)
STATES: "st.SearchStrategy[State]" = st.sampled_from([
    OPEN, OPEN, OPEN,
    ("loaded", 0, FAR_MS, None, None),
    ("loaded", FAR_MS - 1, FAR_MS, Outcome.NOT_OPEN, None),
    ("paused", 0, FAR_MS, Outcome.PAUSED, None),
    ("closed", 0, FAR_MS, Outcome.CLOSED, Outcome.RESERVATION_CLOSED),
    ("open", 0, 1, Outcome.CLOSED, None),
])  # fmt: skip


class Walk(Recovering):
    """One walk over the buckets of a sale of its own. A subclass gives it its ground."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = {"a": 0, "b": 0}
        self.moving: dict[str, set[int]] = {"a": set(), "b": set()}
        self.limit = self.presses = self.news = self.releases = 0

    @initialize(
        buckets=st.integers(1, 3), limit=st.integers(1, 3), returned_max=st.integers(0, 2),
        outbox_max=st.sampled_from([2, 5, 1000, 1000, 1000, 1000]),
    )  # fmt: skip
    def plan(self, buckets: int, limit: int, returned_max: int, outbox_max: int) -> None:
        """A sale that is open, with some units of the first item in each bucket."""
        self.limit = limit
        for number in range(buckets):
            self.models.append(Model(buckets, limit, returned_max, outbox_max, reservations_max=3))
            self.verbs.append(Verbs(self.ground.redis, Bucket(self.sale, number), self.ground.script))
            self._tell(number, OPEN, Fate.TOLD)
            self.add_stock(number, "a", 3, Fate.TOLD)

    @precondition(lambda self: self.unknown)
    @rule(pick=PICK)
    def ask_again(self, pick: int) -> None:
        """A call whose end is unknown, once more, the same: now the truth is told."""
        self.do(self.unknown.pop(pick % len(self.unknown)), Fate.TOLD)
        self.ground.steps["asked again"] += 1

    @precondition(lambda self: self.again)
    @rule(pick=PICK)
    def repeat(self, pick: int) -> None:
        """A call that ended well, once more: a worker began again, a client repeats itself."""
        self.tell_truth(self.again[-1 - pick % len(self.again)])
        self.ground.steps["repeated"] += 1

    @rule(bucket=PICK, state=STATES, fan=PICK, passes=st.sampled_from([True, True, False]), fate=FATES)
    def tell(self, bucket: int, state: State, fan: int, passes: bool, fate: Fate) -> None:
        """Open, pause, resume, close, plan: the scripts take any order, the verbs' rules are in sale.py.

        A fan of this bucket presses at once with a new key, and somebody reserves, so that no state goes by unseen.
        passes: then it is open again.
        """
        bucket %= len(self.models)
        fans = FANS[bucket :: len(self.models)]
        self._tell(bucket, state, fate)
        self.press("a", fans[fan % len(fans)], Fate.TOLD)
        self.reserve(bucket, [(self.news % 7 + 1, self.news % 3)], Fate.TOLD)
        if passes:
            self._tell(bucket, OPEN, Fate.TOLD)

    def _tell(self, bucket: int, state: State, fate: Fate) -> None:
        self.news += 1
        self.do(Call("set_sale", self._news(bucket, state, self.news)), fate)

    def _news(self, bucket: int, state: State, version: int) -> Callable[[], tuple[object, object]]:
        model, (name, opens_ms, closes_ms, refusal, reserve_refusal) = self.models[bucket], state
        fields: dict[str, str | int] = {
            "state": name, "opens_ms": opens_ms, "closes_ms": closes_ms, "limit": model.limit,
            "returned_max": model.returned_max, "outbox_max": model.outbox_max, "reserve_opens_ms": 0,
            "reserve_closes_ms": FAR_MS, "reservations_max": model.reservations_max, "buckets": model.buckets,
        }  # fmt: skip
        return lambda: (
            self.ground.run(self.verbs[bucket].set_sale(create=True, generation="g", version=version, **fields)),
            model.set_sale(version, refusal, reserve_refusal),
        )

    @rule(item=ITEMS, fan=FAN, fate=FATES)
    def press(self, item: str, fan: str, fate: Fate) -> None:
        """One fan presses, with a key of its own."""
        self.presses += 1
        self.purchase(item, [(fan, f"p{self.presses}")], fate)

    @rule(item=ITEMS, pressed=st.lists(st.tuples(FAN, KEYS), min_size=1, max_size=6), fate=FATES)
    def purchase(self, item: str, pressed: list[tuple[str, str]], fate: Fate) -> None:
        """A batch of presses for each bucket that has some of these fans. A fan's key is the same whenever it comes
        again; the order's id is the same only if the very same call is repeated."""
        for bucket in range(len(self.models)):
            lines = [
                (fan, key, self.attempts.line(fan, key=key))
                for fan, key in pressed
                if FANS.index(fan) % len(self.models) == bucket
            ]
            attempts = [Attempt(order_of(line), key_digest(key), fan, line) for fan, key, line in lines]
            if attempts:
                self.do(Call("purchase", self._purchase(bucket, item, attempts)), fate)

    def _purchase(self, bucket: int, item: str, attempts: list[Attempt]) -> Callable[[], tuple[object, object]]:
        def call() -> tuple[object, object]:
            now_ms, told = self.ground.run(self.verbs[bucket].purchase(item, [attempt.line for attempt in attempts]))
            self.ground.steps.update(code.name for code, _ in told)
            return told, self.models[bucket].purchase(item, attempts, now_ms=now_ms)

        return call

    @rule(
        bucket=PICK, picks=st.lists(PICK, min_size=1, max_size=3), stranger=st.booleans(),
        mistaken=st.sampled_from([False, False, False, True]), hold=st.booleans(), fate=FATES,
    )  # fmt: skip
    def give_back(self, bucket: int, picks: list[int], stranger: bool, mistaken: bool, hold: bool, fate: Fate) -> None:
        """Orders come back, again and again too; not those of another item than is said, nor a stranger's.

        hold: their units are kept outside of the bucket until they are released.
        """
        bucket %= len(self.models)
        orders = [(fan, line) for fan, lines in self.models[bucket].lines.items() for line in lines]
        if not orders:
            return
        chosen: list[tuple[str, Line]] = [orders[pick % len(orders)] for pick in picks]
        item = {"a": "b", "b": "a"}[chosen[0][1].item] if mistaken else chosen[0][1].item
        returned = [(line.order, fan) for fan, line in chosen]
        if stranger:
            returned.append(("f" * 32, "alice"))

        def call() -> tuple[object, object]:
            told = self.ground.run(self.verbs[bucket].give_back(item, *returned, place="hold" if hold else "free"))
            self.ground.steps.update(f"give_back {code.name}" for code in told)
            return told, self.models[bucket].give_back(item, returned, hold=hold)

        self.do(Call("give_back", call), fate)

    @rule(bucket=PICK, pick=PICK, fate=FATES)
    def release(self, bucket: int, pick: int, fate: Fate) -> None:
        """A unit that was kept goes on sale again, by a load of its own, in any bucket."""
        kept = [(model, place) for model in self.models for place in range(len(model.kept))]
        if not kept:
            return
        model, place = kept[pick % len(kept)]
        item, unit = model.kept.pop(place)
        self.moving[item].add(unit)
        self.releases += 1
        self._load(bucket % len(self.models), item, f"release-{self.releases}", unit, unit, fate)

    @rule(bucket=PICK, item=ITEMS, units=st.integers(1, 8), fate=FATES)
    def add_stock(self, bucket: int, item: str, units: int, fate: Fate) -> None:
        """New units, numbered on. They exist from now on; a lost call leaves them on the move."""
        bucket %= len(self.models)
        first, last = self.loaded[item] + 1, self.loaded[item] + units
        self.loaded[item] = last
        self.moving[item] |= set(range(first, last + 1))
        self._load(bucket, item, f"load-{item}-{first}", first, last, fate)

    def _load(self, bucket: int, item: str, load: str, first: int, last: int, fate: Fate) -> None:
        def call() -> tuple[object, object]:
            if load not in self.models[bucket].loads and not self.models[bucket].fence:
                self.moving[item] -= set(range(first, last + 1))
            return (
                self.ground.run(self.verbs[bucket].add_stock(item, load, first, last)),
                self.models[bucket].add_stock(item, load, first, last),
            )

        self.do(Call("add_stock", call), fate)

    @rule(
        bucket=PICK,
        asked=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 2)), min_size=1, max_size=4),
        fate=FATES,
    )
    def reserve(self, bucket: int, asked: list[tuple[int, int]], fate: Fate) -> None:
        """Fans reserve through three channels, in two slices."""
        bucket %= len(self.models)

        def call() -> tuple[object, object]:
            told = self.ground.run(self.verbs[bucket].reserve([number % 2 for number, _ in asked], 3, *asked))
            self.ground.steps.update(code.name for code, _ in told)
            return told, [self.models[bucket].reserve(number, channel) for number, channel in asked]

        self.do(Call("reserve", call), fate)

    @invariant()
    def every_unit_is_in_one_place(self) -> None:
        """The equation holds over all buckets, and each bucket is what its model is."""
        held = [self.held(bucket) for bucket in range(len(self.models))]
        for one, model in zip(held, self.models, strict=True):
            compare(one, model)
        if held:
            check_all(held, loaded=self.loaded, limit=self.limit, moving=self._outside())

    def _outside(self) -> dict[str, set[int]]:
        """The units that are in no bucket: loads on their way, and what is kept."""
        kept = [unit for model in self.models for unit in model.kept]
        return {
            item: units | {unit for its_item, unit in kept if its_item == item} for item, units in self.moving.items()
        }
