"""Orders of a bucket that is closed, empty or being rebuilt: what is known is told, and of the rest that it is not."""

import uuid

import pytest

from flashsale.rebuild import Fenced, new_fence
from tests.integration.conftest import Shops
from tests.integration.shop import BASE, Data, Shop, assert_problem

pytestmark = pytest.mark.servers


async def listing(shop: Shop, fan: str) -> Data:
    """The fan's list of orders."""
    answer = await shop.client.get(f"{BASE}/orders", headers=shop.bearer(fan), params={"sale": shop.sale})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def all_not_known(shop: Shop, fan: str, order: str) -> None:
    """Whatever is asked of the order, nobody says that there is none."""
    see = f"{BASE}/orders/{order}"
    for path in (see, f"{see}/events"):
        assert_problem(await shop.client.get(path, headers=shop.bearer(fan)), 503, "orders-closed")
    for verb in ("payment", "cancellation"):
        assert_problem(await shop.post(fan, f"orders/{order}/{verb}"), 503, "orders-closed")


async def test_an_order_that_only_a_lost_bucket_had_is_not_denied(shops: Shops) -> None:
    """Given an order that has landed and one that has not / When the bucket is lost / Then the first is told, and of
    the second that nobody knows now."""
    shop = await shops()
    landed = await shop.buy("alice")
    worker = await shop.work()
    await shop.has_state("alice", landed["order"], "confirmed")
    await worker.stop()
    lost = await shop.buy("bob")
    assert (await shop.order("bob", lost["order"]))["state"] == "accepted"
    assert (await listing(shop, "bob"))["complete"] is True

    keys = [key async for key in shop.operations.redis.scan_iter(match=f"*{shop.sale}*")]
    await shop.operations.redis.delete(*keys)

    assert (await shop.order("alice", landed["order"]))["state"] == "confirmed"
    told = await listing(shop, "alice")
    assert ([one["order"] for one in told["orders"]], told["complete"]) == ([landed["order"]], False)
    assert await listing(shop, "bob") == {"orders": [], "complete": False}
    await all_not_known(shop, "bob", lost["order"])


async def test_an_order_is_not_denied_while_its_bucket_is_rebuilt(shops: Shops) -> None:
    """Given a bucket behind a fence / Then of an order that is nowhere nobody says so; without it there is none."""
    shop = await shops()
    nobodys = str(uuid.uuid4())
    see = f"{BASE}/orders/{nobodys}"
    assert_problem(await shop.client.get(see, headers=shop.bearer("bob")), 404, "unknown-order")
    await Fenced(shop.operations.redis, shop.bucket, new_fence()).close()
    await all_not_known(shop, "bob", nobodys)
