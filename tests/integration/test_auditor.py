"""The worker's own audits: each running sale every so often, told by metrics, without a false alarm."""

import asyncio
import logging
import math

import pytest

from flashsale import ledger, limits
from flashsale.embedded import Addresses
from flashsale.metrics import WorkerMetrics, worker_metrics
from flashsale.sale import Verb
from flashsale.worker.auditor import Auditor
from tests.integration.conftest import Shops
from tests.integration.shop import Shop

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

AUDITED = ("audit_balanced", "audit_at_seconds", "audit_took_seconds")
HOLDER = "worker-1"
FANS_MAX = 1_000  # the reservation list has room for so many


class Audits:
    """An auditor without rests, and what it tells."""

    def __init__(
        self, shop: Shop, migrated: Addresses, *, every_s: float = 0.0, rest: float = 0.0, holder: str = HOLDER
    ) -> None:
        self._shop = shop
        self.metrics: WorkerMetrics = worker_metrics()
        self.over = asyncio.Event()
        self._auditor = Auditor(
            migrated, shop.operations.redis, holder=holder, metrics=self.metrics, every_s=every_s, rest=rest
        )

    async def once(self) -> float | None:
        """One step. Whether it balances, as the metric says; None when there is none."""
        async with self._shop.operations.postgres.acquire() as connection:
            sale = await ledger.find(connection, self._shop.sale)
        await self._auditor.step([sale], self.over)
        return self.told("audit_balanced")

    def told(self, name: str, **labels: str) -> float | None:
        """What a gauge says of the sale."""
        return self.metrics.registry.get_sample_value(f"flashsale_{name}", {"sale": self._shop.sale, **labels})

    def units(self, kind: str) -> float | None:
        """How many units are named as missing, doubled or beyond."""
        return self.told("audit_units", kind=kind)


async def test_what_is_off_is_told_and_named_until_it_is_right_again(
    shops: Shops, migrated: Addresses, caplog: pytest.LogCaptureFixture
) -> None:
    """Given a sale that balances / Then 1. When two units vanish / Then 0, and the log names them, once for as long as
    that lasts. When they are there again / Then 1, and the log says so."""
    shop = await shops()
    audits = Audits(shop, migrated)
    await shop.buy("alice")
    assert await audits.once() == 1
    assert all(audits.told(name) is not None for name in AUDITED)
    free = shop.bucket.free_key("silver")
    await shop.operations.redis.lset(free, 0, "4-5")
    for _ in range(2):
        assert await audits.once() == 0
    assert (audits.units("missing"), audits.units("doubled"), audits.units("beyond")) == (2, 0, 0)
    said = [record.getMessage() for record in caplog.records if "audit.unbalanced" in record.getMessage()]
    assert len(said) == 1
    assert "item=silver" in said[0]
    assert "missing=2,3 doubled=- beyond=-" in said[0]
    await shop.operations.redis.lset(free, 0, "2-5")
    with caplog.at_level(logging.WARNING):
        assert await audits.once() == 1
    assert f"audit.balanced_again sale={shop.sale}" in caplog.text
    assert audits.units("missing") == 0


async def test_a_bucket_that_is_away_is_no_alarm_of_the_audit(shops: Shops, migrated: Addresses) -> None:
    """Given a bucket that has lost its memory / Then it is not known whether it balances: NaN, neither 1 nor 0."""
    shop = await shops()
    audits = Audits(shop, migrated)
    assert await audits.once() == 1
    await shop.operations.redis.delete(
        shop.bucket.sale_key, shop.bucket.counts_key, shop.bucket.free_key("silver"), shop.bucket.free_key("black")
    )
    told = await audits.once()
    assert told is not None
    assert math.isnan(told)


async def test_an_audit_that_fails_is_no_alarm_of_the_audit(shops: Shops, migrated: Addresses) -> None:
    """Given stores that the audit can't reach / Then it is not known, and the time of the last one stays."""
    shop = await shops()
    nowhere = Addresses(redis_url="redis://127.0.0.1:1", postgres_dsn=migrated.postgres_dsn)
    told = await Audits(shop, nowhere).once()
    assert told is not None
    assert math.isnan(told)


