"""Units that come back in a sale that holds them: free nowhere, counted, and sold again once each when released."""

import asyncio
from typing import Final

import pytest

from flashsale import held, ledger
from flashsale.errors import BadInputError, NotFoundError, StateError
from flashsale.operations import Operations
from flashsale.sale import ReturnedTo, Verb
from tests.integration.cli_process import Cli
from tests.integration.conftest import Shops
from tests.integration.provider import out_of_time, paid, refunded, told
from tests.integration.shop import Shop
from tests.support.locks import until_somebody_waits
from tests.support.waiting import soon

pytestmark = pytest.mark.servers

HOLD: Final = 'returned = "hold"'
LIVE: Final = "select unit from orders where sale = $1 and state in ('confirmed', 'paid') order by unit"


async def let_go(shop: Shop, fans: int) -> None:
    """So many fans buy, let their time go by, and their units come back."""
    await shop.crowd(fans)
    await shop.land()
    await out_of_time(shop)
    await shop.expire()
    await shop.give_back()


async def places(shop: Shop) -> tuple[int, int, int, int]:
    """Free, moving, returning and held units of silver. It balances."""
    found = await shop.audited()
    assert found.balanced, found.items
    silver = found.items[0]
    return silver.free, silver.moving, silver.returning, silver.held


@pytest.mark.parametrize(("returned", "kept"), [("public", 0), ("hold", 3), ("waitlist", 3)])
async def test_where_units_go(shops: Shops, returned: str, kept: int) -> None:
    """Given a sale of each kind / When orders run out / Then their units are free again, or held; all are counted."""
    shop = await shops(top=f'returned = "{returned}"')
    await shop.crowd(3)
    await shop.land()
    await out_of_time(shop)
    await shop.expire()
    assert await places(shop) == (2, 0, 3, 0)
    assert await shop.give_back() == 3
    assert await shop.give_back() == 0
    assert await places(shop) == (5 - kept, 0, 0, kept)


@pytest.mark.parametrize("how", ["cancelled", "refunded"])
async def test_however_an_order_ends(shops: Shops, how: str) -> None:
    """Given a sale that holds / When an order is cancelled or refunded / Then its unit is held."""
    shop = await shops(top=HOLD)
    if how == "cancelled":
        won = await shop.buy("alice")
        await shop.land()
        await shop.post("alice", f"orders/{won['order']}/cancellation")
    else:
        await told(shop, refunded(await paid(shop)))
    await shop.give_back()
    assert await places(shop) == (4, 0, 0, 1)


async def test_released_units_are_sold_again_once_each(shops: Shops) -> None:
    """Given held units / When ops release two, then all / Then just those are sold, each to one fan."""
    shop = await shops(top=HOLD, silver=4)
    await let_go(shop, 4)
    assert await places(shop) == (0, 0, 0, 4)
    await shop.operations.release(shop.sale, "silver", 2)
    assert await places(shop) == (2, 0, 0, 2)
    assert sorted([(await shop.buy(fan))["unit"] for fan in ("x", "y")]) == [1, 2]
    await shop.operations.release(shop.sale, "silver", None)
    assert await places(shop) == (2, 0, 0, 0)
    assert sorted([(await shop.buy(fan))["unit"] for fan in ("v", "w")]) == [3, 4]
    await shop.land()
    assert [row["unit"] for row in await shop.rows(LIVE)] == [1, 2, 3, 4]
    assert await places(shop) == (0, 0, 0, 0)


async def test_again_and_again(shops: Shops) -> None:
    """Given units that are held, released, sold and let go, three times / Then each is in one place each time."""
    shop = await shops(top=HOLD, silver=3)
    for turn in range(3):
        wins = [await shop.buy(f"fan{turn}-{number}") for number in range(3)]
        assert sorted(win["unit"] for win in wins) == [1, 2, 3]
        await shop.land()
        await out_of_time(shop)
        await shop.expire()
        await shop.give_back()
        assert await places(shop) == (0, 0, 0, 3)
        await shop.operations.release(shop.sale, "silver", None)
        assert await places(shop) == (3, 0, 0, 0)


