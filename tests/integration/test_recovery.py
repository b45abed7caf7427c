"""Buckets that lost their memory, all of it or the newest part, are closed, rebuilt from Postgres, and sell on."""

from collections.abc import AsyncIterator

import pytest

from flashsale import ledger
from flashsale.condition import Condition
from flashsale.errors import StateError
from flashsale.metrics import worker_metrics
from flashsale.outcomes import Effect, Outcome
from flashsale.rebuild import Fenced, FenceLostError, new_fence
from flashsale.recovery import Recovery
from flashsale.sale import Sale
from flashsale.settled import Plain
from flashsale.stores import Stores
from flashsale.worker import keep, replace
from tests.integration.hall import ITEM, Hall, Halls, all_units_once, put, taken

pytestmark = pytest.mark.servers


async def sale_now(shop: Hall) -> Sale:
    """The sale as Postgres has it now."""
    async with shop.postgres.acquire() as connection:
        return await ledger.find(connection, shop.sale.sale)


async def units_and_lines(shop: Hall) -> dict[bytes, bytes]:
    """What the first bucket holds, without the plan, which ops may change at any time."""
    bucket = shop.sale.all_buckets[0]
    return {name: value for name, value in (await shop.copy(bucket)).items() if name.decode() != bucket.sale_key}


async def one_fan() -> AsyncIterator[tuple[str, str]]:
    """A fan and lines, as Postgres gives them."""
    yield "fan", "lines"


async def test_an_emptied_bucket_sells_nothing_and_is_rebuilt(halls: Halls) -> None:
    """Given orders, some over, one unit under way / When all memory is lost / Then closed, and whole when recovered."""
    shop = await halls()
    won = await shop.sell([f"fan{number}" for number in range(10)])
    for fan in ("fan0", "fan1", "fan2"):
        await shop.let_go(won[fan], fan)
        await (shop.give_back() if fan != "fan2" else shop.land())
    await shop.lose(shop.sale.all_buckets[0])

    assert await shop.conditions() == [Condition.EMPTY]
    assert (await shop.press("fan0")).outcome is Outcome.UNAVAILABLE
    (made,) = await shop.recover()

    assert (made.was, made.fans, made.free[ITEM]) == (Condition.EMPTY, 10, 40 - 8)
    assert await shop.conditions() == [Condition.WHOLE]
    assert await shop.balanced()
    for fan in ("fan0", "fan9"):
        again = await shop.press(fan)
        assert (again.outcome, again.order, again.unit) == (Outcome.WON, won[fan].order, won[fan].unit)
    assert (await shop.press("fan9", key="another")).outcome is Outcome.ALREADY_BOUGHT
    assert (await shop.press("fan0", key="another")).outcome is Outcome.WON, "what was given back counts no more"
    assert await shop.give_back() == 1, "what was under way comes back to the rebuilt bucket"
    assert all_units_once(await shop.sell_out(), 40)
    assert await shop.balanced()


@pytest.mark.parametrize("buckets", [1, 3])
async def test_an_older_bucket_is_found_out_and_rebuilt(halls: Halls, buckets: int) -> None:
    """Given orders that landed / When a bucket is turned back / Then it is found, and nothing is sold twice."""
    shop = await halls(buckets)
    bucket = shop.sale.all_buckets[-1]
    before = shop.fans_of(bucket.number, 3, prefix="early")
    await shop.sell(before)
    copy = await shop.copy(bucket)
    lost = shop.fans_of(bucket.number, 4, prefix="lost")
    won = await shop.sell(lost)
    await shop.turn_back(bucket, copy)

    expected = [Condition.WHOLE] * (buckets - 1) + [Condition.OLDER]
    assert await shop.conditions() == expected
    await shop.recover()

    assert await shop.conditions() == [Condition.WHOLE] * buckets
    assert await shop.balanced()
    for fan in lost:
        again = await shop.press(fan)
        assert (again.outcome, again.order) == (Outcome.WON, won[fan].order)
    assert all_units_once(await shop.sell_out(), 40)
    assert await shop.balanced()


async def test_a_lost_give_back_is_found_out(halls: Halls) -> None:
    """Given a unit that was given back / When the bucket forgets that / Then it is older, and rebuilt with the unit."""
    shop = await halls()
    won = await shop.sell(["fan0", "fan1"])
    await shop.let_go(won["fan0"], "fan0")
    bucket = shop.sale.all_buckets[0]
    copy = await shop.copy(bucket)
    assert await shop.give_back() == 1
    await shop.turn_back(bucket, copy)
    assert await shop.conditions() == [Condition.OLDER]
    await shop.recover()
    assert await shop.balanced()
    assert all_units_once(await shop.sell_out(), 40)


