"""Collects what is asked at the same time into one call.

While a call is in flight, what arrives waits in memory; the next call takes all of it, when the one before has its
answer or when many wait. There is no timer: an idle process sends at once, and the batch grows with the crowd. What
waits is bounded. Who is to come last is sent where the
others leave room.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

from flashsale import limits

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
OnBatch: TypeAlias = Callable[[int, float], None]


class CrowdedError(Exception):
    """So many wait already that this one was not taken in, or it waited too long for its turn. Nothing was sent."""


class Coalescer(Generic[Asked, Answer]):
    """Batches for one bucket. Not safe across threads: one event loop owns it.

    call: takes the asked of one batch and returns one answer for each, in order. When it raises, every one of the
    batch gets that exception: whether the call had its effect is not known. waiting_max: how many may wait; last_max:
    how many of those who come last. wait_s_max: who has waited longer for a call is not sent any more. on_batch: told
    of each call how many it takes, and how many seconds the first waited.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]],
        *,
        batch_max: int = limits.ATTEMPTS_PER_CALL_MAX,
        in_flight_max: int = limits.CALLS_IN_FLIGHT_MAX,
        another_min: int = limits.ATTEMPTS_FOR_ANOTHER_CALL,
        waiting_max: int = limits.ATTEMPTS_WAITING_MAX,
        last_max: int = limits.ATTEMPTS_LAST_MAX,
        wait_s_max: float = limits.ATTEMPT_WAIT_S_MAX,
        on_batch: OnBatch = lambda size, waited_s: None,
    ) -> None:
        self._call = call
        self._batch_max = batch_max
        self._in_flight_max = in_flight_max
        self._another_min = another_min
        self._waiting_max = waiting_max
        self._last_max = last_max
        self._wait_s_max = wait_s_max
        self._on_batch = on_batch
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer], float]] = deque()
        self._last: deque[tuple[Asked, asyncio.Future[Answer], float]] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._flush_scheduled = False
        self._loop = asyncio.get_running_loop()

    @property
    def waiting(self) -> int:
        """How many wait for a call."""
        return len(self._waiting) + len(self._last)

    def submit(self, asked: Asked, *, last: bool = False) -> asyncio.Future[Answer]:
        """A future of the answer; cancelled before its turn has come, it is not sent. last: after all who are not.

        Raises CrowdedError at once when too many wait; the future raises it for one that waited too long.
        """
        queue, most = (self._last, self._last_max) if last else (self._waiting, self._waiting_max)
        if len(queue) >= most:
            raise CrowdedError
        answer: asyncio.Future[Answer] = self._loop.create_future()
        queue.append((asked, answer, self._loop.time()))
        if not self._flush_scheduled and self._may_send():
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)
        return answer

    async def drain(self) -> None:
        """Wait until nothing waits and nothing is in flight."""
        while self._waiting or self._last or self._in_flight:
            if self._in_flight:
                await asyncio.wait(self._in_flight)
            else:
                await asyncio.sleep(0)

    def _may_send(self) -> bool:
        """Whether the next call may go: none is in flight, or there is a place for another and it is worth one."""
        if not self._in_flight:
            return True
        return len(self._waiting) >= self._another_min and len(self._in_flight) < self._in_flight_max

    def _flush(self) -> None:
        """Send batches while places are free and somebody waits."""
        self._flush_scheduled = False
        while (self._waiting or self._last) and self._may_send():
            self._send_next()

    def _send_next(self) -> None:
        """The next batch. Those whose asker has gone away are left out, and those who have waited too long."""
        batch: list[tuple[Asked, asyncio.Future[Answer]]] = []
        first, now = (self._waiting or self._last)[0][2], self._loop.time()
        while len(batch) < self._batch_max and (queue := self._waiting or self._last):
            asked, answer, since = queue.popleft()
            if answer.cancelled():
                continue
            if now - since > self._wait_s_max:
                answer.set_exception(CrowdedError())
            else:
                batch.append((asked, answer))
        if batch:
            task = self._loop.create_task(self._send(batch, now - first))
            self._in_flight.add(task)
            task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if (self._waiting or self._last) and not self._flush_scheduled:
            self._flush()

    async def _send(self, batch: list[tuple[Asked, asyncio.Future[Answer]]], waited_s: float) -> None:
        try:
            self._on_batch(len(batch), waited_s)
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
