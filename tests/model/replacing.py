"""Orders that Postgres refused: they get another unit, once or again, or their line ends.

A unit that was refused is another order's, so it is in no bucket then; later it may be loaded anew, as if that order
were over. What is told of an order's units only grows, as in Postgres. An order that is still in the outbox was not
refused yet.
"""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import rule

from flashsale.outcomes import Effect
from flashsale.purchase import key_digest
from tests.model.base import FATES, PICK, Call, Fate
from tests.model.model import Attempt, Line, Model
from tests.model.transfers import Transfers
from tests.support.samples import Attempts, order_of

FANS = ["alice", "bob", "carol.d", "d@e", "f|g", "h"]
UNITS = st.lists(st.integers(1, 9), max_size=4)


class Replacing(Transfers):
    """The two verbs. tried: the units that each order was refused with."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts = Attempts()
        self.tried: dict[str, set[int]] = {}

    @rule(
        bucket=PICK, pick=PICK, own=st.sampled_from([True, True, True, False]), first=st.booleans(), others=UNITS,
        fate=FATES,
    )  # fmt: skip
    def replace_unit(self, bucket: int, pick: int, own: bool, first: bool, others: list[int], fate: Fate) -> None:
        """An order that the bucket knows is to have another unit. own: the one that it has is refused too; first: all
        units of the first range that is free were tried."""
        bucket %= len(self.models)
        chosen = self._landed(bucket)
        if not chosen:
            return
        fan, line = chosen[pick % len(chosen)]
        ranges = self.models[bucket].ranges[line.item] if first else []
        tried = self._tried(line.order, {line.unit} if own else set(), others, *map(set, ranges[:1]))
        attempt = Attempt(line.order, line.key, fan, f"{line.order} {line.key} {fan} web public")
        self.do(Call("replace_unit", self._replace(bucket, line.item, attempt, tried, line.at_ms)), fate)

    @rule(pick=PICK, key=st.sampled_from(["k1", "k2", "k3", "k4"]), others=UNITS, fate=FATES)
    def replace_forgotten(self, pick: int, key: str, others: list[int], fate: Fate) -> None:
        """An order of which the bucket knows nothing is to have a unit."""
        fan = FANS[pick % len(FANS)]
        text = self.attempts.line(fan, key=key)
        attempt = Attempt(order_of(text), key_digest(key), fan, text)
        bucket = FANS.index(fan) % len(self.models)
        item = "ab"[pick % 2]
        tried = self._tried(attempt.order, set(), others)
        self.do(Call("replace_unit", self._replace(bucket, item, attempt, tried, 1)), fate)

    @rule(bucket=PICK, pick=PICK, other=st.sampled_from([False, False, True]), fate=FATES)
    def end_line(self, bucket: int, pick: int, other: bool, fate: Fate) -> None:
        """A refused order's line ends. other: it has another unit by now than the one that it was refused for."""
        bucket %= len(self.models)
        chosen = self._landed(bucket)
        if not chosen:
            return
        fan, line = chosen[pick % len(chosen)]
        unit = line.unit + 1 if other else line.unit

        def call() -> tuple[object, object]:
            told = self.ground.run(self.verbs[bucket].end_line(line.item, line.order, fan, unit))
            return told, self.models[bucket].end_line(line.item, line.order, fan, unit)

        self.do(Call("end_line", call), fate)

    def _landed(self, bucket: int) -> list[tuple[str, Line]]:
        """The lines of orders that are not on their way; when all are, they land first."""
        if not (found := _not_on_its_way(self.models[bucket])):
            self.land(bucket)
            found = _not_on_its_way(self.models[bucket])
        return found

    def _tried(self, order: str, *units: "set[int] | list[int]") -> frozenset[int]:
        self.tried[order] = self.tried.get(order, set()).union(*units)
        return frozenset(self.tried[order])

    def _replace(
        self, bucket: int, item: str, attempt: Attempt, tried: frozenset[int], at_ms: int
    ) -> Callable[[], tuple[object, object]]:
        def call() -> tuple[object, object]:
            told = self.ground.run(
                self.verbs[bucket].replace_unit(item, attempt.line, *sorted(tried), accepted_ms=at_ms)
            )
            self.ground.steps[f"replace_unit {told[0].name}"] += 1
            self.ground.steps["replaced twice"] += told[0] is Effect.APPLIED and len(tried) > 1
            return told, self.models[bucket].replace_unit(item, attempt, tried, at_ms=at_ms)

        return call


def _not_on_its_way(model: Model) -> list[tuple[str, Line]]:
    waiting = {order for entry in model.outbox for order in entry}
    return [(fan, line) for fan, lines in model.lines.items() for line in lines if line.order not in waiting]
