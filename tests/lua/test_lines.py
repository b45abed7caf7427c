"""The script lines: what a bucket remembers of a fan, or that it can't say, at one instant."""

import uuid
from collections.abc import Awaitable, Callable

import pytest

from flashsale import outbox
from flashsale.outbox import BuyerLine
from flashsale.outcomes import Outcome
from flashsale.sale import Sale
from tests.support.samples import GENERATION, Attempts, load_id, order_of, sale
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
Tell = Callable[[Sale], Awaitable[Sale]]


async def asked(verbs: Verbs, fan: str, generation: str = GENERATION) -> list[BuyerLine] | None:
    """The fan's lines, or None."""
    return await outbox.lines_of(verbs.redis, verbs.bucket, fan, generation=generation)


@pytest.fixture
async def sold(verbs: Verbs, told: Tell, attempts: Attempts, sale_name: str) -> str:
    """A bucket of ten units, one of them sold to alice; her order."""
    await told(sale(sale_name))
    await verbs.add_stock("a", load_id(), 1, 10)
    line = attempts.line("alice")
    assert await verbs.press("a", line) == [Outcome.WON]
    return order_of(line)


async def test_a_fans_lines_and_nobodys(verbs: Verbs, sold: str) -> None:
    """Given a fan who won and one who never pressed / Then the one has a line and the other none."""
    told_of = await asked(verbs, "alice")
    assert told_of is not None
    assert [(line.order, line.item, line.unit, line.live) for line in told_of] == [(sold, "a", 1, True)]
    assert await asked(verbs, "bob") == []


async def test_another_sales_bucket_says_nothing(verbs: Verbs, sold: str) -> None:
    """When the bucket is a namesake's / Then it can't say, not even of a fan whom it knows."""
    assert await asked(verbs, "alice", str(uuid.uuid4())) is None


async def test_a_lost_bucket_says_nothing(verbs: Verbs, sold: str) -> None:
    """When the bucket's plan is gone / Then it can't say, whatever else is left of it."""
    await verbs.redis.delete(verbs.bucket.sale_key)
    assert await asked(verbs, "alice") is None
    await verbs.redis.delete(verbs.bucket.counts_key, verbs.bucket.buyers_key)
    assert await asked(verbs, "alice") is None


async def test_a_fenced_bucket_says_nothing(verbs: Verbs, sold: str) -> None:
    """When the bucket is being rebuilt / Then it can't say; when the fence falls, it can."""
    await verbs.fence("7")
    assert await asked(verbs, "alice") is None
    await verbs.unfence("7", wins=1)
    assert await asked(verbs, "bob") == []
