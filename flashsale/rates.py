"""How often each of many may ask: a token bucket for each name, kept as one number.

The number is the time at which the name's bucket would be full again (the generic cell rate algorithm of ITU-T I.371,
its virtual scheduling form): no timer fills anything, and a name that was quiet long enough need not be remembered.

Most who ask in a crowd ask once. Of them only a mark is kept, in one of a million places that a name's hash points to;
who finds a mark there, their own or another's, is counted from then on, as if the mark were one asking of theirs just
now. So nobody may ask more often than their rate, and a few may send one less at once.
"""

from typing import Final

NAMES_MAX: Final = 1_000_000
_MARKS: Final = 1 << 20


class Rates:
    """per_s: askings a second that a name may go on with; burst: how many it may send at once; far_s: askings that come
    too soon by more than so many seconds are not counted. names_max: how many names are remembered; past it, those that
    asked least lately are forgotten, and may ask anew.

    Times are seconds of any clock that does not go back. Not safe across threads. Raises ValueError for a rate or a
    burst that is not above 0.
    """

    def __init__(self, *, per_s: float, burst: int, far_s: float = 0.0, names_max: int = NAMES_MAX) -> None:
        if per_s <= 0 or burst < 1:
            raise ValueError(f"per_s: {per_s}, burst: {burst}: both must be above 0")
        self._step_s = 1.0 / per_s
        self._ahead_s = (burst - 1) * self._step_s
        self._far_s = far_s
        self._young_max = names_max // 2
        self._marking = burst > 1  # with one at once, a mark would refuse somebody
        # Two generations of names: the older one is dropped when all in it are full again.
        self._turn_s = burst * self._step_s + far_s
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._marks = bytearray(_MARKS)
        self._old_marks = bytearray(_MARKS)
        self._turns_at = 0.0

    def __len__(self) -> int:
        """How many names are remembered."""
        return len(self._young) + len(self._old)

    def early_s(self, name: str, now: float) -> float:
        """Count one asking. 0: within the rate. Else it came so many seconds too soon; above far_s it is not counted,
        so that who hammers is let in again as soon as who waits."""
        if now >= self._turns_at or len(self._young) >= self._young_max:
            self._turn(now)
        if self._marking:
            place = hash(name) & (_MARKS - 1)
            if not self._marks[place]:
                self._marks[place] = 1
                if not self._old_marks[place]:
                    return 0.0
        full = self._young.get(name) or self._old.get(name)
        full = (now + self._step_s * self._marking) if full is None else max(full, now)
        early_s = full - now - self._ahead_s
        if early_s <= self._far_s:
            self._young[name] = full + self._step_s
        return max(early_s, 0.0)

    def _turn(self, now: float) -> None:
        lately = now < self._turns_at + self._turn_s
        self._old = self._young if lately else {}
        self._old_marks = self._marks if lately else bytearray(_MARKS)
        self._young = {}
        self._marks = bytearray(_MARKS)
        self._turns_at = now + self._turn_s
