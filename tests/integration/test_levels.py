"""Durability levels over HTTP: what is told is what was reached, on a real primary with a real replica."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from flashsale import stock
from flashsale.durability import Level, Settling
from flashsale.embedded import Addresses
from flashsale.operations import Operations
from flashsale.outcomes import Outcome
from flashsale.proof import Proofs
from flashsale.purchase import Answer, Presser, Purchases, answer_of, new_order
from flashsale.queries import Pool
from flashsale.router import Router
from tests.integration.conftest import Shops
from tests.integration.processes import serving, settings_for
from tests.integration.rows import clear
from tests.integration.shop import Shop, created, plan_text
from tests.support.samples import bucket, sale
from tests.support.servers import Private, Replica
from tests.support.verbs import Verbs
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


async def opened(primary: Private, router: Router, name: str) -> Purchases:
    """An open sale of ten units on it."""
    async with Redis.from_url(primary.url) as redis:
        await stock.tell_sale(redis, sale(name), create=True)
        await Verbs(redis, bucket(name)).add_stock("a", "load", 1, 10)
    return Purchases(router, waiting=router, settling=Settling())


async def press(purchases: Purchases, name: str, fan: str, level: Level) -> Answer:
    """One press in a lane of that level, with a key of the fan's."""
    order = new_order()
    lane = purchases.lane(bucket(name), "a", level=level)
    return answer_of(order, await lane.attempt(order, Presser(fan, "web", "public"), key="k"))


async def test_replicated_is_told_once_a_replica_has_it(primary: Private, replica: Replica, router: Router) -> None:
    """Given a replica that follows / Then a win is replicated; while it is stopped, accepted, and so is the same win
    asked for again over a new connection; and replicated once it follows again."""
    purchases = await opened(primary, router, "levels")
    assert (await press(purchases, "levels", "alice", Level.REPLICATED)).level is Level.REPLICATED
    replica.hold()
    won = await press(purchases, "levels", "bob", Level.REPLICATED)
    assert (won.outcome, won.level) == (Outcome.WON, Level.ACCEPTED)
    await router.aclose()
    again = await press(purchases, "levels", "bob", Level.REPLICATED)
    assert (again.order, again.level) == (won.order, Level.ACCEPTED), "a read proves nothing about a write before it"
    replica.go_on()

    async def follows() -> bool:
        return (await press(purchases, "levels", "bob", Level.REPLICATED)).level is Level.REPLICATED

    async with asyncio.timeout(20):
        while not await follows():
            pass


async def test_fsynced_is_never_told_by_a_server_without_a_log(primary: Private, router: Router) -> None:
    """Given a server that writes no log / When a win should be fsynced / Then it is told as accepted."""
    purchases = await opened(primary, router, "nolog")
    won = await press(purchases, "nolog", "alice", Level.FSYNCED)
    assert (won.outcome, won.level) == (Outcome.WON, Level.ACCEPTED)


async def test_fsynced_is_never_told_by_a_log_that_is_synced_later(primary: Private, router: Router) -> None:
    """Given a server that brings its log to the disk once a second / When it counts itself at once / Then a win is
    accepted all the same: some of these servers count what is not on the disk yet."""
    async with Redis.from_url(primary.url) as redis:
        await redis.config_set("appendonly", "yes")
    purchases = await opened(primary, router, "later")
    for fan in ("alice", "bob", "carol"):
        assert (await press(purchases, "later", fan, Level.FSYNCED)).level is Level.ACCEPTED


async def test_a_replica_s_disk_is_told_at_once(primary: Private, replica: Replica, router: Router) -> None:
    """Given a primary and a replica that write their logs through / When wins need both disks / Then each is fsynced
    long before the replica would tell of its disk by itself, which it does once a second."""
    for url in (primary.url, replica.url):
        async with Redis.from_url(url) as redis:
            await redis.config_set("appendonly", "yes")
            await redis.config_set("appendfsync", "always")
    await opened(primary, router, "both")
    purchases = Purchases(router, waiting=router, settling=Settling(log_replicas=1))

    async def both_have_logs() -> bool:
        return (await press(purchases, "both", "first", Level.FSYNCED)).level is Level.FSYNCED

    await soon(both_have_logs, what="both have written their first log")
    started_s = time.monotonic()
    for number in range(5):
        assert (await press(purchases, "both", f"fan-{number}", Level.FSYNCED)).level is Level.FSYNCED
    assert time.monotonic() - started_s < 2.5


