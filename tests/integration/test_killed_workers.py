"""Workers that die in the middle of returns and late payments: what is left is gone on with, and each has one effect.

Once by real processes and SIGKILL, at moments that their own progress sets; once by cutting a worker's steps short at
ever later turns of the loop, so that every point between two steps is met.
"""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from flashsale.config import ENV_PREFIX, Settings
from tests.integration.cli_process import bare_environment
from tests.integration.conftest import Shops
from tests.integration.provider import asked, event, late, out_of_time, told
from tests.integration.shop import Data, Shop
from tests.support.waiting import soon, turns

pytestmark = pytest.mark.servers

PAYMENTS: Final = 12
TURNS_BETWEEN_CUTS: Final = 9
DONE: Final = (
    "select count(*) filter (where p.state = 'succeeded') as paid, count(p.paid_order) as tied,"
    " count(distinct l.unit) as units from payments p join orders o using (order_id)"
    " left join orders l on l.order_id = p.paid_order where o.sale = $1 and p.late_order is not null"
)
BACK: Final = "select count(*) as back, count(given_back_at) as given from returns where sale = $1"


@contextmanager
def worker_process(settings: Settings, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker of its own, killed at the end if not before; no signal handler of ours runs then."""
    names = ("redis_url", "postgres_dsn", "state_dir", "right_keys", "jwt_key", "webhook_secret", "public_url")
    given = {f"{ENV_PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names}
    with subprocess.Popen(
        [sys.executable, "-m", "flashsale", "worker"],
        env=bare_environment() | given | {f"{ENV_PREFIX}SANDBOX": "true"}, cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


async def seen(shop: Shop, sql: str) -> Data:
    """One row of figures."""
    return (await shop.rows(sql))[0]


async def all_late(shop: Shop) -> list[Data]:
    """Payments whose money has come late; their units are on their way back."""
    payments = [await asked(shop, f"fan{number}") for number in range(PAYMENTS)]
    await out_of_time(shop)
    await shop.expire()
    for one in payments:
        assert (await told(shop, event(one))).status_code == 204
    return payments


async def test_killed_again_and_again(shops: Shops, tmp_path: Path) -> None:
    """Given units coming back and late payments / When a worker is killed at each sign of progress and another started
    / Then every unit came back once, every payment has one unit, and everything balances."""
    shop = await shops(silver=PAYMENTS)
    await all_late(shop)
    kills = 0
    for wanted in (1, 2, 5, 9, PAYMENTS):

        async def progressed(wanted: int = wanted) -> bool:
            back, done = await seen(shop, BACK), await seen(shop, DONE)
            return bool(back["given"] >= wanted and done["paid"] >= wanted - 1)

        with worker_process(shop.reached, tmp_path) as worker:
            await soon(progressed, what=f"a worker got as far as {wanted}", deadline_s=40)
            assert worker.poll() is None
            worker.kill()
            kills += 1
    assert kills == 5

    async def finished() -> bool:
        return bool((await seen(shop, DONE))["paid"] == PAYMENTS)

    await shop.work()
    await soon(finished, what="every late payment has a unit", deadline_s=30)
    assert await seen(shop, DONE) == {"paid": PAYMENTS, "tied": PAYMENTS, "units": PAYMENTS}
    assert await seen(shop, BACK) == {"back": PAYMENTS, "given": PAYMENTS}
    found = await shop.audited()
    assert (found.balanced, found.items[0].free, found.items[0].live) == (True, 0, PAYMENTS)


async def cut_ever_later(deed: Callable[[], Awaitable[object]]) -> int:
    """Begin a deed and cut it short, each time some more turns later, until it has its way. How often it was cut."""
    cuts = 0
    while True:
        task = asyncio.ensure_future(deed())
        await turns(cuts * (TURNS_BETWEEN_CUTS + cuts))  # growing, so that a slow machine comes to the end too
        if task.done():
            await task
            return cuts
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        cuts += 1


@pytest.mark.parametrize("returned", ["public", "hold"])
async def test_a_return_cut_at_every_turn(shops: Shops, returned: str) -> None:
    """Given orders that are past their time / When expiring and giving back are cut short at ever later turns / Then
    each unit came back once, to where the sale's plan says."""
    shop = await shops(top=f'returned = "{returned}"', silver=6)
    await shop.crowd(5)
    await shop.land()
    await out_of_time(shop)
    cuts = await cut_ever_later(shop.expire) + await cut_ever_later(shop.give_back)
    assert cuts > 4, "it was hardly ever cut"
    await shop.expire()
    await shop.give_back()
    assert await seen(shop, BACK) == {"back": 5, "given": 5}
    found = await shop.audited()
    kept = 0 if returned == "public" else 5
    assert (found.balanced, found.items[0].free, found.items[0].held) == (True, 6 - kept, kept)


async def test_a_late_payment_cut_at_every_turn(shops: Shops) -> None:
    """Given a late payment / When winning, landing and paying are cut short at ever later turns / Then it is one order
    with one unit, paid once."""
    shop = await shops(silver=3)
    await late(shop)
    cuts = await cut_ever_later(shop.settle_late)
    cuts += await cut_ever_later(shop.land)
    cuts += await cut_ever_later(shop.settle_late)
    assert cuts > 6, "it was hardly ever cut"
    for _ in range(2):
        await shop.land()
        await shop.settle_late()
    assert await seen(shop, DONE) == {"paid": 1, "tied": 1, "units": 1}
    found = await shop.audited()
    assert (found.balanced, found.items[0].free, found.items[0].live) == (True, 2, 1)


async def test_a_release_cut_at_every_turn(shops: Shops) -> None:
    """Given held units / When releasing one is cut short at ever later turns / Then no unit is lost or there twice."""
    shop = await shops(top='returned = "hold"', silver=120)
    await shop.crowd(120)
    await shop.land()
    await out_of_time(shop)
    await shop.expire()
    await shop.give_back()
    assert await cut_ever_later(lambda: shop.operations.release(shop.sale, "silver", 1)) > 4
    found = (await shop.audited()).items[0]
    assert (found.difference, found.missing, found.doubled) == (0, (), ())
    await shop.work()

    async def settled() -> bool:
        return not (await shop.audited()).items[0].moving

    await soon(settled, what="the worker has told the bucket")
    assert (await shop.audited()).balanced
