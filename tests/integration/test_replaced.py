"""A bucket that rolled back sells units a second time: each such order gets another unit or an apology, and every unit
is in one place afterwards."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Final

import pytest

from flashsale import ledger, order, outbox, set_aside, stock
from flashsale.clock import now_ms
from flashsale.outcomes import Effect
from flashsale.sale import Verb
from tests.integration.conftest import Shops
from tests.integration.shop import Data, Shop, assert_problem
from tests.integration.test_killed_workers import cut_ever_later
from tests.support.verbs import Verbs
from tests.support.waiting import soon

pytestmark = pytest.mark.servers
ASIDE: Final = "select * from set_aside where sale = $1 order by created_at, order_id"
LIVE: Final = "select fan, unit from orders where sale = $1 and state in ('confirmed', 'paid') order by unit"


async def sold_twice(shop: Shop, first: Sequence[str], second: Sequence[str]) -> list[Data]:
    """Some buy and land; the bucket forgets them; others buy, the same units, and are refused. The others' wins."""
    before = await shop.remembered()
    for fan in first:
        await shop.buy(fan)
    await shop.land()
    await shop.roll_back(before)
    wins = [await shop.buy(fan) for fan in second]
    await shop.land()
    return wins


async def aside(shop: Shop) -> list[tuple[str, str, list[int]]]:
    """State, reason and units tried of what is set aside."""
    return [(row["state"], row["reason"], row["tried"]) for row in await shop.rows(ASIDE)]


async def live(shop: Shop) -> dict[str, int]:
    """Fan to unit of the live orders."""
    return {row["fan"]: row["unit"] for row in await shop.rows(LIVE)}


async def audit_is(shop: Shop, *, free: int, live: int, set_aside: int = 0) -> None:
    """Every unit of silver is in one place."""
    found = await shop.audited()
    assert found.balanced, found
    assert (found.items[0].free, found.items[0].live, found.set_aside) == (free, live, set_aside)


async def long_waited(shop: Shop) -> None:
    """What is set aside has waited for so long that no unpaid order is waited for, but units that come are."""
    await shop.rows("update set_aside set created_at = now() - interval '5 minutes' where sale = $1 returning 1")


async def test_a_unit_sold_twice_is_replaced(shops: Shops) -> None:
    """Given a unit that was sold twice / Then its second fan is told honestly that it is checked, gets another unit
    under the same order, and is confirmed; the first keeps theirs."""
    shop = await shops()
    (win,) = await sold_twice(shop, ["alice"], ["bob"])
    assert win["unit"] == 1
    assert await aside(shop) == [("waiting", order.UNIT_TAKEN, [1])]
    (row,) = await shop.rows(ASIDE)
    assert outbox.Win(**row["win"]).order_id == row["order_id"] == uuid.UUID(win["order"])
    assert len(row["win"]["key"]) == 16
    seen = await shop.order("bob", win["order"])
    assert (seen["state"], seen["checking"], seen["unit"]) == ("accepted", True, 1)
    assert_problem(await shop.post("bob", f"orders/{win['order']}/payment"), 409, "not-confirmed-yet")
    await audit_is(shop, free=4, live=1, set_aside=1)

    await shop.settle_aside()
    await shop.land()
    seen = await shop.order("bob", win["order"])
    assert (seen["state"], seen["checking"], seen["unit"]) == ("confirmed", False, 2)
    await shop.settle_aside()
    assert await aside(shop) == [("replaced", order.UNIT_TAKEN, [1])]
    assert await live(shop) == {"alice": 1, "bob": 2}
    await audit_is(shop, free=3, live=2)


async def test_a_worker_does_all_of_it(shops: Shops) -> None:
    """Given three units sold twice, and two more that only the first fans' orders hold / When a worker runs / Then all
    eight have a unit of their own: those that were offered a taken one were asked for again."""
    shop = await shops(silver=8)
    await sold_twice(shop, ["alice", "bob", "carol", "dora", "erin"], ["finn", "gus", "hal"])
    assert [tried for _, _, tried in await aside(shop)] == [[1], [2], [3]]
    worker = await shop.work()

    async def done() -> bool:
        return {state for state, _, _ in await aside(shop)} == {"replaced"}

    await soon(done, what="all are replaced", deadline_s=20)
    assert sorted((await live(shop)).values()) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {4, 5} <= {unit for _, _, tried in await aside(shop) for unit in tried}, "taken ones were offered first"
    await audit_is(shop, free=0, live=8)

    async def gauged() -> bool:
        labels = {"sale": shop.sale, "state": "replaced"}
        return worker.metrics.registry.get_sample_value("flashsale_orders_aside", labels) == 3

    await soon(gauged, what="the gauge says so")


