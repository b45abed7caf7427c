"""Purchases and Reservations when the store fails: which trouble is WAIT, which UNKNOWN, and when it is crowded."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from redis import exceptions

from flashsale import limits
from flashsale.coalesce import CrowdedError
from flashsale.durability import Level
from flashsale.outcomes import Effect, Outcome
from flashsale.purchase import Answer, Decided, Presser, Purchases, answer_of
from flashsale.reservation import Request, Reservations
from tests.support.samples import bucket

NOT_DECIDED: Sequence[Exception] = (
    exceptions.ConnectionError("gone"), exceptions.TimeoutError("late"), exceptions.ResponseError("ERR broken"),
    exceptions.AuthenticationError("no"), exceptions.NoScriptError("gone"),
    OSError("no route"), ConnectionResetError("reset"), TimeoutError("late"),
)  # fmt: skip


@dataclass(slots=True)
class Store:
    """Raises that at every command, or answers nothing for ever."""

    trouble: Exception | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """What the scripts call."""
        if self.trouble is not None:
            raise self.trouble
        return await asyncio.get_running_loop().create_future()


async def pressed(trouble: Exception) -> Answer:
    """One press on a store in trouble."""
    purchases = Purchases(Store(trouble))
    return await purchases.attempt(bucket=bucket("s"), item="a", fan="alice", channel="web", lane="public", key="k")


async def reserved(trouble: Exception) -> Outcome:
    """One reservation on a store in trouble."""
    lists, request = Reservations(Store(trouble)), Request("alice", 0)
    return (await lists.reserve(bucket=bucket("s"), slices=1, channels=1, request=request)).outcome


@pytest.mark.parametrize("trouble", NOT_DECIDED, ids=repr)
async def test_trouble_is_unknown(trouble: Exception) -> None:
    """Given trouble after which a win may stand / Then UNKNOWN: asking again with the same key tells."""
    assert await pressed(trouble) == Answer(Outcome.UNKNOWN)
    assert await reserved(trouble) is Outcome.UNKNOWN


@pytest.mark.parametrize(
    "trouble",
    [
        exceptions.OutOfMemoryError("OOM command not allowed"), exceptions.BusyLoadingError("LOADING"),
        exceptions.ReadOnlyError("READONLY"), exceptions.ClusterDownError("CLUSTERDOWN"),
        exceptions.TryAgainError("TRYAGAIN"), exceptions.MovedError("1 127.0.0.1:1"),
    ],
    ids=repr,
)  # fmt: skip
async def test_what_a_server_refused_whole_is_wait(trouble: Exception) -> None:
    """Given a refusal before anything was done / Then WAIT: nothing is decided, and it is no UNKNOWN."""
    assert await pressed(trouble) == Answer(Outcome.WAIT)
    assert await reserved(trouble) is Outcome.WAIT


async def test_a_defect_of_ours_is_not_hidden() -> None:
    """Given an exception that is no trouble with the store / Then it reaches the caller."""
    with pytest.raises(ZeroDivisionError):
        await pressed(ZeroDivisionError())


async def test_past_the_bound_a_purchase_is_crowded_and_a_reservation_is_told_to_wait() -> None:
    """Given as many waiting as may wait / When one more asks / Then CrowdedError, and WAIT in the list."""
    purchases, lists = Purchases(Store()), Reservations(Store())
    lane = purchases.lane(bucket("s"), "a")
    waiting: list[asyncio.Future[Any]] = [
        lane.attempt(f"{number:032x}", Presser("f", "web", "public"), key="k")
        for number in range(limits.ATTEMPTS_WAITING_MAX)
    ]
    with pytest.raises(CrowdedError):
        await purchases.attempt(bucket=bucket("s"), item="a", fan="x", channel="web", lane="public", key="k")
    other = purchases.lane(bucket("s"), "b")
    assert other is not lane
    assert not other.attempt("0" * 32, Presser("x", "web", "public"), key="k").done()
    assert purchases.lane(bucket("s"), "a") is lane

    def ask() -> "asyncio.Task[Any]":
        return asyncio.create_task(lists.reserve(bucket=bucket("s"), slices=1, channels=1, request=Request("x", 0)))

    tasks = [ask() for _ in range(limits.ATTEMPTS_WAITING_MAX + limits.ATTEMPTS_PER_CALL_MAX + 2)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result().outcome for task in done} == {Outcome.WAIT}
    for left in (*pending, *waiting):
        left.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


def test_what_the_script_said_becomes_an_answer() -> None:
    """Given each form of the script's reply / Then the answer has order, unit and time where there is a win."""
    order, first = "a" * 32, "b" * 32
    assert answer_of(order, (5, Outcome.WON, 7, Level.ACCEPTED)) == Answer(Outcome.WON, order, 7, 5)
    before: Decided = (9, Effect.WON_BEFORE, f"{first} 7 5".encode(), Level.ACCEPTED)
    assert answer_of(order, before) == Answer(Outcome.WON, first, 7, 5)
    bought: Decided = (9, Outcome.ALREADY_BOUGHT, first.encode(), Level.ACCEPTED)
    assert answer_of(order, bought) == Answer(Outcome.ALREADY_BOUGHT, first)
    assert answer_of(order, (9, Outcome.SOLD_OUT, b"", Level.ACCEPTED)) == Answer(Outcome.SOLD_OUT)


@dataclass(slots=True)
class Counting(Store):
    """Answers nothing, and counts what it was asked."""

    calls: int = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """One script."""
        self.calls += 1
        return await asyncio.get_running_loop().create_future()

    async def execute_together(self, *commands: Any) -> list[Any]:
        """One script, with what it waits for."""
        self.calls += 1
        never: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        return await never


@pytest.mark.parametrize(("level", "calls"), [(Level.ACCEPTED, 2), (Level.CONFIRMED, 2), (Level.REPLICATED, 1)])
async def test_a_call_that_waits_for_servers_is_the_only_one(level: Level, calls: int) -> None:
    """Given many presses in two rushes / Then two calls are on their way; of a level that waits for servers one, for a
    second one would have to wait for the first one's wait as well."""
    store = Counting()
    lane = Purchases(store, waiting=store).lane(bucket("s"), "a", level=level)
    waiting: list[asyncio.Future[Any]] = []
    for _ in range(2):
        waiting += [
            lane.attempt(f"{number:032x}", Presser("f", "web", "public"), key="k")
            for number in range(limits.ATTEMPTS_FOR_ANOTHER_CALL)
        ]
        for _ in range(3):
            await asyncio.sleep(0)
    assert store.calls == calls
    for left in waiting:
        left.cancel()