@pytest.mark.parametrize("ends", [False, True])
async def test_a_unit_that_was_sold_again_comes_back_once(halls: Halls, ends: bool) -> None:
    """Given a unit that came back, was sold again, and perhaps ended again, before anybody noted that / When the bucket
    forgets it and is rebuilt / Then the unit comes back once if its last order has ended, and else not at all."""
    shop = await halls(units=2)
    bucket = shop.sale.all_buckets[0]
    first = await shop.sell(["fan0"])
    await shop.let_go(first["fan0"], "fan0")
    copy = await shop.copy(bucket)
    unsettled = Plain(shop.router, settled=False)
    assert await keep.give_back(shop.postgres, unsettled, shop.sale, worker_metrics()) == 0
    again = await shop.sell(["fan1", "fan2"])
    assert {won.unit for won in again.values()} == {1, 2}, "it was sold again"
    (fan,) = [fan for fan, won in again.items() if won.unit == first["fan0"].unit]
    if ends:
        await shop.let_go(again[fan], fan)
    await shop.turn_back(bucket, copy)
    assert await shop.conditions() == [Condition.OLDER]
    await shop.recover()
    assert await shop.balanced()
    assert await shop.give_back() == int(ends)
    assert await shop.balanced()
    sold = await shop.sell_out()
    assert sorted(unit for _, unit in sold) == [1, 2]
    assert await shop.postgres.fetch("select 1 from set_aside where sale = $1", shop.sale.sale) == []


async def test_a_lost_load_is_found_out(halls: Halls) -> None:
    """Given stock that was added / When the bucket forgets that / Then it is older, and the units are free again."""
    shop = await halls()
    bucket = shop.sale.all_buckets[0]
    copy = await shop.copy(bucket)
    await shop.operations.add_stock(shop.sale.sale, ITEM, 5)
    await shop.turn_back(bucket, copy)
    assert await shop.conditions() == [Condition.OLDER]
    await shop.recover()
    assert await shop.balanced()
    assert all_units_once(await shop.sell_out(), 45)


async def test_a_lost_sending_is_found_out(halls: Halls) -> None:
    """Given units that went to another bucket / When the source forgets that / Then it is older, and rebuilt."""
    shop = await halls(2)
    source = shop.sale.all_buckets[0]
    copy = await shop.copy(source)
    assert await shop.move(0, 1, 7) == 7
    await shop.turn_back(source, copy)
    assert await shop.conditions() == [Condition.OLDER, Condition.WHOLE]
    await shop.recover()
    assert await shop.balanced()
    assert all_units_once(await shop.sell_out(), 40)


async def test_what_is_left_in_the_outbox_lands_first(halls: Halls) -> None:
    """Given an older bucket with an order that did not land / When it is rebuilt / Then that order has landed."""
    shop = await halls()
    bucket = shop.sale.all_buckets[0]
    waiting = await shop.buy("waiting")
    copy = await shop.copy(bucket)
    await shop.land()
    await shop.sell(["later"])
    await shop.turn_back(bucket, copy)
    (made,) = await shop.recover()
    assert made.landed == 1
    assert (await shop.press("waiting")).order == waiting.order
    assert await shop.balanced()


async def test_units_between_buckets_are_not_lost(halls: Halls) -> None:
    """Given a transfer on its way to a bucket that is emptied / When it is rebuilt / Then its units are free, once."""
    shop = await halls(2)
    number, *_ = await taken(shop, source=0, to=1, units=6)
    await shop.lose(shop.sale.all_buckets[1])
    await shop.recover()
    assert await shop.balanced()
    assert await put(shop, source=0, to=1, number=number, ranges="1-6") is Effect.APPLIED_BEFORE, "a slow worker's"
    assert all_units_once(await shop.sell_out(), 40)


async def test_units_out_of_an_emptied_bucket_come_in_once(halls: Halls) -> None:
    """Given a transfer out of a bucket that is emptied / When a slow worker puts its units in / Then it is refused."""
    shop = await halls(2)
    number, _, _, ranges = await taken(shop, source=0, to=1, units=6)
    await shop.lose(shop.sale.all_buckets[0])
    await shop.recover()
    assert await put(shop, source=0, to=1, number=number, ranges=ranges) is Effect.APPLIED_BEFORE
    assert await shop.balanced()
    assert await shop.move(0, 1, 3) == 3, "later transfers come in"
    assert all_units_once(await shop.sell_out(), 40)