async def test_none_is_left(shops: Shops) -> None:
    """Given a unit that was sold twice, and no other / When an unpaid order may still run out / Then it waits; after a
    while it is refused: the fan finds it among their orders, with what there is to say, and can't pay it. Nothing comes
    back, since the unit is the other fan's; the fan may buy again, and the audit balances at every step."""
    shop = await shops(silver=1)
    (win,) = await sold_twice(shop, ["alice"], ["bob"])
    await shop.settle_aside()
    assert [state for state, _, _ in await aside(shop)] == ["waiting"]
    await audit_is(shop, free=0, live=1, set_aside=1)
    await long_waited(shop)
    async with shop.client.stream("GET", f"/api/v1/orders/{win['order']}/events", headers=shop.bearer("bob")) as stream:
        events = stream.aiter_lines()
        assert await anext(events) == "event: order"
        await shop.settle_aside()
        told = [line async for line in events]  # it ends by itself
    assert '"refused"' in next(line for line in reversed(told) if line.startswith("data:"))

    assert await aside(shop) == [("refused", order.NO_UNIT, [1])]
    seen = await shop.order("bob", win["order"])
    assert (seen["state"], seen["unit"], seen["confirmed_ms"], seen["checking"]) == ("refused", 1, None, False)
    assert seen["closed_ms"]
    orders = (await shop.client.get("/api/v1/orders", headers=shop.bearer("bob"))).json()["orders"]
    listed = [one for one in orders if one["sale"] == shop.sale]
    assert [(one["order"], one["state"]) for one in listed] == [(win["order"], "refused")]
    for verb in ("payment", "cancellation"):
        before = await shop.snapshot()
        assert_problem(await shop.post("bob", f"orders/{win['order']}/{verb}"), 409, "order-over")
        assert await shop.snapshot() == before
    assert await shop.rows("select 1 from returns where sale = $1") == []
    ((line,),) = await Verbs(shop.operations.redis, shop.bucket).witness("bob")
    assert not line.live
    await audit_is(shop, free=0, live=1)


async def test_a_fan_who_bought_the_same_unit_again(shops: Shops) -> None:
    """Given a fan whose order the bucket has forgotten, and who bought the same unit again / Then they keep the first
    order, the second is refused, and every unit is in one place."""
    shop = await shops(silver=3)
    (win,) = await sold_twice(shop, ["alice"], ["alice"])
    for _ in range(3):
        await shop.settle_aside()
        await shop.land()
        await shop.give_back()
    assert (await shop.order("alice", win["order"]))["state"] == "refused"
    assert await live(shop) == {"alice": 1}
    await audit_is(shop, free=2, live=1)


async def test_an_order_over_the_limit_whose_unit_is_its_own(shops: Shops) -> None:
    """Given a fan whose order the bucket has forgotten, and who bought another unit / Then that order is refused, and
    its unit comes back once, by the usual way; the audit balances at every step."""
    shop = await shops(silver=3)
    before = await shop.remembered()
    await shop.buy("alice")
    await shop.land()
    await shop.roll_back(before)
    await shop.buy("bob")  # unit 1 again
    win = await shop.buy("alice")  # unit 2, which nobody else has
    await shop.land()
    assert sorted(await aside(shop)) == [("waiting", order.OVER_LIMIT, [2]), ("waiting", order.UNIT_TAKEN, [1])]
    await audit_is(shop, free=1, live=1, set_aside=2)
    await shop.settle_aside()
    await audit_is(shop, free=0, live=1, set_aside=1)
    assert (await shop.order("alice", win["order"]))["state"] == "refused"
    assert await shop.rows("select unit, reason, hold from returns where sale = $1") == [
        {"unit": 2, "reason": "refused", "hold": False}
    ]
    for _ in range(2):
        assert await shop.give_back() in (0, 1)
        await shop.settle_aside()
        await shop.land()
        await audit_is(shop, free=1, live=2)
    assert await live(shop) == {"alice": 1, "bob": 3}
    assert (await shop.buy("carol"))["unit"] == 2
    await shop.land()
    await audit_is(shop, free=0, live=3)


async def test_a_unit_that_was_never_loaded(shops: Shops) -> None:
    """Given an order whose unit was never loaded, and which the bucket does not know / Then it gets one that was; with
    none, it is refused and nothing comes back."""
    shop = await shops(silver=1)
    for fan in ("alice", "bob"):
        await foreign(shop, fan, 99)
    await shop.land()
    assert await aside(shop) == [("waiting", order.BEYOND_LOADED, [99])] * 2
    await shop.settle_aside()
    await shop.land()
    await long_waited(shop)
    await shop.settle_aside()
    assert sorted(state for state, _, _ in await aside(shop)) == ["refused", "replaced"]
    assert list((await live(shop)).values()) == [1]
    assert await shop.rows("select 1 from returns where sale = $1") == []
    await audit_is(shop, free=0, live=1)


