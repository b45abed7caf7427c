"""How long an order that is set aside waits: as long as a unit may come, and never for a bucket that can't be asked."""

from collections.abc import Awaitable, Callable

import pytest

from flashsale import ledger, order, stock
from flashsale.keys import Bucket
from flashsale.metrics import worker_metrics
from flashsale.outbox import Win
from flashsale.outcomes import Effect
from flashsale.sale import Sale
from flashsale.worker import replace
from tests.integration.conftest import Shops
from tests.integration.shop import Data, Shop, created, plan_text
from tests.integration.test_replaced import ASIDE, aside, live, long_waited, sold_twice
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers


async def states(shop: Shop) -> list[str]:
    """The states of what is set aside."""
    return [state for state, _, _ in await aside(shop)]


async def waited_for_hours(shop: Shop) -> None:
    """What is set aside has waited longer than anything is waited for."""
    await shop.rows("update set_aside set created_at = now() - interval '9 hours' where sale = $1 returning 1")


async def two_buckets(shop: Shop) -> tuple[Sale, Data]:
    """A sale of two units in each of two buckets, and an order that waits in the first one, which is dry."""
    async with shop.operations.postgres.acquire() as connection:
        sale = await ledger.find(connection, shop.sale)
    here = [fan for fan in (f"fan{number}" for number in range(40)) if sale.bucket_of(fan).number == 0]
    (win,) = await sold_twice(shop, here[:2], [here[2]])
    await Verbs(shop.operations.redis, shop.bucket).take_units("silver", 9, 9)  # nobody's: the bucket is dry
    await shop.operations.redis.delete(shop.bucket.transfers_key)
    await shop.operations.redis.hset(shop.bucket.counts_key, "moving:silver", 0)
    return sale, win


async def on_the_move(shop: Shop) -> None:
    """The other bucket's units are leaving it."""
    await Verbs(shop.operations.redis, Bucket(shop.sale, 1)).take_units("silver", 0, 9)


async def lost(shop: Shop) -> None:
    """The other bucket has lost its memory."""
    await shop.operations.redis.delete(Bucket(shop.sale, 1).sale_key)
    await shop.operations.redis.delete(Bucket(shop.sale, 1).counts_key)


async def free(shop: Shop) -> None:
    """The other bucket has units."""
    facts = await stock.facts(shop.operations.redis, [Bucket(shop.sale, 1)])
    assert facts[0].free["silver"] == 2


@pytest.mark.parametrize("how", [on_the_move, lost, free])
async def test_another_bucket_may_have_units(shops: Shops, how: Callable[[Shop], Awaitable[None]]) -> None:
    """Given an order in a dry bucket, and units in another that are free, leaving, or not to be seen / Then it waits,
    but not for hours."""
    shop = await shops(top="buckets = 2", silver=4)
    await two_buckets(shop)
    await how(shop)
    await long_waited(shop)
    for _ in range(2):
        await shop.settle_aside()
    assert await states(shop) == ["waiting"]
    await waited_for_hours(shop)
    await shop.settle_aside()
    assert await states(shop) == ["refused"]


async def test_all_buckets_are_dry(shops: Shops) -> None:
    """Given an order in a dry bucket, and no unit in the other either / Then it is refused."""
    shop = await shops(top="buckets = 2", silver=4)
    await two_buckets(shop)
    await on_the_move(shop)
    other = Bucket(shop.sale, 1)
    await shop.operations.redis.delete(other.transfers_key)
    await shop.operations.redis.hset(other.counts_key, "moving:silver", 0)
    await long_waited(shop)
    await shop.settle_aside()
    assert await states(shop) == ["refused"]


async def test_a_bucket_that_offers_nothing_but_taken_units(shops: Shops) -> None:
    """Given an order for which a hundred units were refused / Then its bucket is not asked for more; for fewer, it
    is."""
    shop = await shops()
    await sold_twice(shop, ["alice"], ["bob"])
    tries = (
        "update set_aside set offered = null, tried = array(select generate_series(101, $2::int)) || 1 where sale = $1"
    )
    await shop.operations.postgres.execute(tries, shop.sale, 198)
    await shop.settle_aside()
    assert (await states(shop), await shop.operations.redis.xlen(shop.bucket.outbox_key)) == (["waiting"], 1)
    await shop.operations.postgres.execute(tries, shop.sale, 199)
    await shop.settle_aside()
    assert await states(shop) == ["refused"]
    assert (await shop.rows(ASIDE))[0]["reason"] == order.NO_UNIT


async def test_a_bucket_that_takes_it_for_over(shops: Shops) -> None:
    """Given a bucket that says that the order was over, which Postgres does not / Then it waits for whoever mends the
    bucket; after hours it is refused."""
    shop = await shops()
    await sold_twice(shop, ["alice"], ["bob"])
    win = Win(**(await shop.rows(ASIDE))[0]["win"])
    assert await stock.end_line(shop.operations.redis, bucket=shop.bucket, win=win, unit=1) is Effect.APPLIED
    await long_waited(shop)
    await shop.settle_aside()
    assert await states(shop) == ["waiting"]
    await waited_for_hours(shop)
    await shop.settle_aside()
    assert await states(shop) == ["refused"]


async def test_a_bucket_that_has_lost_its_memory(shops: Shops) -> None:
    """Given a bucket that has lost the sale / Then its orders wait for its recovery, however long, and then get a
    unit."""
    shop = await shops()
    await sold_twice(shop, ["alice"], ["bob"])
    kept = await shop.operations.redis.dump(shop.bucket.sale_key)
    await shop.operations.redis.delete(shop.bucket.sale_key)
    await waited_for_hours(shop)
    await shop.settle_aside()
    assert await states(shop) == ["waiting"]
    assert kept
    await shop.operations.redis.restore(shop.bucket.sale_key, 0, kept)
    await shop.settle_aside()
    await shop.land()
    assert await live(shop) == {"alice": 1, "bob": 2}


async def test_trouble_with_one_sale_is_no_trouble_of_the_next(shops: Shops) -> None:
    """Given a sale whose bucket can't be worked with, and another one / When both have orders that wait / Then those of
    the other are settled, and the trouble is told."""
    shop = await shops()
    await sold_twice(shop, ["alice"], ["bob"])
    async with shop.operations.postgres.acquire() as connection:
        broken = await ledger.find(connection, await created(shop.operations, plan_text(f"{shop.sale}-a")))
        sale = await ledger.find(connection, shop.sale)
        await connection.execute(
            "insert into set_aside (order_id, sale, bucket, entry, content, reason, state, win, tried)"
            " select gen_random_uuid(), $2, bucket, entry, content, reason, state, win, tried from set_aside"
            " where sale = $1", sale.sale, broken.sale,
        )  # fmt: skip
    await shop.operations.redis.set(Bucket(broken.sale, 0).buyers_key, "no hash")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await replace.settle_all(shop._stores, [broken, sale], worker_metrics())
    await shop.land()
    assert await live(shop) == {"alice": 1, "bob": 2}
