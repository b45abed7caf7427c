"""A bucket ready for selling, for the tests of the scripts."""

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from flashsale import stock
from flashsale.outcomes import Effect
from flashsale.sale import Sale
from tests.support.samples import Attempts, bucket
from tests.support.verbs import Verbs

Opened = Callable[..., Awaitable[Sale]]


@pytest.fixture
def attempts() -> Attempts:
    """Makes attempts whose orders count up."""
    return Attempts()


@pytest.fixture
def verbs(redis: Redis, sale_name: str) -> Verbs:
    """All scripts over the test's bucket."""
    return Verbs(redis, bucket(sale_name))


@pytest.fixture
def told(redis: Redis) -> Callable[[Sale], Awaitable[Sale]]:
    """Tells the bucket a sale, making it when it isn't there."""

    async def tell(sale: Sale) -> Sale:
        assert await stock.tell_sale(redis, sale, create=True) == [Effect.APPLIED]
        return sale

    return tell
