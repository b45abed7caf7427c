"""Purchases and Reservations: fans who press at the same time, and a store that is in trouble."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NoConnectionError

from flashsale import stock
from flashsale.outcomes import Effect, Outcome
from flashsale.purchase import Answer, Purchases
from flashsale.reservation import Answer as Listed
from flashsale.reservation import Request, Reservations
from flashsale.sale import Reservation
from tests.support.holdings import check, holdings
from tests.support.samples import FAR_MS, bucket, load_id, sale
from tests.support.verbs import Verbs

pytestmark = pytest.mark.servers


async def opened(redis: Redis, name: str, *, units: int, limit: int = 1) -> Purchases:
    """An open sale with so many units of item a."""
    await stock.tell_sale(redis, sale(name, limit=limit), create=True)
    assert await Verbs(redis, bucket(name)).add_stock("a", load_id(), 1, units) is Effect.APPLIED
    return Purchases(redis)


async def press(purchases: Purchases, name: str, fan: str, *, key: str = "", item: str = "a") -> Answer:
    """One press of buy."""
    return await purchases.attempt(bucket=bucket(name), item=item, fan=fan, channel="web", lane="public", key=key)


async def test_a_crowd_gets_all_units_and_no_more(redis: Redis, sale_name: str) -> None:
    """Given 300 units / When 1,000 fans press three times each at once / Then 300 win, each one unit, and all hear."""
    sizes: list[int] = []
    await opened(redis, sale_name, units=300)
    purchases = Purchases(redis, on_batch=lambda size, _: sizes.append(size))
    presses = [press(purchases, sale_name, f"fan-{n % 1000}", key=f"k{n // 1000}") for n in range(3000)]
    answers = await asyncio.gather(*presses)
    won = [answer for answer in answers if answer.outcome is Outcome.WON]
    assert len({answer.unit for answer in won}) == len(won) == 300
    assert {answer.outcome for answer in answers} == {Outcome.WON, Outcome.ALREADY_BOUGHT, Outcome.SOLD_OUT}
    assert len(sizes) < 30, "attempts that come together go together"
    assert sum(sizes) == 3000
    check(await holdings(redis, bucket(sale_name)), loaded={"a": 300}, limit=1)


async def test_the_same_key_is_told_the_same_win(redis: Redis, sale_name: str) -> None:
    """Given a win / When another process is asked with its key / Then it tells the same order, unit and time."""
    first = await press(await opened(redis, sale_name, units=5), sale_name, "alice", key="k")
    assert (first.outcome, first.unit, len(first.order)) == (Outcome.WON, 1, 32)
    assert await press(Purchases(redis), sale_name, "alice", key="k") == first
    again = await press(Purchases(redis), sale_name, "alice", key="other")
    assert again == Answer(Outcome.ALREADY_BOUGHT, first.order)
    reused = await press(Purchases(redis), sale_name, "alice", key="k", item="b")
    assert reused.outcome is Outcome.KEY_REUSED


async def test_presses_without_a_key_are_each_their_own(redis: Redis, sale_name: str) -> None:
    """Given a limit of two / When a fan presses twice without a key / Then both win."""
    purchases = await opened(redis, sale_name, units=5, limit=2)
    answers = [await press(purchases, sale_name, "alice") for _ in range(3)]
    assert [answer.outcome for answer in answers] == [Outcome.WON, Outcome.WON, Outcome.ALREADY_BOUGHT]


async def test_who_hangs_up_leaves_no_half_order(redis: Redis, sale_name: str) -> None:
    """When askers are cancelled before, while and after the call / Then the equation holds, and their key tells."""
    purchases = await opened(redis, sale_name, units=50)
    tasks = [asyncio.create_task(press(purchases, sale_name, f"f{n}", key="k")) for n in range(50)]
    for place, task in enumerate(tasks):
        await asyncio.sleep(0)
        if place % 3 == 0:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await purchases.drain()
    answers = await asyncio.gather(*(press(purchases, sale_name, f"f{n}", key="k") for n in range(50)))
    assert {answer.outcome for answer in answers} == {Outcome.WON}
    check(await holdings(redis, bucket(sale_name)), loaded={"a": 50}, limit=1)


async def test_a_store_that_is_away_is_unknown() -> None:
    """Given nobody behind the address / When fans press or reserve / Then UNKNOWN, no exception."""
    async with Redis.from_url("unix:///nonexistent/valkey.sock") as away:
        with pytest.raises(NoConnectionError):
            await away.ping()
        assert (await press(Purchases(away), "away", "alice", key="k")).outcome is Outcome.UNKNOWN
        request = Request("alice", 0)
        listed = await Reservations(away).reserve(bucket=bucket("away"), slices=1, channels=1, request=request)
        assert listed.outcome is Outcome.UNKNOWN


async def test_reservations_are_counted_exactly(redis: Redis, sale_name: str) -> None:
    """Given 500 fans who reserve twice, some by another channel / Then the count is 500, channels add up."""
    plan = sale(sale_name, reservation=Reservation(0, FAR_MS, capacity=10_000))
    await stock.tell_sale(redis, plan, create=True)
    lists, slices = Reservations(redis), stock.slices_of(plan)

    async def reserve(n: int) -> Listed:
        request = Request(f"fan-{n % 500}", channel_number=(n + n // 500) % 2)
        return await lists.reserve(bucket=bucket(sale_name), slices=slices, channels=2, request=request)

    answers = await asyncio.gather(*map(reserve, range(1000)))
    await lists.drain()
    assert {answer.outcome for answer in answers} == {Outcome.RESERVED}
    assert [answers[n].channel_number for n in range(500)] == [answers[n + 500].channel_number for n in range(500)]
    (facts,) = await stock.facts(redis, [bucket(sale_name)])
    assert (facts.reserved, facts.reserved_by_channel) == (500, {0: 250, 1: 250})
