"""A sale on a real cluster: spread over buckets, sold to the last unit, through a failover."""

import asyncio
import gc
import os
import signal
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from redis.asyncio import RedisCluster

from flashsale import audit, ledger, stock, stores
from flashsale.config import Settings
from flashsale.embedded import Addresses, erase
from flashsale.embedded_cluster import EmbeddedCluster
from flashsale.embedded_nodes import Node
from flashsale.keys import Bucket
from flashsale.operations import Operations
from flashsale.sale import Sale
from flashsale.stores import Stores
from tests.integration.processes import serving, settings_for, working
from tests.integration.shop import BASE, Shop, created, plan_text
from tests.support.servers import Private, Replica
from tests.support.waiting import soon

pytestmark = [pytest.mark.servers, pytest.mark.slow]
UNITS = 60
GIVEN_BACK = "select count(*) from returns where sale = $1 and given_back_at is not null"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedCluster, Addresses]]:
    """Three primaries with a replica each, and a Postgres."""
    state = tmp_path_factory.mktemp("cluster") / "state"
    servers = EmbeddedCluster(state=state, fresh=True)
    addresses = servers.start()
    asyncio.run(stores.migrate(addresses.postgres_dsn))
    yield servers, addresses
    servers.stop()
    erase(state)


@pytest.fixture(autouse=True)
def left_by_the_client() -> Iterator[None]:
    """redis-py lets go of nodes that left the cluster while connections to them are open. They are collected here,
    and not in the middle of another test, which would be blamed for it."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def settings(cluster: tuple[EmbeddedCluster, Addresses], tmp_path: Path) -> Settings:
    """The settings of processes on the cluster."""
    return settings_for(cluster[1], tmp_path / "state")


@pytest.fixture
async def both(settings: Settings) -> AsyncIterator[Stores]:
    """The stores."""
    async with stores.opened(redis_url=settings.redis_url, postgres_dsn=settings.postgres_dsn) as opened:
        yield opened


async def press(shop: Shop, fan: str) -> str:
    """One fan's whole way to an answer: asked again with the same key as long as nothing is decided."""
    headers = shop.bearer(fan) | {"idempotency-key": "k"}
    for _ in range(200):
        try:
            answer = await shop.client.post(
                f"{BASE}/sales/{shop.sale}/items/silver/purchase", headers=headers, params={"retry": "1"}
            )
        except httpx.TransportError:
            continue
        data = answer.json()
        if data.get("outcome") not in {"WAIT", "UNKNOWN", "UNAVAILABLE"}:
            return f"WON {data['level']}" if data["outcome"] == "WON" else str(data["outcome"])
        await asyncio.sleep(0.1)
    return "NEVER"


async def sold(both: Stores, sale: Sale) -> int:
    """Live orders in Postgres, each of another unit."""
    rows = await both.postgres.fetch("select distinct unit from orders where sale = $1", sale.sale)
    return len(rows)


async def opened(stack: AsyncExitStack, both: Stores, settings: Settings, name: str, top: str) -> tuple[Shop, Sale]:
    """A sale of sixty units, with an api and a worker."""
    operations = Operations(redis=both.redis, postgres=both.postgres, actor="ops")
    await created(operations, plan_text(name, top=f'entry = "open"\n{top}', silver=UNITS))
    client = await stack.enter_async_context(serving(settings))
    await stack.enter_async_context(working(settings))
    async with both.postgres.acquire() as connection:
        sale = await ledger.find(connection, name)

    async def shown() -> bool:
        return (await client.get(f"{BASE}/sales/{name}")).is_success

    await soon(shown, what="the worker has seen the sale in its buckets, and the api shows it")
    return Shop(sale=name, client=client, operations=operations, settings=settings, stack=stack), sale


async def all_landed(both: Stores, sale: Sale) -> None:
    """Wait until nothing is on its way."""

    async def is_so() -> bool:
        return not sum(one.outbox for one in await stock.facts(both.redis, sale.all_buckets))

    await soon(is_so, what="all orders have landed")


async def test_eight_buckets_sell_to_the_last_unit(both: Stores, settings: Settings) -> None:
    """Given units spread over eight buckets / When more fans press than there are units / Then each unit is sold once,
    a fan whose bucket ran dry gets one of another, and the rest are told sold out."""
    async with AsyncExitStack() as stack:
        shop, sale = await opened(stack, both, settings, "eight", "buckets = 8")
        told = Counter(await asyncio.gather(*(press(shop, f"fan{n}") for n in range(UNITS * 3))))
        assert told == {"WON accepted": UNITS, "SOLD_OUT": UNITS * 2}
        await all_landed(both, sale)
        assert await sold(both, sale) == UNITS
        audited = await audit.audit(both.redis, both.postgres, sale.sale)
        assert audited.balanced
        assert audited.items[0].free == 0


