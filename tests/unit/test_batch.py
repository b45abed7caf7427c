"""How many units the codes of an item need, and what an order's key says of its code."""

from dataclasses import replace

import pytest

from flashsale.batch import Batch, Slice, code_of, key_of, units_promised
from flashsale.fcode import Code
from flashsale.sale import State
from flashsale.stock import BucketFacts

SAID = BucketFacts(
    now_ms=0, loaded=True, generation="g", version=1, state=State.OPEN, opens_ms=0, closes_ms=1, free={}, moving={},
    lost={}, moves=0, wins=0, returned=0, loads=0, reserved=0, reserved_by_channel={}, outbox=0, fenced=False,
)  # fmt: skip


def batch(number: int, *, released: bool = False, **codes: int) -> Batch:
    """A batch of so many codes by item."""
    slices, first = [], 0
    for item, some in codes.items():
        slices.append(Slice(item, first, first + some - 1))
        first += some
    return Batch(number, 1, "mi3", first, 0, "", "web", "k", 0, 1, None, released, tuple(slices))


@pytest.mark.parametrize(
    ("used", "released", "promised"),
    [
        ({}, set(), 10),  # three codes of batch 1, two of batch 2, five without a code
        ({("a", 1): 2}, set(), 8),
        ({("a", 1): 2, ("b", 1): 4, ("a", 2): 1}, set(), 7),
        ({}, {1}, 7),
        ({("a", 1): 2}, {1}, 7),  # what is used of it is no free unit any more
        ({("a", 1): 3, ("a", 2): 2}, {1, 2}, 5),
    ],
)
def test_units_promised(used: dict[tuple[str, int], int], released: set[int], promised: int) -> None:
    """Given ten units aside and two batches / Then so many must stay; a batch is released when the bucket says so."""
    batches = [batch(1, a=3, b=4), batch(2, a=2, released=True)]
    said = replace(SAID, used=used, released=frozenset(released))
    assert units_promised("a", batches, said, aside=10) == promised


@pytest.mark.parametrize("code", [Code(1, 0), Code(2**20 - 1, 2**20 - 1), Code(7, 123_456)])
def test_a_key_says_which_code_it_is(code: Code) -> None:
    """Given a code / Then its order's key has 16 hex digits and says it again."""
    assert len(key_of(code)) == 16
    assert code_of(key_of(code)) == code