async def test_fsynced_is_told_by_one_with_a_log(primary: Private, router: Router) -> None:
    """Given a server that writes its log through / Then a win is fsynced."""
    async with Redis.from_url(primary.url) as redis:
        await redis.config_set("appendonly", "yes")
        await redis.config_set("appendfsync", "always")
    purchases = await opened(primary, router, "log")
    assert (await press(purchases, "log", "alice", Level.FSYNCED)).level is Level.FSYNCED


@pytest.fixture
async def shop(
    primary: Private, replica: Replica, migrated: Addresses, postgres: Pool, sale_name: str,
    tmp_path: Path,
) -> AsyncIterator[Shop]:  # fmt: skip
    """A replicated sale on the primary, with an api and no worker."""
    settings = settings_for(Addresses(primary.url, migrated.postgres_dsn), tmp_path / "state")
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(Redis.from_url(primary.url))
        operations = Operations(redis=redis, postgres=postgres, actor="ops")
        name = await created(operations, plan_text(sale_name, top='ack = "replicated"'))
        client = await stack.enter_async_context(serving(settings))
        yield Shop(sale=name, client=client, operations=operations, settings=settings, stack=stack)
    await clear(postgres, sale_name)


@pytest.mark.timeout(120)
async def test_an_order_on_its_way_is_told_at_the_level_that_is_proved_now(shop: Shop, replica: Replica) -> None:
    """Given a win that was replicated / When it is looked up before it has landed / Then it is replicated. Given one
    that was accepted, since the replica was held / Then accepted for as long, also for the first, and soon; replicated
    once the replica follows, alone and in the list; and confirmed when it has landed."""
    alice = await shop.buy("alice")
    assert alice["level"] == "replicated"
    assert (await shop.order("alice", alice["order"]))["level"] == "replicated"
    right = await shop.reserve("bob")
    replica.hold()
    bob = (await shop.press(right)).json()
    assert (bob["outcome"], bob["level"]) == ("WON", "accepted")
    async with asyncio.timeout(10):
        told = await asyncio.gather(*(shop.order("bob", bob["order"]) for _ in range(20)))
    assert {one["level"] for one in told} == {"accepted"}
    assert (await shop.order("alice", alice["order"]))["level"] == "accepted", "nothing is proved now"
    replica.go_on()

    async def is_replicated() -> bool:
        return bool((await shop.order("bob", bob["order"]))["level"] == "replicated")

    await soon(is_replicated, what="the replica has it", deadline_s=30)
    listed = await shop.client.get("/api/v1/orders", headers=shop.bearer("bob"), params={"sale": shop.sale})
    assert [one["level"] for one in listed.json()["orders"]] == ["replicated"]
    await shop.land()
    assert (await shop.order("bob", bob["order"]))["level"] == "confirmed"


async def test_an_order_that_is_in_no_bucket_is_proved_by_nobody(
    primary: Private, replica: Replica, router: Router
) -> None:
    """Given a replica that has all / When an order is looked up that its bucket does not know, or in a sale that waits
    for no server / Then accepted; and the order that it knows is replicated."""
    purchases = await opened(primary, router, "proofs")
    won = await press(purchases, "proofs", "alice", Level.REPLICATED)
    proofs = Proofs(router, settling=Settling())
    replicated = replace(sale("proofs"), ack=Level.REPLICATED)
    assert await proofs.level_of(replicated, "alice", won.order) is Level.REPLICATED
    assert await proofs.level_of(replicated, "alice", "0" * 32) is Level.ACCEPTED
    assert await proofs.level_of(replicated, "nobody", won.order) is Level.ACCEPTED
    assert await proofs.level_of(sale("proofs"), "alice", won.order) is Level.ACCEPTED


async def test_confirmed_waits_for_postgres(shops: Shops) -> None:
    """Given level confirmed / Then a win is confirmed once the worker has landed it, and accepted while none works."""
    shop = await shops(top='ack = "confirmed"')
    assert (await shop.buy("alice"))["level"] == "accepted"
    await shop.work()
    assert (await shop.buy("bob"))["level"] == "confirmed"
    again = await shop.press(await shop.reserve("bob"))
    assert again.json()["outcome"] == "ALREADY_BOUGHT"
