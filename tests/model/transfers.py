"""Transfers between buckets, step by step: what the balancer does, and what is left when it dies in between.

A step may be made by anybody at any time with what was once told. One thing is forbidden, as it is to the balancer: to
end a transfer before it was told that its units have come in.
"""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from flashsale.outcomes import Effect
from tests.model.base import FATES, ITEMS, PICK, Call, Fate
from tests.model.landing import Landing
from tests.model.model import Transfer


class Transfers(Landing):
    """The three steps. told: transfers that somebody knows of; come_in: those that may be ended. By giving bucket."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, Transfer]] = []
        self.come_in: list[tuple[int, int]] = []

    @precondition(lambda self: len(self.models) > 1)
    @rule(
        source=PICK, step=st.integers(1, 2), item=ITEMS, units=st.integers(1, 6),
        ranges_max=st.sampled_from([1, 2, 100, 100]), fate=FATES,
    )  # fmt: skip
    def take_units(self, source: int, step: int, item: str, units: int, ranges_max: int, fate: Fate) -> None:
        """Units are to leave for another bucket."""
        source %= len(self.models)
        to = (source + 1 + step % (len(self.models) - 1)) % len(self.models)

        def make() -> tuple[object, object]:
            number, its_item, its_to, ranges = self.ground.run(
                self.verbs[source].take_units(item, to, units, ranges_max)
            )
            told = Transfer(number, its_item, its_to, _units_of(ranges))
            return told, self.models[source].take_units(item, to, units, ranges_max)

        def heard(told: object) -> None:
            assert isinstance(told, Transfer)
            if told.number:
                self.told.append((source, told))

        self.do(Call("take_units", make, heard), fate)

    @precondition(lambda self: self.told)
    @rule(pick=PICK, fate=FATES)
    def put_units(self, pick: int, fate: Fate) -> None:
        """Units come in, those of an old transfer too."""
        source, transfer = self.told[-1 - pick % len(self.told)]

        def make() -> tuple[object, object]:
            told = self.ground.run(
                self.verbs[transfer.to].put_units(source, transfer.number, transfer.item, _text_of(transfer.ranges))
            )
            return told, self.models[transfer.to].put_units(source, transfer)

        def heard(told: object) -> None:
            if told is Effect.FENCED:
                return
            assert told in {Effect.APPLIED, Effect.APPLIED_BEFORE}
            self.come_in.append((source, transfer.number))
            self.ground.steps["put_units again"] += told is Effect.APPLIED_BEFORE

        self.do(Call("put_units", make, heard), fate)

    @precondition(lambda self: self.come_in)
    @rule(pick=PICK, fate=FATES)
    def end_transfer(self, pick: int, fate: Fate) -> None:
        """A transfer whose units have come in is forgotten."""
        source, number = self.come_in[-1 - pick % len(self.come_in)]
        self.do(
            Call(
                "end_transfer",
                lambda: (
                    self.ground.run(self.verbs[source].end_transfer(number)),
                    self.models[source].end_transfer(number),
                ),
            ),
            fate,
        )

    @precondition(lambda self: len(self.models) > 1)
    @rule(source=PICK, item=ITEMS, units=st.integers(1, 4), steps=st.integers(1, 3))
    def balance(self, source: int, item: str, units: int, steps: int) -> None:
        """A balancer goes its way, and dies after so many steps."""
        self.take_units(source, 1, item, units, 100, Fate.TOLD)
        if steps > 1 and self.told:
            self.put_units(0, Fate.TOLD)
        if steps > 2 and self.come_in:
            self.end_transfer(0, Fate.TOLD)

    @precondition(lambda self: len(self.models) > 1)
    @rule(source=PICK, item=ITEMS, put=st.booleans())
    def late_balancer(self, source: int, item: str, put: bool) -> None:
        """A balancer that was held up repeats its last step when the next transfer has begun."""
        self.balance(source, item, 1, 3)
        late = len(self.come_in) - 1
        self.balance(source, item, 1, 2 if put else 1)
        if late >= 0:
            self.end_transfer(len(self.come_in) - 1 - late, Fate.TOLD)


def _units_of(ranges: str) -> tuple[tuple[int, ...], ...]:
    """The units of each range, as a script writes them."""
    found = []
    for text in filter(None, ranges.split(",")):
        first, _, last = text.partition("-")
        found.append(tuple(range(int(first), int(last) + 1)))
    return tuple(found)


def _text_of(ranges: tuple[tuple[int, ...], ...]) -> str:
    return ",".join(f"{units[0]}-{units[-1]}" for units in ranges)
