"""The bucket's clock decides to the millisecond: calls are sent so densely that some fall on the very one."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from flashsale.batch import key_of
from flashsale.fcode import Code
from flashsale.outcomes import Outcome
from flashsale.purchase import attempt_line
from flashsale.sale import Reservation, Sale, State
from flashsale.scripts import ScriptAt
from flashsale.stores import Client
from tests.support.samples import FAR_MS, GENERATION, Attempts, load_id, sale
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
Tell = Callable[[Sale], Awaitable[Sale]]
CALLS = 2_000
ROUNDS_MAX = 50


async def server_ms(redis: Client) -> int:
    """The server's own clock."""
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def densely(
    redis: Client, at: ScriptAt, calls: Sequence[tuple[str | int, ...]]
) -> list[tuple[int, int, list[int]]]:
    """Make these calls in one write. The server's ms before and after each, and its reply."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        for arguments in calls:
            pipe.execute_command("EVALSHA", at.script.sha, *at.prefix, *arguments)
            pipe.time()
        replies = await pipe.execute()
    times = [int(seconds) * 1000 + int(micros) // 1000 for seconds, micros in replies[::2]]
    return list(zip(times, times[1:], replies[1::2], strict=False))


@pytest.mark.parametrize("edge", [Outcome.NOT_OPEN, Outcome.CLOSED])
async def test_a_purchase_at_the_very_millisecond(
    verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str, edge: Outcome
) -> None:
    """Given a sale that opens, or closes, in a moment / Then it is open from that ms on, and closed from that ms on.

    The time that an answer bears is the server's.
    """
    bucket = verbs.bucket
    at = verbs.script("purchase").at(
        [bucket.sale_key, bucket.counts_key, bucket.buyers_key, bucket.outbox_key, bucket.free_key("a")]
    )
    await told(sale(sale_name, state=State.LOADED))
    assert await verbs.add_stock("a", load_id(), 1, 1)
    assert await verbs.press("a", attempts.line("alice")) == [Outcome.WON]  # the others are told sold out
    ahead_ms = 50  # how long it takes until half of the calls are made; learned from round to round
    for _ in range(ROUNDS_MAX):
        asked_ms = await server_ms(verbs.redis)
        turn_ms = asked_ms + ahead_ms
        field = "opens_ms" if edge is Outcome.NOT_OPEN else "closes_ms"
        await verbs.redis.hset(bucket.sale_key, field, turn_ms)
        seen = await densely(verbs.redis, at, [("a", attempts.line(f"f{n}")) for n in range(CALLS)])
        for before, after, (now_ms, code, _) in seen:
            assert before <= now_ms <= after
            refused = now_ms < turn_ms if edge is Outcome.NOT_OPEN else now_ms >= turn_ms
            assert code == (edge if refused else Outcome.SOLD_OUT), (now_ms, turn_ms)
        if any(now_ms == turn_ms for _, _, (now_ms, _, _) in seen):
            return
        ahead_ms = seen[CALLS // 2][0] - asked_ms
    pytest.fail(f"no call of {ROUNDS_MAX} rounds fell on the very ms")


@pytest.mark.parametrize("edge", [Outcome.RESERVATION_NOT_OPEN, Outcome.RESERVATION_CLOSED])
async def test_a_reservation_at_the_very_millisecond(verbs: Verbs, told: Tell, sale_name: str, edge: Outcome) -> None:
    """Given a list that opens, or closes, in a moment / Then it is open from that ms on, and closed from that ms on."""
    bucket = verbs.bucket
    at = verbs.script("reserve").at([bucket.sale_key, bucket.counts_key, bucket.reserved_key(0)])
    await told(sale(sale_name, state=State.LOADED, reservation=Reservation(0, FAR_MS, capacity=0)))
    assert await verbs.reserve([0], 1, (1, 0)) == [(Outcome.RESERVATION_FULL, 0)]
    ahead_ms = 50  # how long it takes until half of the calls are made; learned from round to round
    for _ in range(ROUNDS_MAX):
        asked_ms = await server_ms(verbs.redis)
        turn_ms = asked_ms + ahead_ms
        field = "reserve_opens_ms" if edge is Outcome.RESERVATION_NOT_OPEN else "reserve_closes_ms"
        await verbs.redis.hset(bucket.sale_key, field, turn_ms)
        seen = await densely(verbs.redis, at, [(1, f"{n} 0") for n in range(CALLS)])
        sure = [(before, code) for before, after, (code, _) in seen if before == after]
        for now_ms, code in sure:
            refused = now_ms < turn_ms if edge is Outcome.RESERVATION_NOT_OPEN else now_ms >= turn_ms
            assert code == (edge if refused else Outcome.RESERVATION_FULL), (now_ms, turn_ms)
        if any(now_ms == turn_ms for now_ms, _ in sure):
            return
        ahead_ms = seen[CALLS // 2][0] - asked_ms
    pytest.fail(f"no call of {ROUNDS_MAX} rounds fell on the very ms")


@pytest.mark.parametrize("edge", [Outcome.CLOSED, Outcome.CODE_NOT_YET, Outcome.CODE_EXPIRED])
async def test_a_code_at_the_very_millisecond(verbs: Verbs, told: Tell, sale_name: str, edge: Outcome) -> None:
    """Given a batch that becomes valid or expires, or a sale that closes, in a moment / Then its codes are good from
    that ms on, and over from that ms on."""
    b = verbs.bucket
    at = verbs.script("redeem").at(
        [b.sale_key, b.counts_key, b.buyers_key, b.outbox_key, b.free_key("a"), b.spent_key(1)]
    )
    await told(sale(sale_name))
    await verbs.set_batch(1, generation=GENERATION)
    key = key_of(Code(1, 0))
    lines = [attempt_line(order=f"{n:032x}", key=key, fan=f"f{n}", channel="web", lane="fcode") for n in range(CALLS)]
    assert await verbs.redeem("a", 1, lines[0]) == [(Outcome.WAIT, "")], "there is no unit, so none is ever spent"
    ahead_ms = 50  # how long it takes until half of the calls are made; learned from round to round
    for _ in range(ROUNDS_MAX):
        asked_ms = await server_ms(verbs.redis)
        turn_ms = asked_ms + ahead_ms
        field, value = {
            Outcome.CLOSED: ("closes_ms", f"{turn_ms}"),
            Outcome.CODE_NOT_YET: ("batch:1", f"1 {turn_ms} {FAR_MS} 0"),
            Outcome.CODE_EXPIRED: ("batch:1", f"1 0 {turn_ms} 0"),
        }[edge]
        await verbs.redis.hset(b.sale_key, field, value)
        seen = await densely(verbs.redis, at, [("a", 1, line) for line in lines])
        for _, _, (now_ms, code, _) in seen:
            refused = now_ms < turn_ms if edge is Outcome.CODE_NOT_YET else now_ms >= turn_ms
            assert code == (edge if refused else Outcome.WAIT), (now_ms, turn_ms)
        if any(now_ms == turn_ms for _, _, (now_ms, _, _) in seen):
            return
        ahead_ms = seen[CALLS // 2][0] - asked_ms
    pytest.fail(f"no call of {ROUNDS_MAX} rounds fell on the very ms")
