"""F-codes whose bucket lost its memory: all of it, or that a code was spent."""

import pytest

from flashsale import ledger
from flashsale.condition import Condition
from flashsale.order import CODE_SPENT
from flashsale.recovery import Recovery
from flashsale.sale import UnitPool
from flashsale.stores import open_router
from tests.integration.codes import balanced, batch_of, exported, redeem
from tests.integration.conftest import Shops
from tests.integration.shop import BASE, Shop
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


async def test_a_code_whose_bucket_forgot_it(shops: Shops) -> None:
    """Given a code that was redeemed, and a bucket that forgot that / When somebody else redeems it / Then Postgres
    takes the first order alone: the second fan gets an apology."""
    shop = await shops(fcodes=2)
    code, _ = await exported(shop, await batch_of(shop, 2))
    await redeem(shop, "nobody", "F-00000-00000-00000-00000")
    remembered = await shop.remembered()
    first = (await redeem(shop, "alice", code)).json()["order"]
    await shop.land(bucket=1)
    await shop.roll_back(remembered)
    second = await redeem(shop, "bob", code)
    assert second.status_code == 201
    await shop.land(bucket=1)
    await shop.settle_aside()  # its unit is alice's, so it gets another one
    await shop.land(bucket=1)
    await shop.settle_aside()
    await shop.settle_aside()
    assert (await shop.order("bob", second.json()["order"]))["state"] == "refused"
    (row,) = await shop.rows("select reason, state from set_aside where sale = $1")
    assert (row["reason"], row["state"]) == (CODE_SPENT, "refused")
    assert (await shop.order("alice", first))["state"] == "confirmed"


async def recovered(shop: Shop, *lost: int) -> None:
    """What `flashsale recover` does. lost: the buckets that lost their memory."""
    ops = shop.operations
    async with ops.postgres.acquire() as connection:
        sale = await ledger.find(connection, shop.sale)
    router = await open_router(shop.settings.redis_url)
    try:
        recovery = Recovery(ops.redis, router, ops.postgres, sale)
        damaged = [one for one in await recovery.examine() if one.condition is not Condition.WHOLE]
        assert [one.bucket.number for one in damaged] == list(lost)
        await recovery.rebuild(damaged, actor="ops")
    finally:
        await router.aclose()


async def test_a_bucket_of_codes_that_was_lost_is_rebuilt(shops: Shops) -> None:
    """Given redeemed codes, and a bucket of codes that lost its memory / When it is recovered / Then spent codes are
    spent, the others are good, and it balances."""
    shop = await shops(fcodes=4)
    working = await shop.work()
    codes = await exported(shop, await batch_of(shop, 3))
    first = (await redeem(shop, "alice", codes[0])).json()
    await shop.has_state("alice", first["order"], "confirmed")
    assert working
    for key in await shop.operations.redis.keys(f"fs:{{{shop.sale}.1}}:*"):
        await shop.operations.redis.delete(key)
    unknown = await shop.client.post(f"{BASE}/fcodes/redeem", headers=shop.bearer("bob"), json={"code": codes[1]})
    assert unknown.json()["outcome"] == "UNAVAILABLE"
    await recovered(shop, 1)
    assert (await redeem(shop, "bob", codes[0])).json()["outcome"] == "CODE_SPENT"
    assert (await redeem(shop, "alice", codes[0])).json()["order"] == first["order"]
    assert [(await redeem(shop, "carol", code)).status_code for code in codes[1:]] == [201, 201]
    await soon(lambda: balanced(shop), what="it balances")


async def test_all_buckets_that_were_lost_are_rebuilt(shops: Shops) -> None:
    """Given a bought unit and a redeemed code, and a server that lost everything / When it is recovered / Then each
    unit is free in the pool that it was loaded into."""
    shop = await shops(silver=2, fcodes=3)
    await shop.work()
    codes = await exported(shop, await batch_of(shop, 3))
    await redeem(shop, "alice", codes[0])
    await shop.buy("bob")
    await shop.landed(2)
    for key in await shop.operations.redis.keys(f"fs:{{{shop.sale}.*"):
        await shop.operations.redis.delete(key)
    await recovered(shop, 0, 1)
    await soon(lambda: balanced(shop), what="it balances")
    audited = await shop.audited()
    pools = {one.pool: (one.loaded, one.free, one.live) for one in audited.items if one.item == "silver"}
    assert pools == {UnitPool.PUBLIC: (2, 1, 1), UnitPool.FCODE: (3, 2, 1)}
    assert [(await redeem(shop, "carol", code)).status_code for code in codes] == [409, 201, 201]
    assert (await shop.buy("dora"))["unit"] in {1, 2}
    assert (await shop.press(await shop.reserve("erin"))).json()["outcome"] == "SOLD_OUT"
