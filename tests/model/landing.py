"""Entries of the outbox that are committed, and so are taken out of it."""

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import rule

from flashsale.outbox import Entry
from tests.model.base import FATES, PICK, Base, Call, Fate


class Landing(Base):
    """The trim. trimmed: what was last trimmed of each bucket: the entries with their orders."""

    def __init__(self) -> None:
        super().__init__()
        self.trimmed: dict[int, list[tuple[str, tuple[str, ...]]]] = {}

    @rule(bucket=PICK, picks=st.lists(PICK, min_size=1, max_size=3), again=st.booleans(), fate=FATES)
    def trim(self, bucket: int, picks: list[int], again: bool, fate: Fate) -> None:
        """Entries are committed, in any order; with again: those before are trimmed once more in the same call."""
        bucket %= len(self.models)
        there = self.held(bucket).entries
        if there:
            self._trim(bucket, [there[pick % len(there)] for pick in picks], fate, again=again)

    def land(self, bucket: int) -> None:
        """All that is in the outbox is committed."""
        if there := self.held(bucket).entries:
            self._trim(bucket, there, Fate.TOLD)

    def _trim(self, bucket: int, chosen: Sequence[Entry], fate: Fate, *, again: bool = False) -> None:
        entries = self.trimmed.get(bucket, []) if again else []
        entries = [*entries, *((entry.entry_id, tuple(win.order for win in entry.wins)) for entry in chosen)]
        self.trimmed[bucket] = entries

        def call() -> tuple[object, object]:
            # By the entries' ids: an order that got another unit is on its way again, in an entry of its own.
            still = {entry.entry_id for entry in self.held(bucket).entries}
            pairs = [(entry, len(orders)) for entry, orders in entries]
            told = self.ground.run(self.verbs[bucket].trim(*pairs))
            return told, self.models[bucket].trim([orders for entry, orders in entries if entry in still])

        self.do(Call("trim", call), fate)