async def foreign(shop: Shop, fan: str, unit: int) -> uuid.UUID:
    """An entry in the outbox of which the bucket knows nothing else."""
    made = uuid.uuid4()
    fields = {"at_ms": now_ms(), "item": "silver", f"{made.hex} {'0' * 16} {fan} web public": unit}
    await shop.operations.redis.xadd(shop.bucket.outbox_key, fields)  # type: ignore[arg-type]
    await shop.operations.redis.hincrby(shop.bucket.counts_key, "outbox", 1)
    return made


async def test_the_bucket_forgets_it_again(shops: Shops) -> None:
    """Given an order that waits, in a bucket that rolls back once more and knows it no longer / Then its line is made
    again from what Postgres keeps; if its fan has bought meanwhile, it is refused as over the limit."""
    shop = await shops()
    before = await shop.remembered()
    wins = await sold_twice(shop, ["alice", "anna"], ["bob", "carol"])
    await shop.roll_back(before)
    assert (await shop.order("bob", wins[0]["order"]))["checking"], "the fan is told, though the bucket has forgotten"
    again = await shop.buy("carol")  # unit 1, which is alice's
    await shop.settle_aside()
    await shop.land()
    await shop.settle_aside()
    await shop.land()
    await shop.settle_aside()
    assert (await shop.order("bob", wins[0]["order"]))["state"] == "confirmed"
    states = {(await shop.order("carol", one["order"]))["state"] for one in (wins[1], again)}
    assert states == {"confirmed", "refused"}
    ((line,),) = await Verbs(shop.operations.redis, shop.bucket).witness("bob")
    assert (line.order, line.key) == (uuid.UUID(wins[0]["order"]).hex, (await shop.rows(ASIDE))[0]["win"]["key"])
    found = await shop.audited()
    assert (found.items[0].doubled, found.items[0].live) == ((), 4)


async def test_an_old_entry_lands_late(shops: Shops) -> None:
    """Given an order that waits, and its old entry in another worker's hands / When its first unit is free again, and
    that entry lands / Then it is refused; the order lands with the unit that the bucket gave it."""
    shop = await shops()
    before = await shop.remembered()
    first = await shop.buy("alice")
    await shop.land()
    await shop.roll_back(before)
    await shop.buy("bob")
    entries = await outbox.read(shop.operations.redis, shop.bucket, after="0", count=10)
    await shop.land()
    assert (await shop.post("alice", f"orders/{first['order']}/cancellation")).is_success
    for _ in range(2):
        async with shop.operations.postgres.acquire() as connection:
            landed = await order.land(connection, sale=shop.sale, bucket=0, entries=entries)
        assert (landed.new, [one.reason for one in landed.aside]) == (0, [order.UNIT_TRIED])
        assert await live(shop) == {}
        await shop.settle_aside()
    await shop.land()
    assert await live(shop) == {"bob": 2}


async def test_dry_in_several_buckets(shops: Shops) -> None:
    """Given two buckets, the order's own dry, a unit in the other / When a worker runs / Then the balancer brings it;
    the sale may be closed."""
    shop = await shops(top="buckets = 2", silver=4)
    async with shop.operations.postgres.acquire() as connection:
        sale = await ledger.find(connection, shop.sale)
    fans = [f"fan{number}" for number in range(40)]
    here = [fan for fan in fans if sale.bucket_of(fan).number == 0]
    wins = await sold_twice(shop, here[:2], here[2:4])
    await shop.settle_aside()
    facts = await stock.facts(shop.operations.redis, sale.all_buckets)
    assert [(one.free["silver"], one.lost.get("silver", 0)) for one in facts] == [(0, 2), (2, 0)]
    await long_waited(shop)
    await shop.settle_aside()
    assert {state for state, _, _ in await aside(shop)} == {"waiting"}, "another bucket has units"
    await shop.operations.move(shop.sale, Verb.CLOSE)
    await shop.work()

    async def confirmed() -> bool:
        states = [(await shop.order(fan, win["order"]))["state"] for fan, win in zip(here[2:4], wins, strict=True)]
        return states == ["confirmed"] * 2

    await soon(confirmed, what="both have a unit from the other bucket", deadline_s=20)
    assert sorted((await live(shop)).values()) == [1, 2, 3, 4]