async def test_two_releases_at_once(shops: Shops) -> None:
    """Given three held units / When four at once release one / Then three do, one is refused, none is there twice."""
    shop = await shops(top=HOLD, silver=3)
    await let_go(shop, 3)
    answers = await asyncio.gather(
        *(shop.operations.release(shop.sale, "silver", 1) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(answer, StateError) for answer in answers) == 1
    assert await places(shop) == (3, 0, 0, 0)


async def test_one_release_waits_for_the_other(shops: Shops) -> None:
    """Given a release in the middle of its transaction / When another wants the same units / Then it waits, and finds
    none when the first has committed."""
    shop = await shops(top=HOLD, silver=2)
    await let_go(shop, 2)
    postgres = shop.operations.postgres

    async def second() -> None:
        async with postgres.acquire() as connection, connection.transaction():
            await held.release(connection, await ledger.find(connection, shop.sale), "silver", None)

    async with postgres.acquire() as connection, connection.transaction():
        await held.release(connection, await ledger.find(connection, shop.sale), "silver", None)
        other = asyncio.create_task(second())
        await until_somebody_waits(postgres)
    with pytest.raises(StateError, match="No unit of silver is held"):
        await other
    assert await places(shop) == (0, 2, 0, 0)


async def test_ops_die_between_postgres_and_the_bucket(shops: Shops) -> None:
    """Given a release that was committed and not told to the bucket / Then its units are moving, not held; and a worker
    puts them on sale."""
    shop = await shops(top=HOLD, silver=3)
    await let_go(shop, 3)
    async with shop.operations.postgres.acquire() as connection, connection.transaction():
        await held.release(connection, await ledger.find(connection, shop.sale), "silver", 2)
    assert await places(shop) == (0, 2, 0, 1)
    await shop.work()

    async def free() -> bool:
        return (await places(shop))[0] == 2

    await soon(free, what="the units are free")
    assert await places(shop) == (2, 0, 0, 1)


async def test_ops_die_before_the_commit(shops: Shops) -> None:
    """Given a release whose transaction never ended / Then everything is held as before."""
    shop = await shops(top=HOLD, silver=3)
    await let_go(shop, 3)
    before = await shop.snapshot()
    async with shop.operations.postgres.acquire() as connection:
        release = connection.transaction()
        await release.start()
        await held.release(connection, await ledger.find(connection, shop.sale), "silver", 2)
        await release.rollback()
    assert await shop.snapshot() == before


async def test_a_worker_dies_between_the_bucket_and_the_note(shops: Shops) -> None:
    """Given a unit that the bucket gave up to be held, which was not noted / When it is given back again / Then it is
    held once. Before, it counts as returning."""
    shop = await shops(top=HOLD, silver=3)
    await let_go(shop, 2)
    await shop.rows("update returns set given_back_at = null where sale = $1 returning 1")  # as if the note were lost
    assert await places(shop) == (1, 0, 2, 0)
    assert await shop.give_back() == 2
    assert await places(shop) == (1, 0, 0, 2)


async def test_it_is_decided_where_the_order_ends(shops: Shops) -> None:
    """Given a unit that was ended to be held / When the sale's policy is changed before it comes back / Then it is held
    all the same: a give-back that is repeated never decides otherwise."""
    shop = await shops(top=HOLD, silver=3)
    await shop.crowd(1)
    await shop.land()
    await out_of_time(shop)
    await shop.expire()
    await shop.rows("update sales set returned = 'public' where sale = $1 returning 1")
    await shop.give_back()
    assert await places(shop) == (2, 0, 0, 1)


async def test_a_unit_that_is_live_all_the_same_is_not_released(shops: Shops) -> None:
    """Given a held unit that a bucket which rolled back has sold again / When ops release / Then not that one; and the
    audit names it."""
    shop = await shops(top=HOLD, silver=2)
    await let_go(shop, 2)
    await shop.operations.redis.rpush(shop.bucket.free_key("silver"), "1-1")
    await shop.operations.redis.hincrby(shop.bucket.counts_key, "free:silver", 1)
    assert (await shop.audited()).items[0].doubled == (1,)
    assert (await shop.buy("bob"))["unit"] == 1
    assert (await shop.audited()).items[0].doubled == (1,)
    await shop.land()
    found = (await shop.audited()).items[0]
    assert (found.doubled, found.difference) == ((1,), -1)
    with pytest.raises(BadInputError, match="only 1 of silver"):
        await shop.operations.release(shop.sale, "silver", 2)
    await shop.operations.release(shop.sale, "silver", None)
    assert (await shop.buy("carol"))["unit"] == 2


async def test_what_can_not_be_released(shops: Shops, operations: Operations) -> None:
    """Given one held unit / When ops ask for none, too many, another item, or a closed sale / Then nothing changes."""
    shop = await shops(top=HOLD, silver=3)
    await let_go(shop, 1)
    await operations.move(shop.sale, Verb.PAUSE)
    before = await shop.snapshot()
    for item, units, fault in (
        ("silver", 0, BadInputError),
        ("silver", -1, BadInputError),
        ("silver", 2, BadInputError),
        ("black", None, StateError),
        ("gold", None, NotFoundError),
    ):
        with pytest.raises(fault):
            await operations.release(shop.sale, item, units)
    assert await shop.snapshot() == before
    await operations.move(shop.sale, Verb.CLOSE)
    with pytest.raises(StateError, match="closed"):
        await operations.release(shop.sale, "silver", None)


async def test_by_the_command_line(cli: Cli, shops: Shops) -> None:
    """Given a sale that holds / When ops look and release / Then both forms tell how many are held, and the log who."""
    shop = await shops(top='returned = "waitlist"', silver=3)
    await let_go(shop, 2)
    shown = cli("sale", "show", shop.sale, "--json").json
    assert (shown["returned"], shown["held"], shown["free"]["silver"]) == (
        ReturnedTo.WAITLIST, {"silver": 2, "black": 0}, 1,
    )  # fmt: skip
    assert "does not exist yet" in cli("sale", "show", shop.sale).out
    assert cli("audit", shop.sale, "--json").json["items"][0]["held"] == 2
    assert cli("sale", "release", shop.sale, "silver", "--units", "9").status == 2
    told_it = cli("sale", "release", shop.sale, "silver", "--units", "1", "--as", "ann", "--json")
    assert told_it.status == 0
    shown = cli("sale", "show", shop.sale, "--json").json
    assert (shown["held"]["silver"], shown["free"]["silver"]) == (1, 2)
    assert (shown["log"][-1]["actor"], shown["log"][-1]["verb"]) == ("ann", "release")
    assert "Example: " in cli("sale", "release", "--help").out