async def test_an_audit_that_dies_is_no_alarm_and_no_end_of_the_worker(shops: Shops, migrated: Addresses) -> None:
    """Given an audit whose process ends with status 1 and says nothing / Then it is not known, and nothing raises."""
    audits = Audits(await shops(), migrated)
    audits._auditor._environment = {**audits._auditor._environment, "PYTHONHOME": "/nowhere"}
    told = await audits.once()
    assert told is not None
    assert math.isnan(told)


async def test_orders_on_their_way_are_no_alarm(shops: Shops, migrated: Addresses) -> None:
    """Given a crowd that buys, lets go and is landed without a pause / When it is audited meanwhile / Then always 1."""
    shop = await shops(top="per_fan_limit = 3", silver=2_000)
    working = await shop.work()
    audits = Audits(shop, migrated, holder=working.worker._holder)
    ends = asyncio.Event()

    async def crowd(first: int) -> None:
        number = first
        while not ends.is_set() and number < FANS_MAX:
            fan = f"fan{number}"
            won = await shop.buy(fan)
            if number % 3 == 0:
                await shop.has_state(fan, won["order"], "confirmed")
                await shop.post(fan, f"orders/{won['order']}/cancellation")
            number += 4

    going = [asyncio.create_task(crowd(first)) for first in range(4)]
    try:
        assert [await audits.once() for _ in range(3)] == [1] * 3
    finally:
        ends.set()
        await asyncio.gather(*going)


async def test_another_worker_s_sale_is_left_to_it(shops: Shops, migrated: Addresses) -> None:
    """Given a sale whose first bucket another worker lands / Then it is not audited here, and what was told of it
    before is told no more. A sale that nobody lands is audited by whoever sees it."""
    shop = await shops()
    audits = Audits(shop, migrated)
    await shop.operations.redis.set(shop.bucket.lease_key, HOLDER)
    assert await audits.once() == 1
    await shop.operations.redis.set(shop.bucket.lease_key, "worker-2")
    assert await audits.once() is None
    assert [audits.told(name) for name in AUDITED] == [None] * 3
    assert audits.units("missing") is None
    await shop.operations.redis.delete(shop.bucket.lease_key)
    assert await audits.once() == 1


async def test_it_rests_many_times_as_long_as_it_worked(shops: Shops, migrated: Addresses) -> None:
    """Given an audit that was just done / Then there is none for a long rest, and none before the sale is due."""
    shop = await shops()
    for audits in (Audits(shop, migrated, rest=limits.AUDIT_REST), Audits(shop, migrated, every_s=3_600)):
        await audits.once()
        at = audits.told("audit_at_seconds")
        await audits.once()
        assert audits.told("audit_at_seconds") == at


async def test_it_rests_less_where_a_sale_would_wait_too_long(
    shops: Shops, migrated: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an audit that was just done / When its rest would be longer than a sale may wait / Then the next is due."""
    monkeypatch.setattr(limits, "AUDIT_AGE_S", 0.0)
    audits = Audits(await shops(), migrated, rest=limits.AUDIT_REST)
    await audits.once()
    at = audits.told("audit_at_seconds")
    await audits.once()
    assert audits.told("audit_at_seconds") != at


async def test_a_sale_that_has_long_been_over_is_left_alone(
    shops: Shops, migrated: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a closed sale / Then it is audited for a day more, and not after that."""
    shop = await shops()
    await shop.operations.move(shop.sale, Verb.CLOSE)
    assert await Audits(shop, migrated).once() == 1
    monkeypatch.setattr(limits, "AUDIT_AFTER_CLOSE_S", -7_200)
    assert await Audits(shop, migrated).once() is None


async def test_a_worker_that_is_to_stop_does_not_wait_for_an_audit(shops: Shops, migrated: Addresses) -> None:
    """Given an audit under way / When the worker is to stop / Then it ends at once and nothing is told."""
    shop = await shops()
    audits = Audits(shop, migrated)
    audits.over.set()
    async with asyncio.timeout(5):
        assert await audits.once() is None
