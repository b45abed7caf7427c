"""Collects what is asked at the same time into one call.

While calls are in flight, what arrives waits in memory; the next call takes all of it. There is no timer: an idle
process sends at once, and the batch grows with the crowd. What waits is bounded.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from flashsale import limits

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class CrowdedError(Exception):
    """So many wait already that this one was not taken in. Nothing was sent."""


class Coalescer(Generic[Asked, Answer]):
    """Batches for one bucket. Not safe across threads: one event loop owns it.

    call: takes the asked of one batch and returns one answer for each, in order. When it raises, every one of the
    batch gets that exception: whether the call had its effect is not known.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]],
        *,
        batch_max: int = limits.ATTEMPTS_PER_CALL_MAX,
        in_flight_max: int = limits.CALLS_IN_FLIGHT_MAX,
        waiting_max: int = limits.ATTEMPTS_WAITING_MAX,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._call = call
        self._batch_max = batch_max
        self._in_flight_max = in_flight_max
        self._waiting_max = waiting_max
        self._on_batch = on_batch
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._flush_scheduled = False
        self._loop = asyncio.get_running_loop()

    @property
    def waiting(self) -> int:
        """How many wait for a call."""
        return len(self._waiting)

    def submit(self, asked: Asked) -> asyncio.Future[Answer]:
        """A future of the answer. Raises CrowdedError at once when too many wait."""
        if len(self._waiting) >= self._waiting_max:
            raise CrowdedError
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting.append((asked, answer))
        if not self._flush_scheduled and len(self._in_flight) < self._in_flight_max:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)
        return answer

    async def drain(self) -> None:
        """Wait until nothing waits and nothing is in flight."""
        while self._waiting or self._in_flight:
            if self._in_flight:
                await asyncio.wait(self._in_flight)
            else:
                await asyncio.sleep(0)

    def _flush(self) -> None:
        """Send batches while places are free and somebody waits. Those whose asker has gone away are not sent."""
        self._flush_scheduled = False
        while self._waiting and len(self._in_flight) < self._in_flight_max:
            self._send_next()

    def _send_next(self) -> None:
        batch: list[tuple[Asked, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self._batch_max:
            asked, answer = self._waiting.popleft()
            if not answer.cancelled():
                batch.append((asked, answer))
        if batch:
            task = self._loop.create_task(self._send(batch))
            self._in_flight.add(task)
            task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if self._waiting and not self._flush_scheduled:
            self._flush()

    async def _send(self, batch: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        try:
            self._on_batch(len(batch))
            answers = await self._call([asked for asked, _ in batch])
            for (_, waiting), answer in zip(batch, answers, strict=True):
                if not waiting.done():
                    waiting.set_result(answer)
        except BaseException as trouble:
            # Each asker learns of it; a cancelled call must not leave them waiting for ever.
            told = trouble if isinstance(trouble, Exception) else ConnectionAbortedError("the call was cancelled")
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(told)
            if not isinstance(trouble, Exception):
                raise
