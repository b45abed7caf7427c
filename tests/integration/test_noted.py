"""What Postgres notes as done in a bucket is there after a failover: on a primary that dies ahead of its replica."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from flashsale import audit, ledger, order, plan, stock
from flashsale.durability import Settling
from flashsale.keys import Bucket
from flashsale.metrics import worker_metrics
from flashsale.operations import Operations
from flashsale.purchase import Purchases
from flashsale.queries import Pool
from flashsale.router import Router
from flashsale.scripts import Commands, ScriptAt
from flashsale.settled import Plain, Replicated, Settler
from flashsale.stock import BucketFacts
from flashsale.stores import Client
from flashsale.worker import keep
from flashsale.worker.land import Lander
from tests.integration.rows import clear
from tests.integration.shop import plan_text
from tests.support.servers import Private, Replica
from tests.support.waiting import soon

pytestmark = pytest.mark.servers
UNITS, OTHERS = 5, 3
NOTED = (
    "select (select count(*) from returns where sale = $1 and given_back_at is not null) as returns,"
    " (select count(*) from stock_loads where sale = $1 and applied_at is not null) as loads,"
    " in_buckets_at is not null as made from sales where sale = $1"
)


@dataclass(slots=True)
class Pair:
    """A sale on a primary and the replica that takes over when it dies; the worker's turns are made by hand."""

    sale: str
    primary: Private
    replica: Replica
    redis: Client
    postgres: Pool
    settler: Settler

    @property
    def operations(self) -> Operations:
        """The worker's."""
        return Operations(self.redis, self.postgres, actor="worker", settler=self.settler)

    async def cancelled(self) -> None:
        """A fan wins, and lets the order go when it has landed."""
        bucket = Bucket(self.sale, 0)
        won = await Purchases(self.redis).attempt(
            bucket=bucket, item="silver", fan="alice", channel="web", lane="public", key="k"
        )
        lander = Lander(
            redis=self.redis, postgres=self.postgres, bucket=bucket, holder="test", metrics=worker_metrics()
        )
        assert await lander.land() == 1
        async with self.postgres.acquire() as connection:
            assert await order.cancel(connection, order_id=uuid.UUID(won.order), fan="alice")

    async def primary_dies(self) -> None:
        """With all that its replica has not seen. That one takes over, and nobody follows it."""
        self.primary.kill()
        self.replica.take_over()
        await self.redis.aclose()
        self.redis = Redis.from_url(self.replica.url)
        self.settler = Plain(self.redis)

    async def turn(self) -> None:
        """What a worker does again and again with returns and loads."""
        async with self.postgres.acquire() as connection:
            sale = await ledger.find(connection, self.sale)
        await keep.give_back(self.postgres, self.settler, sale, worker_metrics())
        await self.operations.settle(sale)

    async def noted(self) -> tuple[int, int, bool]:
        """What Postgres has noted: units given back, loads applied, whether the buckets are there."""
        (row,) = await self.postgres.fetch(NOTED, self.sale)
        return row["returns"], row["loads"], row["made"]

    async def facts(self) -> BucketFacts:
        """What the bucket says of itself."""
        return (await stock.facts(self.redis, [Bucket(self.sale, 0)]))[0]

    async def comes_to(self, *noted: object) -> None:
        """Turn until Postgres has noted this; once more, and it is still so, and all balances."""

        async def is_so() -> bool:
            await self.turn()
            return await self.noted() == noted

        await soon(is_so, what=f"Postgres has noted {noted}")
        await self.turn()
        assert await self.noted() == noted
        assert (await audit.audit(self.redis, self.postgres, self.sale)).balanced


@pytest.fixture
async def pair(
    primary: Private, replica: Replica, router: Router, postgres: Pool, sale_name: str
) -> AsyncIterator[Pair]:
    """A draft."""
    found = Pair(sale_name, primary, replica, Redis.from_url(primary.url), postgres, Replicated(router, Settling()))
    await found.operations.create(plan.read(plan_text(sale_name, silver=UNITS)))
    yield found
    await found.redis.aclose()
    await clear(postgres, sale_name)


