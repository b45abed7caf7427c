"""What is settled is what a failover would find: on a real primary with a real replica that is held, and takes over."""

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from flashsale import limits, stock
from flashsale.balance import Balancer, Move, Transfer
from flashsale.durability import Settling
from flashsale.keys import Bucket
from flashsale.ledger import StockLoad
from flashsale.outcomes import Outcome
from flashsale.router import Router
from flashsale.settled import TAKEOVER_BOUND, Plain, Replicated, Settler, takeover_s
from flashsale.stock import Returned
from flashsale.stores import open_router
from tests.support.samples import Attempts, order_of, sale
from tests.support.servers import Private, Replica, private_replica
from tests.support.verbs import Verbs
from tests.support.waiting import soon

pytestmark = pytest.mark.servers
NAME = "settled"
HERE, THERE = Bucket(NAME, 0), Bucket(NAME, 1)
LOAD = StockLoad("load", "a", 0, 1, 10)
CALLS = 40
# How long a replica may take over, as these tests set it: its two parts of a primary's silence, and a second each more.
BOUND = {"cluster-node-timeout": 500, "cluster-replica-validity-factor": 5, "repl-ping-replica-period": 1}
ALONE_S = 0.5 * (5 + 1) + 1 + 1


@dataclass(frozen=True, slots=True)
class Ground:
    """Two buckets of a sale, one with ten units and a win. back: the order that may come back."""

    router: Router
    back: Returned
    transfer: Transfer

    async def again(self) -> None:
        """From now on over new connections."""
        await self.router.aclose()


Step = Callable[[Settler, Ground], Awaitable[tuple[object, bool]]]


async def giving_back(settler: Settler, ground: Ground) -> tuple[object, bool]:
    """A unit comes back."""
    return await stock.give_back(settler, bucket=HERE, item="a", returned=[ground.back])


async def loading(settler: Settler, ground: Ground) -> tuple[object, bool]:
    """Units are loaded."""
    return await stock.apply_load(settler, NAME, replace(LOAD, load="more", unit_from=11, unit_to=20))


async def making(settler: Settler, ground: Ground) -> tuple[object, bool]:
    """Buckets are made."""
    return await stock.make_buckets(settler, sale("made"))


async def taking(settler: Settler, ground: Ground) -> tuple[object, bool]:
    """Units are taken out for another bucket: the balancer begins to put them in only when that is settled."""
    await Balancer(ground.router, sale=NAME, settler=settler).carry_out(Move("a", 0, 1, 2))
    return None, bool(await ground.router.execute_command("HEXISTS", THERE.received_key, HERE.number))


async def putting(settler: Settler, ground: Ground) -> tuple[object, bool]:
    """Units of a transfer are put in: their transfer is forgotten only when that is settled."""
    balancer = Balancer(ground.router, sale=NAME, settler=settler)
    await balancer.bring_to_end(ground.transfer)
    return None, not await balancer.open_transfers([THERE])


STEPS: dict[str, Step] = {
    "give_back": giving_back, "add_stock": loading, "set_sale": making, "take_units": taking, "put_units": putting,
}  # fmt: skip


async def on(router: Router) -> Ground:
    """Make it. A transfer from the second bucket to the first is open."""
    await stock.tell_sale(router, replace(sale(NAME), buckets=2), create=True)
    await stock.apply_load(Plain(router), NAME, LOAD)
    await stock.apply_load(Plain(router), NAME, StockLoad("other", "a", 1, 101, 110))
    line = Attempts().line("alice")
    async with Redis.from_url(router.place("")) as redis:
        for setting, value in BOUND.items():
            await redis.config_set(setting, value)
        assert await Verbs(redis, HERE).press("a", line) == [Outcome.WON]
        number, item, to, ranges = await Verbs(redis, THERE).take_units("a", 0, 3)
    return Ground(router, Returned(order_of(line), "alice"), Transfer(1, number, item, to, ranges))


@pytest.mark.parametrize("name", STEPS)
async def test_a_step_is_settled_once_a_replica_has_it(
    primary: Private, replica: Replica, router: Router, name: str
) -> None:
    """Given a replica that is held / When a step is made, and made again over a new connection / Then it is not settled
    either time; once the replica goes on, it is."""
    ground, settler, step = await on(router), Replicated(router, Settling()), STEPS[name]
    replica.hold()
    assert not (await step(settler, ground))[1]
    await ground.again()
    assert not (await step(Replicated(router, Settling()), ground))[1], "a repeat proves nothing unless it writes"
    replica.go_on()

    async def settled() -> bool:
        return (await step(settler, ground))[1]

    await soon(settled, what="it is settled")


