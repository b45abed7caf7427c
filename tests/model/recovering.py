"""A bucket is fenced, and rebuilt from what is known elsewhere; here that is the model itself.

What was between the bucket and another is cut off, as a recovery does it. Whoever still holds such a transfer may try
to put its units in at any later time.
"""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from flashsale.outcomes import Effect
from tests.model.base import FATES, PICK, Call, Fate
from tests.model.model import Model
from tests.model.replacing import Replacing
from tests.support.verbs import Verbs

_SKIPPED = 100


class Recovering(Replacing):
    """The fence, which stays until the bucket is rebuilt, and the rebuilding."""

    def __init__(self) -> None:
        super().__init__()
        self.fences = 0

    @rule(bucket=PICK, fate=FATES, dies=st.booleans())
    def fence(self, bucket: int, fate: Fate, dies: bool) -> None:
        """Somebody begins to recover a bucket, and may die then."""
        bucket %= len(self.models)
        self._fence(bucket, fate)
        if not dies:
            self.recover(bucket)

    def _fence(self, bucket: int, fate: Fate) -> None:
        self.fences += 1
        fence = str(self.fences)

        def call() -> tuple[object, object]:
            return self.ground.run(self.verbs[bucket].fence(fence)), self.models[bucket].put_fence(fence)

        self.do(Call("fence", call), fate)

    @precondition(lambda self: self.told)
    @rule(pick=PICK)
    def put_behind_a_fence(self, pick: int) -> None:
        """A balancer comes with units while a bucket is recovered."""
        _, transfer = self.told[-1 - pick % len(self.told)]
        self._fence(transfer.to, Fate.TOLD)
        self.put_units(pick, Fate.TOLD)
        self.recover(transfer.to)

    @rule(bucket=PICK)
    def recover(self, bucket: int) -> None:
        """A bucket is fenced, cut off from the others, emptied, filled and opened."""
        bucket %= len(self.models)
        self._fence(bucket, Fate.TOLD)
        number = self._cut_off(bucket)
        others = {other: one.moves for other, one in enumerate(self.models) if other != bucket}
        model = self.models[bucket]
        model.moves, model.received = number, dict(others)
        self.ground.run(_fill(self.verbs[bucket], model, others))
        model.fence = None
        self.ground.steps["recovered"] += 1

    def _cut_off(self, bucket: int) -> int:
        """Units between this bucket and another are free here, unless they have come in. Returns the last number."""
        model = self.models[bucket]
        number = model.moves + _SKIPPED
        for other, one in enumerate(self.models):
            if other == bucket:
                continue
            if model.leaving and model.leaving.to == other:
                if one.received.get(bucket, 0) < model.leaving.number:
                    model.ranges[model.leaving.item] += model.leaving.ranges
                model.leaving = None
            one.received[bucket] = number
            assert self.ground.run(self.verbs[other].skip_transfers(bucket, number)) is Effect.APPLIED
            if one.leaving and one.leaving.to == bucket:
                if model.received.get(other, 0) < one.leaving.number:
                    model.ranges[one.leaving.item] += one.leaving.ranges
                assert self.ground.run(self.verbs[other].end_transfer(one.leaving.number)) is Effect.APPLIED
                one.leaving = None
        return number


async def _fill(verbs: Verbs, model: Model, received: dict[int, int]) -> None:
    """Write what the model holds into its fenced bucket."""
    fence = model.fence or ""
    told = [await verbs.empty_bucket(fence, ["a", "b"], *(word for pair in received.items() for word in pair))]
    for fan, lines in model.lines.items():
        texts = [f"{x.order} {x.key} {x.live:d} {x.unit} {x.item} {x.at_ms}" for x in lines]
        told += [await verbs.rebuild_buyers(fence, fan, "\n".join(texts))] if texts else []
    told += [await verbs.rebuild_loads(fence, *model.loads)] if model.loads else []
    for item, ranges in model.ranges.items():
        texts = [f"{units[0]}-{units[-1]}" for units in ranges]
        told += [await verbs.rebuild_free(fence, item, 0, *texts)] if texts else []
    counts = {f"free:{item}": sum(map(len, ranges)) for item, ranges in model.ranges.items()}
    counts |= {"moving:a": 0, "moving:b": 0, "moves": model.moves}
    told.append(await verbs.unfence(fence, **counts))
    assert set(told) == {Effect.APPLIED}
