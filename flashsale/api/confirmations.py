"""Waits until orders are committed in Postgres, for sales whose wins are told at level confirmed.

One look at Postgres for all who wait, again and again while somebody does: what is told is what is there, and a notice
that is lost can't happen.
"""

import asyncio
import logging
from typing import Final

from flashsale import limits, order
from flashsale.queries import Pool
from flashsale.stores import POSTGRES_TROUBLE

_log = logging.getLogger(__name__)
_TROUBLE_PAUSE_S: Final = 0.2


class Confirmations:
    """Everybody in this process who waits for a commit. keep() looks for them."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[bool]] = {}
        self._somebody = asyncio.Event()

    async def confirmed(self, order_id: str) -> bool:
        """Whether the order (32 hex digits) is committed, waited for so long at the most."""
        waiting = self._waiting.get(order_id)
        if waiting is None:
            waiting = self._waiting[order_id] = asyncio.get_running_loop().create_future()
            self._somebody.set()
        try:
            # Shielded: the same order may be waited for twice, by a fan who asked again.
            return await asyncio.wait_for(asyncio.shield(waiting), limits.CONFIRM_WAIT_S)
        except TimeoutError:
            self._waiting.pop(order_id, None)
            return False

    async def keep(self, postgres: Pool) -> None:
        """Look and tell, for ever. While Postgres is away nobody is told anything; they wait for their time."""
        while True:
            await self._somebody.wait()
            try:
                await self._look(postgres)
            except POSTGRES_TROUBLE as trouble:
                _log.warning("confirmations.trouble trouble=%s: %s", type(trouble).__name__, trouble)
                await asyncio.sleep(_TROUBLE_PAUSE_S)
            if not self._waiting:
                self._somebody.clear()
            await asyncio.sleep(limits.CONFIRM_LOOK_S)

    async def _look(self, postgres: Pool) -> None:
        wanted = list(self._waiting)
        if not wanted:
            return
        async with postgres.acquire() as connection:
            found = await order.live_among(connection, wanted)
        for order_id in found:
            waiting = self._waiting.pop(order_id, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(True)
