"""Recoveries in a crowd: they die at every step, others sell meanwhile, and the worker begins them by itself."""

import asyncio
import contextlib
import dataclasses
import itertools
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from flashsale import limits
from flashsale.condition import Condition
from flashsale.config import Settings
from flashsale.errors import StateError
from flashsale.metrics import worker_metrics
from flashsale.outcomes import Outcome
from flashsale.purchase import Answer
from flashsale.rebuild import Fenced, FenceLostError, new_fence
from flashsale.router import Router
from flashsale.scripts import ScriptAt
from flashsale.settled import Plain
from flashsale.worker import keep
from tests.integration.hall import Hall, Halls, all_units_once, taken
from tests.integration.processes import Working, working
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


async def fenced(shop: Hall) -> bool:
    """Whether the first bucket is behind a fence."""
    return (await shop.conditions())[0] is Condition.FENCED


async def whole(shop: Hall) -> bool:
    """Whether all buckets are whole."""
    return set(await shop.conditions()) == {Condition.WHOLE}


async def landed(shop: Hall, orders: int) -> bool:
    """Whether so many orders are in Postgres, and none is on its way."""
    rows = await shop.postgres.fetch("select 1 from orders where sale = $1", shop.sale.sale)
    return len(rows) == orders and not await shop.redis.xlen(shop.sale.all_buckets[0].outbox_key)


def closed(worker: Working, sale: str, condition: Condition) -> float | None:
    """How many buckets the worker's metric says are closed."""
    labels = {"sale": sale, "condition": str(condition)}
    return worker.metrics.registry.get_sample_value("flashsale_buckets_closed", labels)


@dataclass
class Dying:
    """A router that dies with its process at the nth command: before it is sent, or when its reply is lost."""

    router: Router
    after: int
    sent: bool

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send it, or die."""
        self.after -= 1
        if self.after < 0 and not self.sent:
            raise ConnectionAbortedError("died before it was sent")
        reply = await self.router.execute_command(*args, **options)
        if self.after < 0:
            raise ConnectionAbortedError("died before the reply came")
        return reply


@pytest.mark.parametrize("sent", [False, True])
async def test_a_recovery_may_die_at_any_step(halls: Halls, sent: bool) -> None:
    """Given a recovery that dies at each step in turn / When the next one begins anew / Then all is there, once."""
    shop = await halls(2)
    won = await shop.sell([f"fan{number}" for number in range(12)])
    await shop.let_go(won["fan3"], "fan3")
    await taken(shop, source=1, to=0, units=3)
    damaged = shop.sale.all_buckets[0]
    await shop.lose(damaged)
    for after in range(200):
        dying = dataclasses.replace(shop.recovery, router=Dying(shop.router, after, sent=sent))
        try:
            await dying.rebuild((await dying.examine())[:1], actor="ops")
        except ConnectionAbortedError:
            assert (await shop.press(shop.fans_of(0, 1, prefix="new")[0])).outcome in {Outcome.UNAVAILABLE, Outcome.WON}
            continue
        break
    assert 8 <= after < 200, "it died at every step there is"
    assert await shop.conditions() == [Condition.WHOLE] * 2
    await shop.land()
    assert await shop.balanced()
    assert await shop.give_back() == 1
    assert all_units_once(await shop.sell_out(), 40)


@dataclass
class Bustle:
    """Fans, a worker's landings and returns, and transfers, all at once until it is over."""

    shop: Hall
    chance: random.Random
    over: asyncio.Event = field(default_factory=asyncio.Event)
    held: list[tuple[str, Answer]] = field(default_factory=list)

    async def sell(self) -> None:
        """One fan after the other presses."""
        for number in itertools.count():
            if self.over.is_set():
                return
            answer = await self.shop.press(f"fan{number}")
            if answer.outcome is Outcome.WON:
                self.held.append((f"fan{number}", answer))

    async def land_and_return(self) -> None:
        """Orders land, some are let go, their units come back."""
        while not self.over.is_set():
            await self.shop.land()
            for fan, answer in self.chance.sample(self.held, k=min(3, len(self.held))):
                with contextlib.suppress(AssertionError):  # on its way, or over already
                    await self.shop.let_go(answer, fan)
            await self.shop.give_back()

    async def move(self) -> None:
        """Units go from bucket to bucket."""
        while not self.over.is_set():
            source, to = self.chance.sample(range(self.shop.sale.buckets), k=2)
            await self.shop.move(source, to, self.chance.randint(1, 9))
            await asyncio.sleep(0.002)

    async def recover(self, times: int) -> None:
        """Two buckets are rebuilt again and again, now and then after somebody fenced one and died."""
        for _ in range(times):
            await asyncio.sleep(self.chance.random() / 20)
            damaged = self.chance.sample(await self.shop.recovery.examine(), k=2)
            if self.chance.random() < 0.5:
                await Fenced(self.shop.router, damaged[0].bucket, new_fence()).close()
            await self.shop.recovery.rebuild(damaged, actor="ops")
        self.over.set()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_others_sell_meanwhile(halls: Halls, seed: int) -> None:
    """Given four buckets that sell, return and move units / When two are rebuilt, often / Then each is there once."""
    shop = await halls(4, units=600)
    bustle = Bustle(shop, random.Random(seed))  # noqa: S311
    async with asyncio.TaskGroup() as busy:
        for work in (bustle.sell(), bustle.land_and_return(), bustle.move(), bustle.recover(8)):
            busy.create_task(work)
    await shop.land()
    while await shop.give_back():
        pass
    for bucket in range(4):
        await shop.move(bucket, (bucket + 1) % 4, 1)  # ends what is open
    assert bustle.held
    assert await shop.conditions() == [Condition.WHOLE] * 4
    assert await shop.balanced(), await shop.audited()


