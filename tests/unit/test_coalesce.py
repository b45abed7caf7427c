"""The coalescer: batches by themselves, answers in order, nobody left waiting."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from flashsale import limits
from flashsale.coalesce import Coalescer, CrowdedError
from tests.support.waiting import turns


@dataclass(slots=True)
class Server:
    """Takes batches and answers each when the test lets it."""

    batches: list[list[int]] = field(default_factory=list)
    gates: "list[asyncio.Future[None]]" = field(default_factory=list)

    async def call(self, asked: Sequence[int]) -> list[int]:
        """Ten times what was asked, once the gate is open."""
        self.batches.append(list(asked))
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate
        return [one * 10 for one in asked]


def made(
    server: Server, *, batch_max: int = 512, in_flight_max: int = 1, waiting_max: int = 100
) -> Coalescer[int, int]:
    """A coalescer with one call in flight, if the test says nothing else; another one is worth it for anybody."""
    return Coalescer(
        server.call, batch_max=batch_max, in_flight_max=in_flight_max, another_min=1, waiting_max=waiting_max
    )


async def test_an_idle_one_sends_at_once() -> None:
    """Given nothing in flight / When one is asked / Then it is sent without a timer."""
    server = Server()
    answer = made(server).submit(7)
    await turns()
    assert server.batches == [[7]]
    server.gates[0].set_result(None)
    assert await answer == 70


async def test_what_arrives_together_goes_together() -> None:
    """When several are asked in one turn of the loop / Then they are one call."""
    server = Server()
    coalescer = made(server)
    answers = [coalescer.submit(n) for n in range(5)]
    await turns()
    assert server.batches == [[0, 1, 2, 3, 4]]
    server.gates[0].set_result(None)
    assert await asyncio.gather(*answers) == [0, 10, 20, 30, 40]


async def test_the_batch_grows_while_a_call_is_in_flight() -> None:
    """Given a call in flight / When more arrive / Then all of them are the next call, and answers keep their order."""
    server = Server()
    coalescer = made(server)
    answers = [coalescer.submit(1)]
    await turns()
    for n in (2, 3, 4):
        answers.append(coalescer.submit(n))
        await turns()
    assert server.batches == [[1]]
    assert coalescer.waiting == 3
    server.gates[0].set_result(None)
    await turns()
    assert server.batches == [[1], [2, 3, 4]]
    server.gates[1].set_result(None)
    assert await asyncio.gather(*answers) == [10, 20, 30, 40]


async def test_a_batch_has_a_limit_and_the_order_stays() -> None:
    """Given a limit of two a call / When five are asked / Then they go as 2, 2, 1."""
    server = Server()
    coalescer = made(server, batch_max=2)
    answers = [coalescer.submit(n) for n in range(5)]
    for call in range(3):
        await turns()
        server.gates[call].set_result(None)
    assert await asyncio.gather(*answers) == [0, 10, 20, 30, 40]
    assert server.batches == [[0, 1], [2, 3], [4]]


async def test_a_burst_uses_every_place_in_flight() -> None:
    """Given two places in flight / When more than one batch arrives in one turn / Then both places are used."""
    server = Server()
    coalescer = made(server, batch_max=2, in_flight_max=2)
    answers = [coalescer.submit(n) for n in range(6)]
    await turns()
    assert server.batches == [[0, 1], [2, 3]]
    await release(server, coalescer)
    assert await asyncio.gather(*answers) == [n * 10 for n in range(6)]
    assert server.batches[2:] == [[4, 5]]


async def test_another_call_goes_only_when_it_is_worth_one() -> None:
    """Given the engine's own bounds and a call in flight / When few wait / Then they wait for it; when many, the next
    goes; and what comes while both places are taken waits, however much it is."""
    server, enough = Server(), limits.ATTEMPTS_FOR_ANOTHER_CALL
    coalescer = Coalescer(server.call)
    answers = [coalescer.submit(0)]
    await turns()
    answers += [coalescer.submit(n) for n in range(1, enough)]
    await turns()
    assert [len(batch) for batch in server.batches] == [1]
    answers.append(coalescer.submit(enough))
    await turns()
    assert [len(batch) for batch in server.batches] == [1, enough]
    answers += [coalescer.submit(n) for n in range(enough + 1, 3 * enough + 1)]
    await turns()
    assert len(server.batches) == limits.CALLS_IN_FLIGHT_MAX == 2
    await release(server, coalescer)
    assert [len(batch) for batch in server.batches] == [1, enough, 2 * enough]
    assert await asyncio.gather(*answers) == [n * 10 for n in range(3 * enough + 1)]


async def test_few_wait_for_all_that_is_in_flight() -> None:
    """Given two calls in flight / When one has landed and few wait / Then they go when the other has landed too."""
    server, enough = Server(), limits.ATTEMPTS_FOR_ANOTHER_CALL
    coalescer = Coalescer(server.call)
    answers = [coalescer.submit(0)]
    await turns()
    answers += [coalescer.submit(n) for n in range(1, enough + 1)]
    await turns()
    answers.append(coalescer.submit(enough + 1))
    server.gates[0].set_result(None)
    await turns()
    assert len(server.batches) == 2
    server.gates[1].set_result(None)
    await turns()
    assert server.batches[2] == [enough + 1]
    await release(server, coalescer)
    await asyncio.gather(*answers)


async def release(server: Server, coalescer: Coalescer[int, int]) -> None:
    """Open every gate, also those that come only when others have opened."""
    draining = asyncio.create_task(coalescer.drain())
    while not draining.done():
        for gate in server.gates:
            if not gate.done():
                gate.set_result(None)
        await turns(1)
    await draining


async def test_no_more_calls_in_flight_than_allowed() -> None:
    """Given two places / When a third batch waits / Then it is sent only after one has landed."""
    server = Server()
    coalescer = made(server, in_flight_max=2)
    answers = []
    for n in range(3):
        answers.append(coalescer.submit(n))
        await turns()
    assert server.batches == [[0], [1]]
    server.gates[1].set_result(None)
    await turns()
    assert server.batches == [[0], [1], [2]]
    await release(server, coalescer)
    assert await asyncio.gather(*answers) == [0, 10, 20]


async def test_past_the_bound_it_is_crowded() -> None:
    """Given as many waiting as may wait / When one more is asked / Then CrowdedError at once, and nothing was sent."""
    server = Server()
    coalescer = made(server, waiting_max=2)
    answers = [coalescer.submit(1)]
    await turns()
    answers += [coalescer.submit(2), coalescer.submit(3)]
    with pytest.raises(CrowdedError):
        coalescer.submit(4)
    await release(server, coalescer)
    assert await asyncio.gather(*answers) == [10, 20, 30]
    assert server.batches == [[1], [2, 3]]


async def test_who_waited_too_long_is_not_sent() -> None:
    """Given a call that takes longer than anybody may wait / When it has ended / Then who waited for it is told that
    they were not taken in; who came later is sent, with the time that the first of them waited."""
    server = Server()
    told: list[tuple[int, float]] = []
    coalescer = Coalescer(server.call, wait_s_max=0.1, on_batch=lambda size, waited_s: told.append((size, waited_s)))
    first = coalescer.submit(1)
    await turns()
    late = [coalescer.submit(2), coalescer.submit(3)]
    await asyncio.sleep(0.15)
    punctual = coalescer.submit(4)
    server.gates[0].set_result(None)
    await turns()
    assert [type(one.exception()) for one in late] == [CrowdedError] * 2
    await release(server, coalescer)
    assert [await first, await punctual] == [10, 40]
    assert server.batches == [[1], [4]]
    assert [size for size, _ in told] == [1, 1]
    assert told[0][1] < 0.1 < told[1][1] < 1


async def test_who_has_gone_away_is_not_sent() -> None:
    """Given some who wait for their turn / When one of them goes away / Then the others alone are sent."""
    server = Server()
    coalescer = made(server)
    answers = [coalescer.submit(1)]
    await turns()
    gone = coalescer.submit(2)
    answers.append(coalescer.submit(3))
    gone.cancel()
    await release(server, coalescer)
    assert await asyncio.gather(*answers) == [10, 30]
    assert server.batches == [[1], [3]]


async def test_who_comes_last_is_sent_where_the_others_leave_room() -> None:
    """Given a call in flight, two who are to come last, and three after them who are not / When calls of two go out /
    Then the three go first, and each is answered with their own."""
    server = Server()
    coalescer = made(server, batch_max=2)
    answers = [coalescer.submit(1)]
    await turns()
    answers += [coalescer.submit(n, last=True) for n in (2, 3)]
    answers += [coalescer.submit(n) for n in (4, 5, 6)]
    assert coalescer.waiting == 5
    for call in range(4):
        server.gates[call].set_result(None)
        await turns()
    assert server.batches == [[1], [4, 5], [6, 2], [3]]
    assert await asyncio.gather(*answers) == [10, 20, 30, 40, 50, 60]


async def test_those_who_come_last_crowd_nobody_out() -> None:
    """Given as many of them waiting as may / Then one more is told that it is crowded, and another is taken in; and
    they are sent when nobody else waits."""
    server = Server()
    coalescer: Coalescer[int, int] = Coalescer(server.call, batch_max=10, last_max=2)
    answers = [coalescer.submit(n, last=True) for n in (1, 2)]
    with pytest.raises(CrowdedError):
        coalescer.submit(3, last=True)
    answers.append(coalescer.submit(4))
    await turns()
    assert server.batches == [[4, 1, 2]]
    server.gates[0].set_result(None)
    assert await asyncio.gather(*answers) == [10, 20, 40]
