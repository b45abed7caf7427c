"""How late a process learns that an item is sold out, or that units are back: measured at each turn, from above.

A look at the buckets sees what was so at some moment within it. So from the beginning of the last look that saw it
otherwise to the end of the look that made the difference is the longest that fans can have been told the old thing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flashsale.metrics import Spread


@dataclass(slots=True)
class _Item:
    """refused: whether fans are refused now. had, lacked: when the last look with, and without, units began."""

    refused: bool
    had: float | None = None
    lacked: float | None = None


class Turns:
    """Of all items of the sales that are open. sold_out, back: where the seconds go."""

    def __init__(self, sold_out: Spread, back: Spread) -> None:
        self._sold_out = sold_out
        self._back = back
        self._items: dict[tuple[str, str], _Item] = {}

    def look(self, items: Mapping[tuple[str, str], tuple[bool, bool]], *, began: float, ended: float) -> None:
        """Take one look in. items: by sale and item, whether a bucket has units, and whether fans are refused as sold
        out from now on. What is not in it is forgotten: its sale is not open."""
        self._items = {name: self._items.get(name) or _Item(refused) for name, (_, refused) in items.items()}
        for name, (has_units, refused) in items.items():
            item = self._items[name]
            if refused and not item.refused and item.had is not None:
                self._sold_out.observe(ended - item.had)
            if not refused and item.refused and item.lacked is not None:
                self._back.observe(ended - item.lacked)
            item.refused = refused
            if has_units:
                item.had = began
            else:
                item.lacked = began
