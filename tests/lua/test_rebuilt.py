"""What a rebuilding takes away, and that nothing else touches a fenced bucket meanwhile."""

import pytest

from flashsale.outcomes import Effect
from tests.support.samples import Attempts, order_of
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
FENCE = "4"


async def test_transfers_of_before_are_gone(verbs: Verbs) -> None:
    """Given a transfer that leaves and numbers of some that came in / When the bucket is emptied / Then none stays."""
    b = verbs.bucket
    await verbs.redis.hset(b.transfers_key, mapping={"number": "3"})
    await verbs.redis.hset(b.received_key, mapping={"1": "7", "2": "9"})
    await verbs.fence(FENCE)
    assert await verbs.empty_bucket(FENCE, ["a"], 1, 4) is Effect.APPLIED
    assert not await verbs.redis.exists(b.transfers_key)
    assert await verbs.redis.hgetall(b.received_key) == {b"1": b"4"}, "that of 2 is forgotten"


async def test_no_line_ends_behind_a_fence(verbs: Verbs, attempts: Attempts) -> None:
    """Given a fenced bucket / When a line is to end there / Then FENCED, and the line is as it was."""
    line = attempts.line("alice")
    kept = f"{order_of(line)} {'0' * 16} 1 3 a 5"
    await verbs.redis.hset(verbs.bucket.buyers_key, "alice", kept)
    await verbs.fence(FENCE)
    assert await verbs.end_line("a", order_of(line), "alice", 3) is Effect.FENCED
    assert await verbs.redis.hget(verbs.bucket.buyers_key, "alice") == kept.encode()
