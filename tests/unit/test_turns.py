"""Turns: how late an item's turn is learned of, measured from above and once."""

from prometheus_client import CollectorRegistry

from flashsale.api.turns import Turns
from flashsale.metrics import Spread

ITEM = ("sale", "item")


def turns() -> tuple[Turns, Spread, Spread]:
    """Turns with their two spreads."""
    registry = CollectorRegistry()
    sold_out, back = (Spread(name, "words", (0.1, 0.5, 1.0), registry) for name in ("sold_out", "back"))
    return Turns(sold_out, back), sold_out, back


def told(spread: Spread) -> tuple[float, float]:
    """How many values, and their sum."""
    (family,) = spread.collect()
    values = {sample.name.rpartition("_")[2]: sample.value for sample in family.samples}
    return values["count"], round(values["sum"], 6)


def test_an_item_that_sells_out_is_told_once() -> None:
    """Given looks that saw units, and then none / Then from the beginning of the last that did to the end of the one
    that did not is told, once."""
    made, sold_out, back = turns()
    made.look({ITEM: (True, False)}, began=1.0, ended=1.1)
    made.look({ITEM: (True, False)}, began=1.2, ended=1.3)
    made.look({ITEM: (False, True)}, began=1.4, ended=1.5)
    made.look({ITEM: (False, True)}, began=1.6, ended=1.7)
    assert (told(sold_out), told(back)) == ((1, 0.3), (0, 0))


def test_one_that_is_seen_dry_twice_is_counted_from_where_it_had_units() -> None:
    """Given several buckets, which have to be seen dry twice before fans are refused / Then all of it counts."""
    made, sold_out, _ = turns()
    made.look({ITEM: (True, False)}, began=1.0, ended=1.1)
    made.look({ITEM: (False, False)}, began=1.2, ended=1.3)
    made.look({ITEM: (False, True)}, began=1.4, ended=1.5)
    assert told(sold_out) == (1, 0.5)


def test_units_that_are_back_are_told_once() -> None:
    """Given an item that was sold out / When units are seen / Then from the last look without them is told."""
    made, sold_out, back = turns()
    made.look({ITEM: (False, True)}, began=1.0, ended=1.1)
    made.look({ITEM: (True, False)}, began=1.2, ended=1.35)
    made.look({ITEM: (True, False)}, began=1.4, ended=1.5)
    assert (told(sold_out), told(back)) == ((0, 0), (1, 0.35))


def test_what_was_never_otherwise_is_no_turn() -> None:
    """Given an item that was sold out at the first look, and a sale that is not open for a while / Then nothing is told
    of what happened meanwhile."""
    made, sold_out, back = turns()
    made.look({ITEM: (False, True)}, began=1.0, ended=1.1)
    made.look({}, began=2.0, ended=2.1)
    made.look({ITEM: (True, False)}, began=3.0, ended=3.1)
    assert (told(sold_out), told(back)) == ((0, 0), (0, 0))
