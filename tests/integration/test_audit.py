"""The audit names every way in which units can be off, and sees none where they are only on their way."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from flashsale import audit, ledger, order, outbox, stock
from flashsale.audit import Audit, ItemAudit
from flashsale.errors import NotFoundError
from flashsale.keys import COUNT_FREE
from flashsale.settled import Plain
from tests.integration.conftest import Shops
from tests.integration.shop import Shop

pytestmark = pytest.mark.servers


async def looked(shop: Shop) -> Audit:
    """One look, without the ones that follow when it does not balance."""
    return await audit.look(shop.operations.redis, shop.operations.postgres, shop.sale)


async def silver(shop: Shop) -> ItemAudit:
    """One look at the item that tests spoil."""
    found = await looked(shop)
    assert found.items[1].balanced, "the other item is nobody's business"
    return found.items[0]


async def committed(shop: Shop) -> list[outbox.Entry]:
    """Commit what is in the outbox and leave it there."""
    entries = await outbox.read(shop.operations.redis, shop.bucket, after="0", count=100)
    async with shop.operations.postgres.acquire() as connection:
        await order.land(connection, sale=shop.sale, bucket=0, entries=entries)
    return entries


def counts(item: ItemAudit) -> tuple[int, int, int, int, int]:
    """free, moving, outbox, live, returning; and that they make up what was loaded."""
    assert item.balanced, item
    return item.free, item.moving, item.outbox, item.live, item.returning


async def test_an_order_on_its_whole_way(shops: Shops) -> None:
    """Given a unit / When it is sold, landed, trimmed, cancelled, given back / Then it is in one place each time."""
    shop = await shops()
    assert counts(await silver(shop)) == (5, 0, 0, 0, 0)
    won = await shop.buy("alice")
    assert counts(await silver(shop)) == (4, 0, 1, 0, 0)
    entries = await committed(shop)
    assert counts(await silver(shop)) == (4, 0, 0, 1, 0)
    await outbox.trim(shop.operations.redis, shop.bucket, entries)
    assert counts(await silver(shop)) == (4, 0, 0, 1, 0)
    await shop.post("alice", f"orders/{won['order']}/cancellation")
    assert counts(await silver(shop)) == (4, 0, 0, 0, 1)
    await shop.give_back()
    # As if the worker had died between the bucket and its note.
    await shop.rows("update returns set given_back_at = null where sale = $1 returning 1")
    assert counts(await silver(shop)) == (5, 0, 0, 0, 0)
    await shop.give_back()
    assert counts(await silver(shop)) == (5, 0, 0, 0, 0)


async def test_an_order_that_ended_before_its_entry_was_trimmed(shops: Shops) -> None:
    """Given an order that landed and ended while its entry waits / When it goes back / Then it is in one place."""
    shop = await shops()
    won = await shop.buy("alice")
    entries = await committed(shop)
    await shop.post("alice", f"orders/{won['order']}/cancellation")
    assert counts(await silver(shop)) == (4, 0, 0, 0, 1)
    await outbox.trim(shop.operations.redis, shop.bucket, entries)
    assert counts(await silver(shop)) == (4, 0, 0, 0, 1)


async def test_a_unit_that_went_back_before_its_entry_was_trimmed(shops: Shops) -> None:
    """Given an order that landed, ended and was given back while its entry waits / Then its unit is free, once."""
    shop = await shops()
    won = await shop.buy("alice")
    entries = await committed(shop)
    await shop.post("alice", f"orders/{won['order']}/cancellation")
    await shop.give_back()
    assert counts(await silver(shop)) == (5, 0, 0, 0, 0)
    await shop.buy("bob")
    assert counts(await silver(shop)) == (4, 0, 1, 0, 0)
    await outbox.trim(shop.operations.redis, shop.bucket, entries)


async def test_units_on_the_move(shops: Shops) -> None:
    """Given a load that Postgres knows / When the bucket gets it, and then says so / Then it is in one place."""
    shop = await shops()
    async with shop.operations.postgres.acquire() as connection:
        loads = await ledger.make_units(connection, await ledger.find(connection, shop.sale), "silver", 4)
        assert counts(await silver(shop)) == (5, 4, 0, 0, 0)
        for load in loads:
            await stock.apply_load(Plain(shop.operations.redis), shop.sale, load)
        assert counts(await silver(shop)) == (9, 0, 0, 0, 0)
        for number in range(6):
            await shop.buy(f"fan{number}")
        assert counts(await silver(shop)) == (3, 0, 6, 0, 0)
        await committed(shop)
        assert counts(await silver(shop)) == (3, 0, 0, 6, 0)
        for load in loads:
            await ledger.load_applied(connection, load)
    assert counts(await silver(shop)) == (3, 0, 0, 6, 0)


async def test_a_draft_balances(shops: Shops) -> None:
    """Given no such sale / Then the audit says so."""
    shop = await shops()
    with pytest.raises(NotFoundError, match="There is no sale nosuch"):
        await audit.audit(shop.operations.redis, shop.operations.postgres, "nosuch")
    assert (await shop.audited()).balanced


@dataclass(frozen=True, slots=True)
class Off:
    """A way to be off: what is done to a shop of five units of which 1 is landed, and what the audit must say."""

    name: str
    spoil: Callable[[Shop], Awaitable[object]]
    missing: tuple[int, ...] = ()
    doubled: tuple[int, ...] = ()
    beyond: tuple[int, ...] = ()
    difference: int = 0
    counter_off: int = 0


async def _lost_range(shop: Shop) -> None:
    await shop.operations.redis.lpop(shop.bucket.free_key("silver"))


def _freed(*ranges: str) -> Callable[[Shop], Awaitable[object]]:
    async def spoil(shop: Shop) -> None:
        await shop.operations.redis.rpush(shop.bucket.free_key("silver"), *ranges)

    return spoil


def _counted(by: int) -> Callable[[Shop], Awaitable[object]]:
    async def spoil(shop: Shop) -> None:
        await shop.operations.redis.hincrby(shop.bucket.counts_key, f"{COUNT_FREE}silver", by)

    return spoil


async def _order_gone(shop: Shop) -> None:
    await shop.rows("delete from orders where sale = $1 returning 1")


async def _order_gone_but_entry(shop: Shop) -> None:
    """An order of another for a unit that is on its way."""
    await shop.buy("bob")
    await shop.rows("update orders set unit = 2 where sale = $1 returning 1")


async def _sold_twice(shop: Shop) -> None:
    """The bucket rolled back: it sells a unit that Postgres knows as sold."""
    await shop.operations.redis.lpush(shop.bucket.free_key("silver"), "1-1")
    await shop.buy("bob")


async def _trimmed_too_early(shop: Shop) -> None:
    await shop.buy("bob")
    entries = await outbox.read(shop.operations.redis, shop.bucket, after="0", count=10)
    await outbox.trim(shop.operations.redis, shop.bucket, entries)


async def _two_entries(shop: Shop) -> None:
    """The bucket sold a unit twice before either landed."""
    await shop.buy("bob")
    await shop.operations.redis.lpush(shop.bucket.free_key("silver"), "2-2")
    await shop.buy("carol")


OFF = (
    Off("units_vanished", _lost_range, missing=(2, 3, 4, 5), difference=4, counter_off=4),
    Off("an_order_vanished", _order_gone, missing=(1,), difference=1),
    Off("an_entry_vanished", _trimmed_too_early, missing=(2,), difference=1),
    Off("free_twice", _freed("3-4"), doubled=(3, 4), counter_off=0),
    Off("free_and_sold", _freed("1-1"), doubled=(1,), difference=-1, counter_off=-1),
    Off("free_beyond_loaded", _freed("6-7"), beyond=(6, 7), difference=-2, counter_off=-2),
    Off("counter_too_high", _counted(2), counter_off=2),
    Off("counter_too_low", _counted(-1), counter_off=-1),
    Off("sold_twice_after_landing", _sold_twice, doubled=(1,), difference=-1, counter_off=-1),
    Off("sold_twice_before_landing", _two_entries, doubled=(2,), counter_off=-1),
    Off("landed_for_another", _order_gone_but_entry, missing=(1,), doubled=(2,)),
)


@pytest.mark.parametrize("off", OFF, ids=lambda one: one.name)
async def test_is_found_and_named(shops: Shops, off: Off) -> None:
    """Given a unit in no place, in two, or never loaded, or a wrong counter / Then the audit says which."""
    shop = await shops()
    await shop.buy("alice")
    assert await shop.land() == 1
    assert counts(await silver(shop)) == (4, 0, 0, 1, 0)
    await off.spoil(shop)
    found = await silver(shop)
    assert not found.balanced
    assert (found.missing, found.doubled, found.beyond) == (off.missing, off.doubled, off.beyond)
    assert (found.difference, found.counter_off) == (off.difference, off.counter_off)


async def test_at_most_twenty_are_named(shops: Shops) -> None:
    """Given a hundred units that vanished / Then the first twenty are named, and all are counted, after more looks."""
    shop = await shops(silver=100)
    await _lost_range(shop)
    found = await shop.audited()
    assert audit.as_data(found)["items"][0]["missing_units"] == [*range(1, audit.NAMED_MAX + 1)]
    assert (len(found.items[0].missing), found.items[0].difference) == (100, 100)
