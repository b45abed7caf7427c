"""The worker: every order lands once and leaves the outbox, whatever dies, is cut or can't be stored."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flashsale import audit, ledger, limits, order, outbox
from flashsale.purchase import Purchases
from flashsale.sale import Verb
from tests.integration.conftest import Shops
from tests.integration.processes import Working, working
from tests.integration.shop import Shop, assert_problem
from tests.support.waiting import soon

pytestmark = pytest.mark.servers

ORDERS_OF_SALE = "select order_id, unit, fan, state from orders where sale = $1 order by unit"


async def landed_without_trim(shop: Shop) -> int:
    """What a worker did that was killed between its commit and its trim. How many orders."""
    entries = await outbox.read(shop.operations.redis, shop.bucket, after="0", count=1000)
    async with shop.operations.postgres.acquire() as connection:
        landed = await order.land(connection, sale=shop.sale, bucket=0, entries=entries)
    return landed.new


async def selling(shop: Shop, *, fans: int, numbers: "itertools.count[int]", stop: asyncio.Event) -> None:
    """So many fans at a time press without pause, past HTTP, until told to stop."""
    purchases = Purchases(shop.operations.redis)

    async def press_on() -> None:
        while not stop.is_set():
            await purchases.attempt(
                bucket=shop.bucket, item="silver", fan=f"n{next(numbers)}", channel="web", lane="public", key=""
            )

    await asyncio.gather(*(press_on() for _ in range(fans)))


async def test_orders_land_and_leave_the_outbox(shops: Shops) -> None:
    """Given wins / When a worker runs / Then each is one row as it was told, and nothing waits any more."""
    shop = await shops(silver=30)
    wins = await shop.crowd(20)
    assert (await shop.audited()).items[0].outbox == 20
    worker = await shop.work()
    await shop.landed(20)
    rows = await shop.rows(ORDERS_OF_SALE)
    assert {(str(row["order_id"]), row["unit"]) for row in rows} == {(win["order"], win["unit"]) for win in wins}
    assert await shop.operations.redis.hget(shop.bucket.counts_key, "outbox") == b"0"
    assert (worker.counted("orders_landed"), worker.counted("orders_landed_again")) == (20, 0)
    assert (await shop.audited()).balanced


async def test_killed_between_commit_and_trim(shops: Shops) -> None:
    """Given orders that were committed but not trimmed / When another worker starts / Then no row is there twice."""
    shop = await shops(silver=30)
    await shop.crowd(20)
    assert await landed_without_trim(shop) == 20
    assert (await shop.audited()).balanced
    before = await shop.rows(ORDERS_OF_SALE)
    worker = await shop.work()
    await shop.landed(20)
    assert await shop.rows(ORDERS_OF_SALE) == before
    assert (worker.counted("orders_landed"), worker.counted("orders_landed_again")) == (0, 20)
    assert (await shop.audited()).balanced


async def test_two_workers_land_each_order_once(shops: Shops) -> None:
    """Given two workers / When fans buy / Then one lands them; when its lease runs out the other goes on."""
    shop = await shops(silver=40)
    both: list[Working] = [await shop.work(), await shop.work()]
    await shop.crowd(20)
    await shop.landed(20)
    holder, other = sorted(both, key=lambda one: -one.counted("orders_landed"))
    assert (holder.counted("orders_landed"), other.counted("orders_landed")) == (20, 0)
    await holder.stop()
    await shop.operations.redis.pexpire(shop.bucket.lease_key, 1)  # as if its time had passed
    for number in range(10):
        await shop.buy(f"late{number}")
    await shop.landed(30)
    assert other.counted("orders_landed") == 10
    assert len(await shop.rows(ORDERS_OF_SALE)) == 30
    assert (await shop.audited()).balanced


async def test_postgres_hangs_up(shops: Shops) -> None:
    """Given a worker and an api / When Postgres cuts all their connections / Then both go on, and nothing is lost."""
    shop = await shops(silver=40)
    sql = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1"
    dsn = shop.settings.postgres_dsn
    named = f"{dsn}{'&' if '?' in dsn else '?'}application_name={shop.sale}"
    cut = shop.settings.model_copy(update={"postgres_dsn": named})
    async with working(cut):
        await shop.crowd(10)
        await shop.landed(10)
        assert await shop.operations.postgres.fetch(sql, shop.sale)
        for number in range(10):
            await shop.buy(f"late{number}")
        await shop.operations.postgres.fetch(sql, shop.sale)
        await shop.landed(20)
        won = await shop.buy("alice")
        await shop.has_state("alice", won["order"], "confirmed")
    assert len(await shop.rows(ORDERS_OF_SALE)) == 21
    assert (await shop.audited()).balanced


async def test_a_closed_sale_still_lands(shops: Shops) -> None:
    """Given wins that are on their way / When the sale is closed / Then they land all the same."""
    shop = await shops(silver=20)
    await shop.crowd(20)
    await shop.operations.move(shop.sale, Verb.CLOSE)
    await shop.work()
    await shop.landed(20)
    assert (await shop.audited()).balanced


async def test_the_audit_does_not_cry_wolf(shops: Shops) -> None:
    """Given a sale that sells without pause and a worker / When it is looked at again and again / Then it balances."""
    shop = await shops(silver=2_000_000)
    await shop.work()
    async with crowd_at_work(shop):
        # Single looks, so that luck with the later ones of an audit does not hide a look that is off.
        looks = [await audit.look(shop.operations.redis, shop.operations.postgres, shop.sale) for _ in range(8)]
    assert [one.items[0] for one in looks if not one.balanced] == []


@asynccontextmanager
async def crowd_at_work(shop: Shop) -> AsyncIterator[None]:
    """Fans press without pause meanwhile; at least one has won when it begins."""
    stop = asyncio.Event()
    crowd = asyncio.create_task(selling(shop, fans=32, numbers=itertools.count(), stop=stop))

    async def begun() -> bool:
        return bool(await shop.rows("select 1 from orders where sale = $1 limit 1"))

    try:
        await soon(begun, what="the first order has landed")
        yield
    finally:
        stop.set()
        await crowd


async def test_it_balances_after_the_crowd(shops: Shops) -> None:
    """Given a sale that sold without pause while it was audited / When all has landed / Then it balances."""
    shop = await shops(silver=400_000)
    worker = await shop.work()
    async with crowd_at_work(shop):
        await shop.audited()
    wins = 400_000 - int(await shop.operations.redis.hget(shop.bucket.counts_key, "free:silver") or 0)
    await shop.landed(wins)
    found = await shop.audited()
    assert found.balanced
    assert (found.items[0].live, worker.counted("orders_landed_again")) == (wins, 0)


@pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.CLOSE])
async def test_what_ops_began_is_finished(shops: Shops, verb: Verb) -> None:
    """Given ops whose process died before the buckets heard / When a worker runs / Then the buckets hear of it."""
    shop = await shops()
    async with shop.operations.postgres.acquire() as connection:
        sale = await ledger.find(connection, shop.sale)
        await ledger.settle(connection, sale, sale.state_at(sale.opens_ms))
        await ledger.move(connection, shop.sale, verb, actor="ops", detail={})
    await shop.work()
    states = {Verb.PAUSE: b"paused", Verb.CLOSE: b"closed"}

    async def heard() -> bool:
        return await shop.operations.redis.hget(shop.bucket.sale_key, "state") == states[verb]

    await soon(heard, what="the bucket has heard", deadline_s=3)


async def test_a_load_that_ops_began_is_finished(shops: Shops) -> None:
    """Given added units that no bucket has heard of / When a worker runs / Then they are on sale, once."""
    shop = await shops(silver=1)
    async with shop.operations.postgres.acquire() as connection:
        await ledger.make_units(connection, await ledger.find(connection, shop.sale), "silver", 4)
    found = (await shop.audited()).items[0]
    assert (found.moving, found.balanced) == (4, True)
    await shop.work()

    async def applied() -> bool:
        return (await shop.audited()).items[0].free == 5

    await soon(applied, what="the units are free")
    assert (await shop.audited()).balanced


async def test_a_bucket_that_lost_its_memory_stays_closed(shops: Shops, caplog: pytest.LogCaptureFixture) -> None:
    """Given a bucket that came back empty / When a worker runs / Then it is not made anew, and all are told so."""
    shop = await shops()
    right = await shop.reserve("alice")
    keys = [key async for key in shop.operations.redis.scan_iter(match=f"*{shop.sale}*")]
    await shop.operations.redis.delete(*keys)
    await shop.work()
    said = f"bucket.lost sale={shop.sale} buckets=empty 0: see flashsale recover {shop.sale} --dry-run"

    async def noticed() -> bool:
        return said in caplog.text

    await soon(noticed, what="the worker has noticed")
    await asyncio.sleep(2 * limits.WATCH_BUCKETS_EVERY_S)
    assert caplog.text.count(said) == 1, "it is not said at each look"
    assert_problem(await shop.press(right), 503, "unavailable")
    await shop.shows(lambda sale: sale["state"] == "unavailable", what="it shows as unavailable")
    assert not await shop.operations.redis.exists(shop.bucket.sale_key, shop.bucket.free_key("silver"))


async def test_a_trim_that_a_replica_had_not_heard_of(shops: Shops) -> None:
    """Given a worker that has landed and trimmed, and goes on / When the bucket is again as it was before the trim, as
    a replica that takes over, and no call of the worker failed / Then it trims once more; nothing lands twice."""
    shop = await shops()
    await shop.buy("alice")
    before = await shop.remembered()
    worker = await shop.work()
    await shop.landed(1)
    await shop.buy("bob")
    await shop.landed(2)
    for key in (shop.bucket.outbox_key, shop.bucket.counts_key):
        await shop.operations.redis.restore(key, 0, before[key], replace=True)
    await shop.landed(2)
    assert await shop.operations.redis.hget(shop.bucket.counts_key, "outbox") == b"0"
    assert worker.counted("orders_landed") == 2
