"""witness: tells what the bucket remembers of fans, and writes so that this can be waited for."""

from collections.abc import Awaitable, Callable

import pytest

from flashsale.outcomes import Outcome
from flashsale.sale import Sale
from tests.support.holdings import holdings
from tests.support.samples import Attempts, load_id, order_of, sale
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers
Tell = Callable[[Sale], Awaitable[Sale]]


async def test_it_tells_lines_and_counts_itself(verbs: Verbs, attempts: Attempts, told: Tell, sale_name: str) -> None:
    """Given a fan with an order and one without / When only strangers are looked up / Then nothing is written; when
    both are, each is told their lines, in order, and a count has grown by who was known."""
    await told(sale(sale_name))
    await verbs.add_stock("a", load_id(), 1, 3)
    line = attempts.line("alice")
    assert await verbs.press("a", line) == [Outcome.WON]
    before = await holdings(verbs.redis, verbs.bucket)
    assert await verbs.witness("bob", "carol") == [[], []]
    assert await holdings(verbs.redis, verbs.bucket) == before
    stranger, known = await verbs.witness("bob", "alice")
    assert (stranger, [one.order for one in known]) == ([], [order_of(line)])
    after = await holdings(verbs.redis, verbs.bucket)
    assert after.counts == before.counts | {"looked": 1}
    assert after.lines == before.lines