def nodes_of(servers: EmbeddedCluster, both: Stores, bucket: Bucket) -> tuple[Node, Node]:
    """The primary that has this bucket, and its replica."""
    assert isinstance(both.redis, RedisCluster)
    found = both.redis.get_node_from_key(bucket.sale_key)
    primary = next(node for node in servers.nodes if found and node.port == found.port)
    return primary, next(node for node in servers.nodes if node.primary == primary.name)


async def test_returns_outlive_the_primary_that_took_them_back(
    cluster: tuple[EmbeddedCluster, Addresses], both: Stores, settings: Settings
) -> None:
    """Given a primary whose replica sees nothing / When units come back there and it dies / Then none of them was noted
    as given back, and each comes back once where the replica has taken over, without anybody's help."""
    async with AsyncExitStack() as stack:
        shop, sale = await opened(stack, both, settings, "returns", "buckets = 6")
        await asyncio.gather(*(press(shop, f"fan{number}") for number in range(UNITS // 2)))
        await all_landed(both, sale)
        won = {row["fan"]: row["order_id"] for row in await shop.rows("select * from orders where sale = $1")}
        bucket = sale.bucket_of("fan0")
        primary, replica = nodes_of(cluster[0], both, bucket)
        Replica(replica.pid, "").fall_behind(Private("", primary.port))
        stack.callback(os.kill, replica.pid, signal.SIGCONT)
        stack.callback(cluster[0].restart, primary.name)
        back = [fan for fan in won if sale.bucket_of(fan) == bucket]
        for fan in back:
            assert (await shop.post(fan, f"orders/{won[fan]}/cancellation")).is_success

        async def taken_back() -> bool:
            return (await stock.facts(both.redis, [bucket]))[0].returned == len(back)

        async def given_back() -> int:
            return int(await both.postgres.fetchval(GIVEN_BACK, sale.sale))

        async def all_given_back() -> bool:
            return await given_back() == len(back)

        await soon(taken_back, what="the primary has taken the units back")
        assert await given_back() == 0
        os.kill(primary.pid, signal.SIGKILL)
        os.kill(replica.pid, signal.SIGCONT)
        await soon(all_given_back, what="they have come back for good", deadline_s=40)
        assert await taken_back()
        audited = await audit.audit(both.redis, both.postgres, sale.sale)
        assert audited.balanced
        assert audited.items[0].free == UNITS - len(won) + len(back)


async def test_a_primary_dies_under_a_crowd(
    cluster: tuple[EmbeddedCluster, Addresses], both: Stores, settings: Settings
) -> None:
    """Given level replicated / When a primary is killed while fans press / Then selling goes on by itself, every win
    that was told as replicated is there, and no unit is sold twice."""
    async with AsyncExitStack() as stack:
        shop, sale = await opened(stack, both, settings, "failover", 'buckets = 6\nack = "replicated"')
        crowd = [asyncio.create_task(press(shop, f"fan{n}")) for n in range(UNITS // 2)]
        await asyncio.sleep(0)
        victim = next(node for node in cluster[0].nodes if node.role == "primary")
        os.kill(victim.pid, signal.SIGKILL)
        crowd += [asyncio.create_task(press(shop, f"late{n}")) for n in range(UNITS)]
        told = Counter(await asyncio.gather(*crowd))
        assert set(told) <= {"WON replicated", "WON accepted", "SOLD_OUT"}, told
        await all_landed(both, sale)
        assert told["WON replicated"] + told["WON accepted"] >= await sold(both, sale) >= told["WON replicated"]
        assert (await audit.audit(both.redis, both.postgres, sale.sale)).balanced


async def test_a_connection_that_is_closed_under_a_command_is_trouble_that_is_known(settings: Settings) -> None:
    """Given commands on their way / When the connections are closed, as a task does that finds the cluster changed /
    Then each is answered or fails by a word that everybody waits out, and none in another way."""
    client = await stores.open_redis(settings.redis_url)
    assert isinstance(client, RedisCluster)
    over, broken = asyncio.Event(), Counter[bool]()

    async def ask(number: int) -> None:
        while not over.is_set():
            try:
                await client.get(f"k{number}")
            except stores.TROUBLE as trouble:
                broken["under a command" in str(trouble)] += 1
            await asyncio.sleep(0)

    asking = [asyncio.create_task(ask(number)) for number in range(20)]
    try:

        async def closed_under_one() -> bool:
            await asyncio.gather(*(node.disconnect() for node in client.get_nodes()))
            return broken[True] > 0 or any(one.done() for one in asking)

        await soon(closed_under_one, what="a connection was closed under a command", deadline_s=30)
    finally:
        over.set()
        await asyncio.gather(*asking)
        await client.aclose()