async def test_a_return_is_noted_once_the_replica_has_it(pair: Pair) -> None:
    """Given a replica that sees nothing / When a unit comes back and then the primary dies / Then nothing was noted,
    and the unit comes back once, where the replica has taken over."""
    await pair.operations.load(pair.sale)
    await pair.cancelled()
    pair.replica.fall_behind(pair.primary)
    for _ in range(2):
        await pair.turn()
    assert (await pair.facts()).returned == 1, "the primary has it"
    assert await pair.noted() == (0, 2, True)
    await pair.primary_dies()
    assert (await pair.facts()).returned == 0, "the replica has not"
    await pair.comes_to(1, 2, True)
    facts = await pair.facts()
    assert (facts.returned, facts.free) == (1, {"silver": UNITS, "black": OTHERS})


async def test_a_return_is_noted_when_the_replica_goes_on(pair: Pair) -> None:
    """Given a replica that sees nothing / When a unit comes back and the replica goes on / Then it is noted, and is
    there when the primary dies."""
    await pair.operations.load(pair.sale)
    await pair.cancelled()
    pair.replica.fall_behind(pair.primary)
    await pair.turn()
    assert await pair.noted() == (0, 2, True)
    pair.replica.go_on()
    await pair.comes_to(1, 2, True)
    await pair.primary_dies()
    assert (await pair.facts()).returned == 1
    await pair.comes_to(1, 2, True)


async def test_a_load_is_noted_once_the_replica_has_it(pair: Pair) -> None:
    """Given a replica that sees nothing / When stock is added and then the primary dies / Then the load was not noted,
    and its units come in once, where the replica has taken over."""
    await pair.operations.load(pair.sale)
    pair.replica.fall_behind(pair.primary)
    await pair.operations.add_stock(pair.sale, "silver", 4)
    await pair.turn()
    assert (await pair.facts()).loads == 3, "the primary has it"
    assert await pair.noted() == (0, 2, True)
    await pair.primary_dies()
    assert (await pair.facts()).loads == 2, "the replica has not"
    await pair.comes_to(0, 3, True)
    facts = await pair.facts()
    assert (facts.loads, facts.free) == (3, {"silver": UNITS + 4, "black": OTHERS})


async def test_buckets_are_noted_once_the_replica_has_them(pair: Pair) -> None:
    """Given a replica that sees nothing / When a sale is loaded and then the primary dies / Then neither loads nor
    buckets were noted, and they are made where the replica has taken over."""
    pair.replica.fall_behind(pair.primary)
    await pair.operations.load(pair.sale)
    await pair.turn()
    facts = await pair.facts()
    assert (facts.loaded, facts.loads) == (True, 2), "the primary has them"
    assert await pair.noted() == (0, 0, False)
    await pair.primary_dies()
    assert not (await pair.facts()).loaded, "the replica has not"
    await pair.comes_to(0, 2, True)
    facts = await pair.facts()
    assert (facts.loaded, facts.loads, facts.free) == (True, 2, {"silver": UNITS, "black": OTHERS})


@dataclass(frozen=True, slots=True)
class AllBut:
    """A settler for whom one script is never settled."""

    commands: Commands
    script: str

    async def run(self, script: ScriptAt, *args: str | int) -> tuple[Any, bool]:
        """Run it."""
        return await script(self.commands, *args), script.script.name != self.script


@pytest.mark.parametrize("script", ["add_stock", "set_sale"])
async def test_buckets_are_noted_only_when_all_of_them_is_settled(pair: Pair, script: str) -> None:
    """Given stock, or the plan, that is not settled / When a sale is loaded / Then its buckets are not noted."""
    pair.settler = AllBut(pair.redis, script)
    await pair.operations.load(pair.sale)
    await pair.turn()
    assert await pair.noted() == (0, 0 if script == "add_stock" else 2, False)


async def test_ops_on_a_cluster_leave_the_noting_to_the_worker(pair: Pair) -> None:
    """Given ops who wait for nobody / When they load a sale / Then it is on sale, nothing is noted until the worker's
    turn."""
    ops = Operations(pair.redis, pair.postgres, actor="ops", settler=Plain(pair.redis, settled=False))
    await ops.load(pair.sale)
    assert (await pair.facts()).free == {"silver": UNITS, "black": OTHERS}
    assert await pair.noted() == (0, 0, False)
    await pair.comes_to(0, 2, True)
