"""Whether a bucket holds what its model holds."""

from collections import Counter

from tests.model.model import Model
from tests.support.holdings import Holdings, Leaving


def compare(held: Holdings, model: Model) -> None:
    """Raises AssertionError with the first difference."""
    assert held.free == model.free, f"free units: {held.free}, expected {model.free}"
    found = {
        fan: [(line.order, line.key, line.unit, line.item, line.accepted_ms, line.live) for line in lines]
        for fan, lines in held.lines.items()
    }
    assert found == {
        fan: [(line.order, line.key, line.unit, line.item, line.at_ms, line.live) for line in lines]
        for fan, lines in model.lines.items()
        if lines
    }
    assert [tuple(win.order for win in entry.wins) for entry in held.entries] == model.outbox
    assert held.loads == len(model.loads)
    leaving = model.leaving
    assert held.leaving == (leaving and Leaving(leaving.number, leaving.item, leaving.to, _flat(leaving.ranges)))
    assert held.received == model.received
    counted = {name: held.counts.get(name, 0) for name in ("wins", "moves", "told", "returned", "loads")}
    assert counted == {
        "wins": model.wins, "moves": model.moves, "told": model.told_again, "returned": model.returned,
        "loads": len(model.loads),
    }  # fmt: skip
    assert {name: n for name, n in held.counts.items() if name.startswith("lost:")} == {
        f"lost:{item}": n for item, n in model.lost.items()
    }
    assert held.counts.get("fence") == (model.fence and int(model.fence))
    assert held.counts.get("reserved", 0) == len(model.reserved)
    by_channel = {f"reserved:{channel}": n for channel, n in Counter(model.reserved.values()).items()}
    assert {name: n for name, n in held.counts.items() if name.startswith("reserved:")} == by_channel


def _flat(ranges: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    return tuple(unit for units in ranges for unit in units)
