"""The states of a sale: every verb in every state, and what the clock makes of a state."""

from dataclasses import replace

import pytest

from flashsale.errors import StateError
from flashsale.keys import Bucket
from flashsale.sale import State, UnitPool, Verb, next_state, state_at
from tests.support.samples import sale

LEADS_TO = {
    (Verb.LOAD, State.DRAFT): State.LOADED,
    (Verb.OPEN, State.LOADED): State.OPEN,
    (Verb.PAUSE, State.OPEN): State.PAUSED,
    (Verb.RESUME, State.PAUSED): State.OPEN,
    (Verb.CLOSE, State.LOADED): State.CLOSED,
    (Verb.CLOSE, State.OPEN): State.CLOSED,
    (Verb.CLOSE, State.PAUSED): State.CLOSED,
    (Verb.ADD_STOCK, State.LOADED): State.LOADED,
    (Verb.ADD_STOCK, State.OPEN): State.OPEN,
    (Verb.ADD_STOCK, State.PAUSED): State.PAUSED,
    (Verb.CHALLENGE, State.DRAFT): State.DRAFT,
    (Verb.CHALLENGE, State.LOADED): State.LOADED,
    (Verb.CHALLENGE, State.OPEN): State.OPEN,
    (Verb.CHALLENGE, State.PAUSED): State.PAUSED,
    (Verb.RELEASE, State.LOADED): State.LOADED,
    (Verb.RELEASE, State.OPEN): State.OPEN,
    (Verb.RELEASE, State.PAUSED): State.PAUSED,
}


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("state", State)
def test_every_verb_in_every_state(verb: Verb, state: State) -> None:
    """Given a state / When ops use a verb / Then it leads where the table says, or is refused with a hint."""
    if expected := LEADS_TO.get((verb, state)):
        assert next_state("mi3", now=state, verb=verb) is expected
        return
    with pytest.raises(StateError) as refusal:
        next_state("mi3", now=state, verb=verb)
    told = str(refusal.value)
    assert told.startswith(f"Sale mi3 is {state}; {verb} needs it to be ")
    assert "flashsale sale" in told
    assert refusal.value.exit_status == 2


@pytest.mark.parametrize(
    ("state", "before", "during", "after"),
    [
        (State.DRAFT, State.DRAFT, State.DRAFT, State.DRAFT),
        (State.LOADED, State.LOADED, State.OPEN, State.CLOSED),
        (State.OPEN, State.OPEN, State.OPEN, State.CLOSED),
        (State.PAUSED, State.PAUSED, State.PAUSED, State.CLOSED),
        (State.CLOSED, State.CLOSED, State.CLOSED, State.CLOSED),
    ],
)
def test_what_the_clock_makes_of_a_state(state: State, before: State, during: State, after: State) -> None:
    """Given a sale from 100 to 200 / Then at 99, from 100 to 199 and from 200 on it is in these states."""

    def at(now_ms: int) -> State:
        return state_at(state, opens_ms=100, closes_ms=200, now_ms=now_ms)

    assert [at(99), at(100), at(199), at(200)] == [before, during, during, after]
    assert sale("mi3", state=state, opens_ms=100, closes_ms=200).state_at(150) is during


def test_an_item_by_name() -> None:
    """Given a sale of two items / Then each is found by name, and another is not."""
    found = sale("mi3").item("b")
    assert found is not None
    assert found.item == "b"
    assert sale("mi3").item("c") is None


def test_every_fan_has_a_bucket_of_this_sale() -> None:
    """Given a sale of one bucket / Then all fans are in it."""
    given = sale("mi3")
    assert {given.bucket_of(fan) for fan in ("alice", "bob")} == set(given.all_buckets)


def test_the_buckets_of_a_sale() -> None:
    """Given a sale of two buckets / Then it has those; where it takes F-codes, one more behind them, which is not
    everybody's, and where a fan's lines may be beside their own."""
    plain = replace(sale("mi3"), buckets=2)
    assert plain.all_buckets == plain.public_buckets == (Bucket("mi3", 0), Bucket("mi3", 1))
    assert (plain.fcode_bucket, plain.buckets_in(UnitPool.FCODE)) == (None, ())
    assert plain.buckets_of("alice") == (plain.bucket_of("alice"),)
    coded = replace(plain, takes_fcodes=True)
    assert coded.all_buckets == (*plain.all_buckets, Bucket("mi3", 2))
    assert coded.public_buckets == coded.buckets_in(UnitPool.PUBLIC) == plain.all_buckets
    assert (coded.fcode_bucket, coded.buckets_in(UnitPool.FCODE)) == (Bucket("mi3", 2), (Bucket("mi3", 2),))
    assert [coded.pool_of(number) for number in range(3)] == [UnitPool.PUBLIC, UnitPool.PUBLIC, UnitPool.FCODE]
    fans = [f"fan{n}" for n in range(50)]
    assert [coded.bucket_of(fan) for fan in fans] == [plain.bucket_of(fan) for fan in fans]
    assert all(coded.buckets_of(fan) == (coded.bucket_of(fan), Bucket("mi3", 2)) for fan in fans)
