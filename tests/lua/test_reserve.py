"""reserve: each fan at most once, the count exact, by the bucket's clock, small in memory."""

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ResponseError

from flashsale import stock
from flashsale.outcomes import Outcome
from flashsale.reservation import HASH_RANGE, hash_of
from flashsale.sale import Reservation, Sale, State
from tests.support.samples import FAR_MS, sale
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
Tell = Callable[[Sale], Awaitable[Sale]]
OPEN = Reservation(opens_ms=0, closes_ms=FAR_MS, capacity=1_000)


async def counts(verbs: Verbs) -> tuple[int, dict[int, int]]:
    """How many reserved, and through which channel."""
    (facts,) = await stock.facts(verbs.redis, [verbs.bucket])
    return facts.reserved, facts.reserved_by_channel


async def test_a_fan_is_listed_once_under_their_first_channel(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """When a fan reserves again, in the batch or later, by another channel / Then the first holds, counted once."""
    await told(sale(sale_name, state=State.LOADED, opens_ms=FAR_MS - 1, reservation=OPEN))
    asked = [(11, 1), (12, 0), (11, 0)]
    assert await verbs.reserve([0, 0, 0], 2, *asked) == [
        (Outcome.RESERVED, 1), (Outcome.RESERVED, 0), (Outcome.RESERVED, 1),
    ]  # fmt: skip
    assert await verbs.reserve([0], 2, (12, 1)) == [(Outcome.RESERVED, 0)]
    assert await counts(verbs) == (2, {0: 1, 1: 1})


async def test_a_list_whose_server_is_short_of_memory_takes_nobody_in(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """Given the mark / Then who is in the list hears so again, others are told to wait, and nothing is written."""
    await told(sale(sale_name, reservation=OPEN))
    assert await verbs.reserve([0], 1, (1, 0)) == [(Outcome.RESERVED, 0)]
    await verbs.mark_memory(short=True)
    assert await verbs.reserve([0, 0], 1, (1, 0), (2, 0)) == [(Outcome.RESERVED, 0), (Outcome.WAIT, 0)]
    assert await counts(verbs) == (1, {0: 1})
    await verbs.mark_memory(short=False)
    assert await verbs.reserve([0], 1, (2, 0)) == [(Outcome.RESERVED, 0)]


async def test_each_slice_has_its_own(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """Given fans of different slices in one batch / Then each is in its slice, kept as an integer set."""
    await told(sale(sale_name, reservation=OPEN))
    largest = HASH_RANGE - 1
    assert await verbs.reserve([3, 4, 3], 100, (largest, 99), (7, 0), (8, 5)) == [
        (Outcome.RESERVED, 99), (Outcome.RESERVED, 0), (Outcome.RESERVED, 5),
    ]  # fmt: skip
    assert await verbs.redis.smembers(verbs.bucket.reserved_key(3)) == {b"%d99" % largest, b"805"}
    for number in (3, 4):
        assert await verbs.redis.object("ENCODING", verbs.bucket.reserved_key(number)) == b"intset"


async def test_a_full_list(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """Given room for two / When four ask / Then two are in, and hear so again; the others are told it is full."""
    await told(sale(sale_name, reservation=Reservation(0, FAR_MS, capacity=2)))
    answers = await verbs.reserve([0] * 4, 1, *((number, 0) for number in (1, 2, 3, 4)))
    assert [code for code, _ in answers] == [Outcome.RESERVED] * 2 + [Outcome.RESERVATION_FULL] * 2
    assert [code for code, _ in await verbs.reserve([0, 0], 1, (2, 0), (4, 0))] == [
        Outcome.RESERVED, Outcome.RESERVATION_FULL,
    ]  # fmt: skip
    assert await counts(verbs) == (2, {0: 2})


@pytest.mark.parametrize(
    ("state", "opens_ms", "closes_ms", "expected"),
    [
        (State.LOADED, FAR_MS - 1, FAR_MS, Outcome.RESERVATION_NOT_OPEN),
        (State.LOADED, 0, 1, Outcome.RESERVATION_CLOSED),
        (State.CLOSED, 0, FAR_MS, Outcome.RESERVATION_CLOSED),
        (State.LOADED, 0, FAR_MS, Outcome.RESERVED),
        (State.OPEN, 0, FAR_MS, Outcome.RESERVED),
        (State.PAUSED, 0, FAR_MS, Outcome.RESERVED),
    ],
)
async def test_state_and_clock(
    verbs: Verbs, told: Tell, sale_name: str, state: State, opens_ms: int, closes_ms: int, expected: Outcome
) -> None:
    """Given a state and times / When a fan reserves / Then this is the answer, and a refusal counts nobody."""
    await told(sale(sale_name, state=state, reservation=Reservation(opens_ms, closes_ms, capacity=5)))
    assert [code for code, _ in await verbs.reserve([0], 1, (1, 0))] == [expected]
    assert (await counts(verbs))[0] == (expected is Outcome.RESERVED)
    assert await verbs.redis.exists(verbs.bucket.counts_key) == (expected is Outcome.RESERVED)


async def test_a_sale_for_all_and_a_missing_one(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """Given no plan in the bucket / Then UNAVAILABLE; given a sale without reservation / Then it is closed."""
    assert [code for code, _ in await verbs.reserve([0], 1, (1, 0))] == [Outcome.UNAVAILABLE]
    await told(sale(sale_name))
    assert [code for code, _ in await verbs.reserve([0], 1, (1, 0))] == [Outcome.RESERVATION_CLOSED]


async def test_a_plan_that_lacks_a_field_lists_nobody(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """Given a plan that lacks a field / Then UNAVAILABLE; with the field there again the fan is listed."""
    await told(sale(sale_name, reservation=OPEN))
    for field in ("state", "reserve_opens_ms", "reserve_closes_ms", "reservations_max"):
        kept = await verbs.redis.hget(verbs.bucket.sale_key, field)
        await verbs.redis.hdel(verbs.bucket.sale_key, field)
        assert await verbs.reserve([0], 1, (1, 0)) == [(Outcome.UNAVAILABLE, 0)], field
        await verbs.redis.hset(verbs.bucket.sale_key, field, kept)
    assert await verbs.reserve([0], 1, (1, 0)) == [(Outcome.RESERVED, 0)]


async def test_who_is_listed_hears_it_after_the_end(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """Given a listed fan / When reservation is over / Then they are told RESERVED as before, others CLOSED."""
    await told(sale(sale_name, reservation=OPEN))
    await verbs.reserve([0], 1, (1, 0))
    closed = Reservation(0, 1, capacity=1_000)
    await stock.tell_sale(verbs.redis, sale(sale_name, version=2, reservation=closed), create=False)
    answers = await verbs.reserve([0, 0], 1, (1, 0), (2, 0))
    assert [code for code, _ in answers] == [Outcome.RESERVED, Outcome.RESERVATION_CLOSED]


@pytest.mark.parametrize("bad", ["", "nonsense", "6", "6 1", "6 0 0", "-6 0", "6 -1", "x 0", "6.5 0", " 6 0"])
async def test_a_malformed_request_is_refused_whole(verbs: Verbs, told: Tell, sale_name: str, bad: str) -> None:
    """Given a good request and then a malformed one in the same call / Then both are refused, nobody is listed."""
    await told(sale(sale_name, reservation=OPEN))
    keys = [verbs.bucket.sale_key, verbs.bucket.counts_key, *[verbs.bucket.reserved_key(0)] * 2]
    with pytest.raises(ResponseError, match="malformed request 2"):
        await verbs.script("reserve").at(keys)(verbs.redis, 1, "5 0", bad)
    assert await verbs.redis.scard(verbs.bucket.reserved_key(0)) == 0
    assert await counts(verbs) == (0, {})


async def test_a_request_without_its_slice_is_refused_whole(verbs: Verbs, told: Tell, sale_name: str) -> None:
    """Given two requests and the key of one slice / Then both are refused."""
    await told(sale(sale_name, reservation=OPEN))
    keys = [verbs.bucket.sale_key, verbs.bucket.counts_key, verbs.bucket.reserved_key(0)]
    with pytest.raises(ResponseError, match="malformed request 2"):
        await verbs.script("reserve").at(keys)(verbs.redis, 1, "5 0", "6 0")
    assert await counts(verbs) == (0, {})


def test_hashes_differ_from_sale_to_sale() -> None:
    """Given one fan in two sales / Then the hashes differ, so that lists of two sales can't be joined."""
    assert hash_of(sale="mi3", fan="alice") != hash_of(sale="mi4", fan="alice")