@dataclass(slots=True)
class Clock:
    """Seconds as the settler counts them; the test lets them pass."""

    at: float = 1000.0

    def now_s(self) -> float:
        """The time."""
        return self.at

    async def passes(self, seconds: float, settles: Callable[[], Awaitable[bool]]) -> bool:
        """So much goes by while it is tried every second, as a worker does. How the last try ended."""
        ends, settled = self.at + seconds, False
        while self.at < ends:
            self.at += 1
            settled = await settles()
        return settled


def tried(ground: Ground, settler: Settler) -> Callable[[], Awaitable[bool]]:
    """Gives a unit back, again and again; whether that is settled."""

    async def settles() -> bool:
        return (await giving_back(settler, ground))[1]

    return settles


async def test_replicas_that_are_behind_do_not_hold_up_every_call(
    primary: Private, replica: Replica, router: Router
) -> None:
    """Given a replica that is held / When a turn makes many calls / Then it waits for it once, not every time."""
    settles = tried(await on(router), Replicated(router, Settling(), now_s=Clock().now_s))
    replica.hold()
    began = time.monotonic()
    for _ in range(CALLS):
        assert not await settles()
    assert time.monotonic() - began < CALLS * limits.REPLICATED_WAIT_MS / 1000 / 2


async def test_a_primary_without_replicas_is_waited_for_no_longer(
    primary: Private, router: Router, tmp_path: Path
) -> None:
    """Given no replica at all / Then a step is not settled at first, and is after a while, since nobody could take
    over; when one comes back, it is waited for again."""
    ground, clock = await on(router), Clock()
    settles = tried(ground, Replicated(router, Settling(), now_s=clock.now_s))
    assert not await clock.passes(ALONE_S, settles)
    assert await clock.passes(1, settles)
    with private_replica(tmp_path, primary) as replica:
        replica.hold()
        assert not await settles(), "it is there again"
        assert not await clock.passes(ALONE_S * 2, settles)
        replica.go_on()
        await soon(settles, what="the one that came back has it")


async def test_what_was_not_looked_at_may_be_another_server(primary: Private, router: Router) -> None:
    """Given a primary that was seen without replicas for long / When nobody looked for a while / Then it has to be seen
    so for long once more: it may have died meanwhile and be primary again, with a replica on its way."""
    ground, clock = await on(router), Clock()
    settles = tried(ground, Replicated(router, Settling(), now_s=clock.now_s))
    assert await clock.passes(ALONE_S + 1, settles)
    clock.at += limits.ALONE_UNSEEN_S + 1
    assert not await settles()
    assert not await clock.passes(ALONE_S - 1, settles)
    assert await clock.passes(1, settles)


async def test_one_replica_of_two_is_held_to_after_a_while(primary: Private, replica: Replica, router: Router) -> None:
    """Given one replica where two are wanted / Then what it has is settled after a while; what it has not is not. When
    that one goes too, there is as long to wait again."""
    ground, clock = await on(router), Clock()
    settles = tried(ground, Replicated(router, Settling(replicas=2), now_s=clock.now_s))
    assert not await clock.passes(ALONE_S, settles)
    assert await clock.passes(1, settles)
    replica.hold()
    assert not await clock.passes(1, settles)
    replica.fall_behind(primary)
    assert not await clock.passes(ALONE_S, settles)
    assert await clock.passes(1, settles)


async def told_bound(url: str) -> object:
    """What a server says of how long its replicas may take over, as the settler asks."""
    router = await open_router(url)
    try:
        return await router.execute_command("CONFIG", "GET", *TAKEOVER_BOUND)
    finally:
        await router.aclose()


async def test_how_long_a_replica_may_take_over_is_the_servers_word(primary: Private) -> None:
    """Given the bounds that a server has for a takeover / Then so long a primary is waited for: as limits.py says by
    default, for ever when there is no bound, and as by default where the server does not tell."""
    assert takeover_s(await told_bound(primary.url)) == limits.ALONE_S
    async with Redis.from_url(primary.url) as redis:
        for setting, value in BOUND.items():
            await redis.config_set(setting, value)
        assert takeover_s(await told_bound(primary.url)) == ALONE_S
        await redis.config_set("cluster-replica-validity-factor", 0)
        assert takeover_s(await told_bound(primary.url)) == math.inf
    assert takeover_s(NoPermissionError("no permission to run config")) == limits.ALONE_S
