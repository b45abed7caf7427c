"""A sale without HTTP, for tests of what the stores know: presses, landings, returns, transfers, and a bucket that is
turned back to an older copy of itself."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from redis.asyncio import Redis

from flashsale import audit, ledger, order, plan, stores
from flashsale.audit import Audit
from flashsale.balance import Balancer, Move
from flashsale.condition import Condition
from flashsale.embedded import Addresses
from flashsale.keys import Bucket
from flashsale.metrics import worker_metrics
from flashsale.operations import Operations
from flashsale.outcomes import Outcome
from flashsale.purchase import Answer, Purchases
from flashsale.queries import Pool
from flashsale.recovery import Rebuilt, Recovery
from flashsale.router import Router
from flashsale.sale import Sale
from flashsale.settled import Plain
from flashsale.worker import keep
from flashsale.worker.land import Lander
from tests.integration.shop import plan_text
from tests.support.verbs import Code, Verbs

ITEM: Final = "silver"
Copy = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Hall:
    """One sale in some buckets."""

    sale: Sale
    redis: Redis
    postgres: Pool
    router: Router
    operations: Operations
    purchases: Purchases

    async def press(self, fan: str, item: str = ITEM, *, key: str = "") -> Answer:
        """One press of buy."""
        bucket = self.sale.bucket_of(fan)
        return await self.purchases.attempt(
            bucket=bucket, item=item, fan=fan, channel="web", lane="public", key=key or f"key of {fan}"
        )

    async def buy(self, fan: str, item: str = ITEM) -> Answer:
        """A win."""
        answer = await self.press(fan, item)
        assert answer.outcome is Outcome.WON, answer
        return answer

    async def sell(self, fans: Sequence[str]) -> dict[str, Answer]:
        """These fans win, and their orders land."""
        won = {fan: await self.buy(fan) for fan in fans}
        await self.land()
        return won

    async def land(self) -> None:
        """Land what is in the outboxes."""
        for bucket in self.sale.all_buckets:
            lander = Lander(
                redis=self.redis, postgres=self.postgres, bucket=bucket, holder="test", metrics=worker_metrics()
            )
            while await lander.land():
                pass

    async def let_go(self, answer: Answer, fan: str) -> None:
        """The fan cancels; the unit is on its way back."""
        async with self.postgres.acquire() as connection:
            assert await order.cancel(connection, order_id=UUID(answer.order), fan=fan)

    async def give_back(self) -> int:
        """Give units back that are on their way."""
        return await keep.give_back(self.postgres, Plain(self.router), self.sale, worker_metrics())

    async def move(self, source: int, to: int, units: int) -> int:
        """Move units from a bucket to another."""
        balancer = Balancer(self.router, sale=self.sale.sale, settler=Plain(self.router))
        return await balancer.carry_out(Move(ITEM, source, to, units))

    def fans_of(self, number: int, fans: int, *, prefix: str = "fan") -> list[str]:
        """So many fans who belong to that bucket."""
        found: list[str] = []
        at = 0
        while len(found) < fans:
            fan = f"{prefix}{at}"
            if self.sale.bucket_of(fan).number == number:
                found.append(fan)
            at += 1
        return found

    async def copy(self, bucket: Bucket) -> Copy:
        """A bucket as it is now, as a server keeps it on its disk."""
        names = [name async for name in self.redis.scan_iter(match=f"{bucket.key()}*")]
        dumped = [(name, await self.redis.dump(name)) for name in names]
        return {name: value for name, value in dumped if value is not None}

    async def lose(self, bucket: Bucket) -> None:
        """The bucket is gone with all it knew."""
        if names := list(await self.copy(bucket)):
            await self.redis.delete(*names)

    async def turn_back(self, bucket: Bucket, copy: Copy) -> None:
        """Its server came back with an older copy."""
        await self.lose(bucket)
        for name, value in copy.items():
            await self.redis.restore(name, 0, value)

    @property
    def recovery(self) -> Recovery:
        """A recovery of the sale."""
        return Recovery(self.redis, self.router, self.postgres, self.sale)

    async def conditions(self) -> list[Condition]:
        """The condition of each bucket."""
        return [one.condition for one in await self.recovery.examine()]

    async def recover(self) -> list[Rebuilt]:
        """Rebuild what is not whole."""
        found = await self.recovery.examine()
        return await self.recovery.rebuild([one for one in found if one.condition is not Condition.WHOLE], actor="ops")

    async def audited(self) -> Audit:
        """Where every unit is."""
        return await audit.audit(self.redis, self.postgres, self.sale.sale)

    async def balanced(self) -> bool:
        """Whether every unit is in one place."""
        return (await self.audited()).balanced

    async def sell_out(self, prefix: str = "late") -> list[tuple[str, int]]:
        """Sell what is free to new fans, each bucket to its own, and land it. Fan and unit of all live orders."""
        for bucket in self.sale.all_buckets:
            for fan in self.fans_of(bucket.number, 200, prefix=prefix):
                if (await self.press(fan)).outcome is not Outcome.WON:
                    break
        await self.land()
        async with self.postgres.acquire() as connection:
            rows = await connection.fetch(
                "select fan, unit from orders where sale = $1 and item = $2 and state in ('confirmed', 'paid')",
                self.sale.sale, ITEM,
            )  # fmt: skip
        return [(row["fan"], row["unit"]) for row in rows]


Halls = Callable[..., Awaitable[Hall]]


@asynccontextmanager
async def hall(
    operations: Operations, addresses: Addresses, name: str, *, buckets: int = 1, units: int = 40, top: str = ""
) -> AsyncIterator[Hall]:
    """An open sale of so many units."""
    written = plan.read(plan_text(name, top=f'entry = "open"\nbuckets = {buckets}\n{top}', silver=units))
    await operations.create(written)
    await operations.load(name)
    async with operations.postgres.acquire() as connection:
        sale = await ledger.find(connection, name)
    router = await stores.open_router(addresses.redis_url)
    assert isinstance(operations.redis, Redis)
    try:
        purchases = Purchases(router)
        yield Hall(sale, operations.redis, operations.postgres, router, operations, purchases)
    finally:
        await router.aclose()


async def taken(shop: Hall, *, source: int, to: int, units: int) -> tuple[int, str, int, str]:
    """Units that left a bucket and came in nowhere yet: number, item, to, ranges."""
    return await Verbs(shop.redis, shop.sale.all_buckets[source]).take_units(ITEM, to, units)


async def put(shop: Hall, *, source: int, to: int, number: int, ranges: str) -> Code:
    """What becomes of units that are put into a bucket."""
    return await Verbs(shop.redis, shop.sale.all_buckets[to]).put_units(source, number, ITEM, ranges)


def all_units_once(sold: list[tuple[str, int]], units: int) -> bool:
    """Whether each unit went to one fan, and each fan has one."""
    return sorted(unit for _, unit in sold) == list(range(1, units + 1)) and len({fan for fan, _ in sold}) == units
