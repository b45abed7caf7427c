"""An entry that can't be stored is set aside with its reason, is in nobody's way, and is never dropped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest
from uuid_utils import uuid7

from flashsale import order, outbox
from flashsale.order import BEYOND_LOADED, NO_SUCH_ITEM, UNIT_TAKEN, UNREADABLE
from flashsale.purchase import attempt_line, key_digest
from tests.integration.conftest import Shops
from tests.integration.shop import Shop
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


@dataclass(frozen=True, slots=True)
class Odd:
    """An entry that can't be stored: its fields, and how its reason begins."""

    name: str
    fields: Mapping[str, str]
    reason: str


def line(order: str = "", fan: str = "mallory", channel: str = "web") -> str:
    """An attempt as it stands in the outbox."""
    key = key_digest("k")
    return attempt_line(order=order or uuid7().hex, key=key, fan=fan, channel=channel, lane="public")


HEAD: Final = {"at_ms": "1764000000000", "item": "silver"}
ODD: Final = (
    Odd("other_fields", {"what": "ever"}, UNREADABLE),
    Odd("time_in_words", HEAD | {"at_ms": "noon", line(): "3"}, UNREADABLE),
    Odd("unit_in_words", HEAD | {line(): "three"}, UNREADABLE),
    Odd("attempt_cut_short", HEAD | {"0123": "3"}, UNREADABLE),
    Odd("order_no_id", HEAD | {line(order="xyz"): "3"}, UNREADABLE),
    Odd("not_utf8", HEAD | {f"\udcff{line()}": "3"}, UNREADABLE),
    Odd("with_a_zero_byte", {"what": "a\0b"}, UNREADABLE),
    Odd("beyond_loaded", HEAD | {line(): "99"}, BEYOND_LOADED),
    Odd("unknown_item", HEAD | {"item": "gold", line(): "1"}, NO_SUCH_ITEM),
    Odd("far_beyond_loaded", HEAD | {line(): str(10**12)}, UNREADABLE),
    Odd("unit_zero", HEAD | {line(): "0"}, UNREADABLE),
    Odd("unit_below_zero", HEAD | {line(): "-1"}, UNREADABLE),
    Odd("unit_taken", HEAD | {line(): "1"}, UNIT_TAKEN),
    Odd("fan_with_a_zero_byte", HEAD | {line(fan="a\0b"): "3"}, ""),
    Odd("time_without_end", HEAD | {"at_ms": str(10**19), line(): "3"}, ""),
)


async def put(shop: Shop, odd: Odd) -> None:
    """Put the entry into the outbox as the script would."""
    fields: dict[Any, Any] = {name.encode("utf-8", "surrogateescape"): value for name, value in odd.fields.items()}
    await shop.operations.redis.xadd(shop.bucket.outbox_key, fields)
    await shop.operations.redis.hincrby(shop.bucket.counts_key, "outbox", max(0, len(odd.fields) - 2))


@pytest.mark.parametrize("odd", ODD, ids=lambda one: one.name)
async def test_is_set_aside_and_the_rest_passes(shops: Shops, odd: Odd) -> None:
    """Given good orders before and after an odd entry / When they are landed / Then all but that one land."""
    shop = await shops()
    for fan in ("before", "unit-one"):
        await shop.buy(fan)
    await put(shop, odd)
    await shop.buy("after")
    await shop.land()
    aside = await shop.rows("select * from set_aside where sale = $1")
    assert len(aside) == 1
    assert aside[0]["reason"].startswith(odd.reason)
    assert aside[0]["content"]
    assert not await shop.operations.redis.xlen(shop.bucket.outbox_key)
    assert [row["unit"] for row in await shop.rows("select unit from orders where sale = $1 order by 1")] == [1, 2, 3]
    found = await shop.audited()
    assert (found.balanced, found.set_aside) == (True, 1)


async def test_a_worker_goes_on_past_it(shops: Shops) -> None:
    """Given odd entries of several kinds / When a worker runs / Then it counts them, and fans go on. In the end only
    the one that can't be read is not settled; of the other two, which are one fan's, one has a unit."""
    shop = await shops()
    await shop.buy("before")
    several = [odd for odd in ODD if odd.name in ("other_fields", "beyond_loaded", "unit_taken")]
    for odd in several:
        await put(shop, odd)
    worker = await shop.work()
    await shop.landed(1)
    await shop.buy("after")
    await shop.landed(2)
    assert worker.counted("orders_set_aside") >= len(several)

    async def settled() -> bool:
        rows = await shop.rows("select state from set_aside where sale = $1 order by state")
        return [row["state"] for row in rows] == ["refused", "replaced", "unreadable"]

    await soon(settled, what="all but one are settled")
    found = await shop.audited()
    assert (found.balanced, found.set_aside) == (True, 1)


async def test_is_set_aside_once(shops: Shops) -> None:
    """Given an odd entry that was set aside but not trimmed / When it is read again / Then it is one row."""
    shop = await shops()
    await shop.buy("alice")
    for odd in (ODD[0], next(odd for odd in ODD if odd.name == "unit_taken")):
        await put(shop, odd)
    entries = await outbox.read(shop.operations.redis, shop.bucket, after="0", count=10)
    for _ in range(2):
        async with shop.operations.postgres.acquire() as connection:
            landed = await order.land(connection, sale=shop.sale, bucket=0, entries=entries)
        assert sorted(one.reason.partition(":")[0] for one in landed.aside) == [UNREADABLE, UNIT_TAKEN]
    await shop.land()
    assert len(await shop.rows("select 1 from set_aside where sale = $1")) == 2
    assert not await shop.operations.redis.xlen(shop.bucket.outbox_key)