async def test_nothing_goes_in_or_out_behind_a_fence(halls: Halls) -> None:
    """Given a fenced bucket / When fans press and units come and go / Then all wait, and nothing is changed."""
    shop = await halls(2)
    bucket = shop.sale.all_buckets[0]
    (fan, other) = shop.fans_of(0, 2)
    won = await shop.sell([fan])
    await shop.let_go(won[fan], fan)
    await Fenced(shop.router, bucket, new_fence()).close()
    before = await units_and_lines(shop)

    assert await shop.conditions() == [Condition.FENCED, Condition.WHOLE]
    assert (await shop.press(other)).outcome is Outcome.UNAVAILABLE
    assert await shop.give_back() == 0
    assert await shop.move(0, 1, 3) == 0
    assert await put(shop, source=1, to=0, number=1, ranges="30-31") is Effect.FENCED
    await shop.operations.add_stock(shop.sale.sale, ITEM, 4)
    assert await units_and_lines(shop) == before
    assert (await shop.press(shop.fans_of(1, 1)[0])).outcome is Outcome.WON, "the other bucket sells on"

    await shop.recover()
    assert await shop.give_back() == 1
    await shop.operations.settle(await sale_now(shop))
    assert await shop.balanced()
    assert all_units_once(await shop.sell_out(), 44)


async def test_the_later_fence_wins(halls: Halls) -> None:
    """Given two recoveries of one bucket / When the earlier one writes on / Then it is refused, and changes nothing."""
    shop = await halls()
    bucket = shop.sale.all_buckets[0]
    first, second = (Fenced(shop.router, bucket, new_fence()) for _ in range(2))
    await first.close()
    await second.close()
    copy = await shop.copy(bucket)
    for write in (
        first.empty([ITEM], [], received={}),
        first.add_free(ITEM, [(1, 2)]),
        first.add_loads(["load"]),
        first.add_buyers(one_fan()),
        first.open({"wins": 0}),
    ):
        with pytest.raises(FenceLostError, match="began meanwhile"):
            await write
    assert await shop.copy(bucket) == copy


async def test_a_whole_sale_needs_nothing(halls: Halls) -> None:
    """Given orders landed, waiting and over / Then every bucket is whole, and a recovery does nothing."""
    shop = await halls(3)
    won = await shop.sell([f"fan{number}" for number in range(9)])
    await shop.let_go(won["fan1"], "fan1")
    await shop.buy("waiting")
    await shop.move(0, 1, 2)
    assert await shop.conditions() == [Condition.WHOLE] * 3
    assert await shop.recover() == []
    assert await shop.balanced()


async def test_a_sale_that_was_never_loaded_is_refused(halls: Halls) -> None:
    """Given a draft / When it is to be recovered / Then the refusal names what to do."""
    shop = await halls()
    await shop.postgres.execute("update sales set in_buckets_at = null where sale = $1", shop.sale.sale)
    recovery = Recovery(shop.redis, shop.router, shop.postgres, await sale_now(shop))
    with pytest.raises(StateError, match="flashsale sale load"):
        await recovery.examine()


async def test_another_sale_of_that_name_is_refused(halls: Halls) -> None:
    """Given a bucket of another sale with the same name / When it is to be recovered / Then it is left alone."""
    shop = await halls()
    await shop.redis.hset(shop.sale.all_buckets[0].sale_key, "generation", "another")
    with pytest.raises(StateError, match="another sale named"):
        await shop.recover()


async def test_orders_that_are_set_aside_keep_their_claim(halls: Halls) -> None:
    """Given an older bucket that sold some twice, and to a fan at the limit / When rebuilt / Then another, or none."""
    shop = await halls(units=6)
    bucket = shop.sale.all_buckets[0]
    copy = await shop.copy(bucket)
    won = await shop.sell(["first", "greedy"])
    await shop.turn_back(bucket, copy)
    again = {fan: await shop.press(fan, key="new") for fan in ("second", "third", "greedy")}
    assert [one.unit for one in again.values()] == [1, 2, 3]
    await shop.land()
    assert (await shop.audited()).set_aside == 3

    assert await shop.conditions() == [Condition.OLDER]
    await shop.recover()
    assert (await shop.press("second", key="new")).order == again["second"].order, "the claim has its line"
    for _ in range(2):
        await replace.settle(Stores(shop.redis, shop.postgres), shop.sale)
        await shop.land()
    await shop.give_back()

    assert await shop.conditions() == [Condition.WHOLE]
    assert await shop.balanced(), await shop.audited()
    states = await shop.postgres.fetch(
        "select fan, state, order_id from orders where sale = $1 order by 1, 2", shop.sale.sale
    )
    assert [(row["fan"], row["state"]) for row in states] == [
        ("first", "confirmed"), ("greedy", "confirmed"), ("greedy", "refused"), ("second", "confirmed"),
        ("third", "confirmed"),
    ]  # fmt: skip
    assert {row["order_id"].hex for row in states} == {one.order for one in (*won.values(), *again.values())}
    sold = await shop.sell_out()
    assert sorted(unit for _, unit in sold) == [1, 2, 3, 4, 5, 6]