@pytest.mark.parametrize("coming", ["a return", "a load"])
async def test_units_on_their_way_are_waited_for(shops: Shops, coming: str) -> None:
    """Given an order without a unit, long after its patience, and a unit on its way to its bucket / Then it is not
    refused, and gets that one."""
    shop = await shops(silver=2)
    known = await shop.buy("carol")
    await shop.land()
    (win,) = await sold_twice(shop, ["alice"], ["bob"])
    await long_waited(shop)
    if coming == "a return":
        assert (await shop.post("carol", f"orders/{known['order']}/cancellation")).is_success
    else:
        await shop.rows("insert into stock_loads (load, sale, item, bucket, unit_from, unit_to)"
                        " values (gen_random_uuid(), $1, 'silver', 0, 3, 3) returning 1")  # fmt: skip
        await shop.rows("update items set loaded = 3 where sale = $1 and item = 'silver' returning 1")
    await shop.settle_aside()
    assert [state for state, _, _ in await aside(shop)] == ["waiting"]
    await shop.work()
    assert (await shop.has_state("bob", win["order"], "confirmed"))["unit"] == (1 if coming == "a return" else 3)


async def test_a_unit_of_which_it_is_not_known_whose_it_is(shops: Shops) -> None:
    """Given a waiting order whose unit's other order is over and is being given back / Then nothing is decided until
    the bucket has said; the unit then comes back once."""
    shop = await shops(silver=1)
    before = await shop.remembered()
    first = await shop.buy("alice")
    await shop.land()
    await shop.roll_back(before)
    win = await shop.buy("bob")
    await shop.land()
    assert (await shop.post("alice", f"orders/{first['order']}/cancellation")).is_success
    await long_waited(shop)
    await shop.settle_aside()
    assert [state for state, _, _ in await aside(shop)] == ["waiting"]
    assert await shop.give_back() == 0, "the bucket has forgotten the first order"
    await shop.settle_aside()
    assert (await shop.order("bob", win["order"]))["state"] == "refused"
    assert await shop.give_back() == 1
    assert (await shop.buy("carol"))["unit"] == 1
    await shop.land()
    await audit_is(shop, free=0, live=1)


async def test_cut_at_every_turn(shops: Shops) -> None:
    """Given orders to be replaced and to be refused / When settling and landing are cut short at ever later turns, so
    that replies are lost and transactions end half-way / Then each order has one end, and each unit one place."""
    shop = await shops(silver=6)
    await sold_twice(shop, ["alice", "anna"], ["bob", "carol"])
    await shop.buy("alice")  # over the limit, with unit 3
    await shop.land()
    cuts = 0
    for _ in range(3):
        cuts += await cut_ever_later(shop.settle_aside)
        cuts += await cut_ever_later(shop.land)
        cuts += await cut_ever_later(shop.give_back)
    assert cuts > 6, "it was hardly ever cut"
    assert sorted(state for state, _, _ in await aside(shop)) == ["refused", "replaced", "replaced"]
    await audit_is(shop, free=2, live=4)


async def test_two_workers_at_once(shops: Shops) -> None:
    """Given twelve orders that wait / When four settle at once / Then each order is on its way once."""
    shop = await shops(silver=30)
    await sold_twice(shop, [f"a{n}" for n in range(12)], [f"b{n}" for n in range(12)])
    await asyncio.gather(*(shop.settle_aside() for _ in range(4)))
    entries = await outbox.read(shop.operations.redis, shop.bucket, after="0", count=100)
    orders = [win.order for entry in entries for win in entry.wins]
    assert len(orders) == len(set(orders)) == 12
    await shop.land()
    await shop.settle_aside()
    assert {state for state, _, _ in await aside(shop)} == {"replaced"}
    await audit_is(shop, free=6, live=24)


@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_late_call_after_the_refusal(shops: Shops, forgotten: bool) -> None:
    """Given an order that was refused when no unit was left, and a call for it that was sent before / When that call
    gets a unit that came back meanwhile / Then that unit is free again in the end, and the order stays refused.

    forgotten: the bucket did not know the order when it heard that it was over.
    """
    shop = await shops(silver=2)
    (win,) = await sold_twice(shop, ["alice"], ["bob"])
    known = await shop.buy("carol")
    await shop.land()
    (row,) = await shop.rows(ASIDE)
    async with shop.operations.postgres.acquire() as connection, connection.transaction():
        waiting = await set_aside.lock_waiting(connection, shop.sale, "silver", row["order_id"])
        assert waiting
        assert await set_aside.refuse(connection, shop.sale, waiting, reason=order.NO_UNIT) is set_aside.State.REFUSED
    if forgotten:
        await shop.operations.redis.hdel(shop.bucket.buyers_key, "bob")
        await shop.settle_aside()
        assert (await shop.rows(ASIDE))[0]["bucket_told_at"]
    assert (await shop.post("carol", f"orders/{known['order']}/cancellation")).is_success
    await shop.give_back()
    code, unit = await stock.replace_unit(shop.operations.redis, bucket=shop.bucket, win=waiting.win, tried=[1])
    assert (code, unit) == (Effect.APPLIED, 2)
    await shop.land()
    await shop.settle_aside()
    assert (await shop.order("bob", win["order"]))["state"] == "refused"
    await audit_is(shop, free=1, live=1)
