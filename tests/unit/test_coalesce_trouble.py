"""The coalescer in trouble: askers who go away, calls that fail, and the end of the process."""

import asyncio
from collections.abc import Sequence

import pytest

from flashsale.coalesce import Coalescer
from tests.support.waiting import turns
from tests.unit.test_coalesce import Server, made, release


async def test_an_asker_who_went_away_is_not_sent() -> None:
    """Given one waiting / When its asker is cancelled / Then the call goes without it."""
    server = Server()
    coalescer = made(server)
    first = coalescer.submit(1)
    await turns()
    gone, stays = coalescer.submit(2), coalescer.submit(3)
    gone.cancel()
    await release(server, coalescer)
    assert server.batches == [[1], [3]]
    assert (await first, await stays) == (10, 30)


async def test_when_all_have_gone_nothing_is_sent() -> None:
    """Given only askers who went away / Then there is no empty call, and the coalescer goes on."""
    server = Server()
    coalescer = made(server)
    coalescer.submit(1).cancel()
    await turns()
    assert server.batches == []
    answer = coalescer.submit(2)
    await release(server, coalescer)
    assert await answer == 20


async def test_an_asker_who_goes_away_in_flight_harms_nobody() -> None:
    """Given a call in flight / When one of its askers is cancelled / Then the others get their answers."""
    server = Server()
    coalescer = made(server)
    gone, stays = coalescer.submit(1), coalescer.submit(2)
    await turns()
    gone.cancel()
    await release(server, coalescer)
    assert await stays == 20


async def test_an_exception_reaches_every_asker() -> None:
    """When the call fails / Then each of the batch gets that exception, and the next call is made all the same."""
    server = Server()
    coalescer = made(server)
    answers = [coalescer.submit(1), coalescer.submit(2)]
    await turns()
    after = coalescer.submit(3)
    server.gates[0].set_exception(ConnectionResetError("gone"))
    told = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(one) for one in told] == [ConnectionResetError, ConnectionResetError]
    await release(server, coalescer)
    assert await after == 30


async def test_a_cancelled_call_leaves_nobody_waiting() -> None:
    """When the call itself is cancelled / Then its askers learn that the connection was aborted."""
    server = Server()
    coalescer = made(server)
    answer = coalescer.submit(1)
    await turns()
    server.gates[0].cancel()
    with pytest.raises(ConnectionAbortedError):
        await answer
    await coalescer.drain()


@pytest.mark.parametrize("given", [[], [1], [1, 2, 3]])
async def test_a_wrong_number_of_answers_is_an_error_for_somebody(given: list[int]) -> None:
    """When the call answers too few or too many / Then it is not passed over: nobody waits, and somebody hears."""

    async def call(asked: Sequence[int]) -> list[int]:
        return given

    coalescer = Coalescer(call)
    answers = [coalescer.submit(1), coalescer.submit(2)]
    told = await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), timeout=1)
    if len(given) < len(answers):
        assert any(isinstance(one, ValueError) for one in told)
    await coalescer.drain()


async def test_trouble_in_the_counter_leaves_nobody_waiting() -> None:
    """When what counts batches raises / Then every asker gets that exception, and the next one too: none waits."""

    def broken(size: int, waited_s: float) -> None:
        raise RuntimeError("the counter is broken")

    async def call(asked: Sequence[int]) -> Sequence[int]:
        return asked

    coalescer = Coalescer(call, on_batch=broken)
    for _ in range(2):
        answers = [coalescer.submit(1), coalescer.submit(2)]
        await turns()
        assert all(answer.done() for answer in answers), "an asker waits for ever"
        assert [str(answer.exception()) for answer in answers] == ["the counter is broken"] * 2
    await coalescer.drain()


async def test_drain_waits_for_what_waits_and_what_flies() -> None:
    """Given one in flight and one waiting / When drained / Then it ends after both have their answers."""
    server = Server()
    coalescer = made(server)
    answers = [coalescer.submit(1)]
    await turns()
    answers.append(coalescer.submit(2))
    draining = asyncio.create_task(coalescer.drain())
    await turns()
    assert not draining.done()
    server.gates[0].set_result(None)
    await turns()
    assert not draining.done()
    server.gates[1].set_result(None)
    await draining
    assert [answer.result() for answer in answers] == [10, 20]


async def test_draining_an_idle_one_is_nothing() -> None:
    """Given nothing asked / When drained / Then it ends at once."""
    await asyncio.wait_for(made(Server()).drain(), timeout=1)


async def test_batches_are_counted() -> None:
    """When calls are made / Then each one's size is told once."""
    sizes: list[int] = []
    server = Server()
    coalescer = Coalescer(server.call, in_flight_max=1, batch_max=2, on_batch=lambda size, _: sizes.append(size))
    answers = [coalescer.submit(n) for n in range(5)]
    await release(server, coalescer)
    await asyncio.gather(*answers)
    assert sizes == [2, 2, 1]