async def test_one_recovery_at_a_time(halls: Halls) -> None:
    """Given a recovery at work / When another begins / Then it is told so, and changes nothing."""
    shop = await halls()
    found = await shop.recovery.examine()

    async with asyncio.TaskGroup() as both, shop.postgres.acquire() as connection, connection.transaction():
        await connection.execute("lock table returns in exclusive mode")  # the first one waits for it
        first = both.create_task(shop.recovery.rebuild(found, actor="ops"))
        await soon(lambda: fenced(shop), what="the first has fenced the bucket")
        copy = await shop.copy(shop.sale.all_buckets[0])
        with pytest.raises(FenceLostError, match="Another recovery"):
            await shop.recovery.rebuild(found, actor="ops")
        assert await shop.copy(shop.sale.all_buckets[0]) == copy
    assert len(first.result()) == 1
    assert await shop.balanced()


async def test_a_worker_rebuilds_what_is_older(halls: Halls, settings: Settings) -> None:
    """Given a worker / When a bucket comes back with an older copy / Then it is whole again without anybody's hand."""
    shop = await halls(2)
    bucket = shop.sale.all_buckets[0]
    copy = await shop.copy(bucket)
    fans = shop.fans_of(0, 5)
    async with working(settings):
        for fan in fans:
            await shop.buy(fan)
        await soon(lambda: landed(shop, 5), what="the orders have landed")
        await shop.turn_back(bucket, copy)
        assert await shop.conditions() == [Condition.OLDER, Condition.WHOLE]
        await soon(lambda: whole(shop), what="the bucket is whole again")
        assert await shop.balanced()
        await Fenced(shop.router, bucket, new_fence()).close()
        await soon(lambda: whole(shop), what="a fence that was left behind falls")
    assert all_units_once(await shop.sell_out(), 40)


async def test_a_worker_leaves_an_empty_bucket_to_a_person(halls: Halls, settings: Settings) -> None:
    """Given a worker / When a bucket is emptied and another is older / Then it says so and rebuilds neither."""
    shop = await halls(2)
    copy = await shop.copy(shop.sale.all_buckets[1])
    await shop.sell(shop.fans_of(1, 2))
    async with working(settings) as worker:
        await shop.lose(shop.sale.all_buckets[0])
        await shop.turn_back(shop.sale.all_buckets[1], copy)

        async def told() -> bool:
            return closed(worker, shop.sale.sale, Condition.EMPTY) == 1

        await soon(told, what="the metric says that a bucket is empty")
        assert await shop.conditions() == [Condition.EMPTY, Condition.OLDER]
    await shop.recover()
    assert all_units_once(await shop.sell_out(), 40)


async def test_a_note_under_way_is_waited_for(halls: Halls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a worker that gave a unit back and has not noted it / When it is recovered / Then after the note."""
    shop = await halls()
    won = await shop.sell(["fan0"])
    await shop.let_go(won["fan0"], "fan0")
    slow = Slow(Plain(shop.router))
    giving = asyncio.create_task(keep.give_back(shop.postgres, slow, shop.sale, worker_metrics()))
    await slow.done.wait()
    found = await shop.recovery.examine()

    monkeypatch.setattr(limits, "NOTES_WAIT_S", 1)
    with pytest.raises(StateError, match="Stop it if it hangs"):
        await shop.recovery.rebuild(found, actor="ops")
    assert await fenced(shop)

    monkeypatch.undo()
    recovering = asyncio.create_task(shop.recovery.rebuild(found, actor="ops"))
    await soon(lambda: waits_for_notes(shop), what="the recovery waits")
    slow.go_on.set()
    assert await giving == 1
    (made,) = await recovering
    assert made.free["silver"] == 40
    assert await shop.balanced()


@dataclass
class Slow:
    """A settler that stops between what a bucket did and the note of it."""

    plain: Plain
    done: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, script: ScriptAt, *args: str | int) -> tuple[Any, bool]:
        """Run it, say so, and wait."""
        reply = await self.plain.run(script, *args)
        self.done.set()
        await self.go_on.wait()
        return reply


async def waits_for_notes(shop: Hall) -> bool:
    """Whether a statement waits for locked returns."""
    return bool(
        await shop.postgres.fetchval(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%returns%for update%'"
        )
    )
