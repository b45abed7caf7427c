"""What the worker does about F-codes: it tells their bucket what Postgres has decided, and puts on sale for everybody
what no code needs any more."""

import logging
from collections.abc import Sequence

from flashsale import batch, clock
from flashsale.balance import Balancer, Move
from flashsale.batch import Batch
from flashsale.queries import Pool
from flashsale.sale import Sale, State
from flashsale.settled import Settler
from flashsale.stock import BucketFacts

_log = logging.getLogger(__name__)


async def keep(postgres: Pool, settler: Settler, balancer: Balancer, sale: Sale, facts: Sequence[BucketFacts]) -> int:
    """Bring the bucket of a sale's F-codes level with Postgres. Safe to repeat, and for two workers at once.

    facts: what the sale's buckets said before. Returns how many units went to everybody's buckets.
    """
    async with postgres.acquire() as connection:
        for number in await batch.release_due(connection, sale.sale, now_ms=clock.now_ms()):
            _log.info("fcode.released sale=%s batch=%d", sale.sale, number)
        batches = await batch.of_sales(connection, [sale])
        aside = await batch.units_aside(connection, sale.sale)
    said = facts[-1]
    if not said.holds(sale):
        return 0
    for one in batches:
        if said.batches.get(one.batch) != one.version:
            await batch.tell(settler, sale, one)
    move = _spare(sale, batches, facts, aside) if all(one.loaded for one in facts) else None
    return 0 if move is None or sale.state is State.CLOSED else await balancer.carry_out(move)


def _spare(sale: Sale, batches: Sequence[Batch], facts: Sequence[BucketFacts], aside: dict[str, int]) -> Move | None:
    """Units of an item that no code needs, to go to the bucket that has the fewest. One item at a turn: what is spare
    was reckoned from one look, and holds until a transfer leaves."""
    said, public = facts[-1], facts[: sale.buckets]
    for item, units in aside.items():
        spare = said.free.get(item, 0) - batch.units_promised(item, batches, said, aside=units)
        if spare > 0:
            poorest = min(range(sale.buckets), key=lambda number: public[number].free.get(item, 0))
            return Move(item, sale.buckets, poorest, spare, said.moves)
    return None
