"""Redeeming 使用 F-codes: an attempt by a code, decided by one script in the sale's bucket for F-codes.

It has coalescers and a way to Valkey of its own, so that the rush for everybody's units does not hold it up. The code
is the key of its order: pressed twice, by the same fan, it tells the same win.
"""

from typing import Final

from flashsale import purchase, scripts
from flashsale.batch import key_of
from flashsale.durability import Level
from flashsale.fcode import Code
from flashsale.keys import Bucket
from flashsale.purchase import Answer, Lane, Lanes, Presser

LANE: Final = "fcode"


class Redemptions(Lanes):
    """The lanes of the codes: one for each item of each batch."""

    async def redeem(
        self, code: Code, *, bucket: Bucket, item: str, level: Level, fan: str, channel: str, last: bool = False
    ) -> Answer:
        """Redeem a code that is genuine, for its item. last: after those who are not.

        Trouble with the store is UNKNOWN, and pressing again tells. Raises CrowdedError when too many wait.
        """
        order = purchase.new_order()
        buyer = Presser(fan, channel, LANE)
        decided = await self._lane_of(bucket, code.batch, item, level).submit(
            order, buyer, digest=key_of(code), last=last
        )
        return purchase.answer_of(order, decided)

    def _lane_of(self, bucket: Bucket, batch: int, item: str, level: Level) -> Lane:
        b = bucket
        keys = [b.sale_key, b.counts_key, b.buyers_key, b.outbox_key, b.free_key(item), b.spent_key(batch)]
        return self._lane(lambda: scripts.load("redeem").at(keys), item, batch, bucket=bucket, level=level)
