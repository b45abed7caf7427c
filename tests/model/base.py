"""What every part of the walk stands on: the buckets, their models, and a call with its fate."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from tests.model.ground import Ground
from tests.model.model import Model
from tests.support.holdings import Holdings, holdings
from tests.support.verbs import Verbs

ITEMS = st.sampled_from(["a", "b"])
PICK = st.integers(0, 999)


class Fate(enum.Enum):
    """What becomes of a call: it is told its answer, the answer is lost after the write, or the call is lost."""

    TOLD = "told"
    REPLY_LOST = "reply lost"
    CALL_LOST = "call lost"


FATES = st.sampled_from([Fate.TOLD, Fate.TOLD, Fate.TOLD, Fate.TOLD, Fate.REPLY_LOST, Fate.CALL_LOST])


@dataclass(frozen=True, slots=True)
class Call:
    """A call on server and model at once. make: gives what each of them said; heard: is given what was told."""

    name: str
    make: Callable[[], tuple[object, object]]
    heard: Callable[[object], None] = lambda told: None


class Base(RuleBasedStateMachine):
    """The buckets of a sale of its own, and how they are called. A subclass gives it its ground."""

    ground: ClassVar[Ground]

    def __init__(self) -> None:
        super().__init__()
        self.sale = f"{self.ground.prefix}-{next(self.ground.numbers)}"
        self.models: list[Model] = []
        self.verbs: list[Verbs] = []
        self.again: list[Call] = []
        self.unknown: list[Call] = []

    def do(self, call: Call, fate: Fate) -> None:
        """Make the call as its fate wants. Later it may be repeated; if its end is unknown, it is made again."""
        if fate is Fate.TOLD:
            self.tell_truth(call)
            self.again.append(call)
        else:
            if fate is Fate.REPLY_LOST:
                call.make()
            self.unknown.append(call)
        self.ground.steps[f"{call.name}, {fate.value}"] += 1

    def tell_truth(self, call: Call) -> None:
        """Make the call; what is told must be what the model says."""
        told, expected = call.make()
        assert told == expected, f"{call.name}: told {told}, expected {expected}"
        call.heard(told)

    def held(self, bucket: int) -> Holdings:
        """What the bucket holds."""
        return self.ground.run(holdings(self.ground.redis, self.verbs[bucket].bucket))
