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
    if sale.state is State.CLOSED or not all(one.loaded for one in facts):
        return 0
    return sum([await balancer.carry_out(move) for move in _spare(sale, batches, facts, aside)])


def _spare(sale: Sale, batches: Sequence[Batch], facts: Sequence[BucketFacts], aside: dict[str, int]) -> list[Move]:
    """Units that no code needs, on their way to the bucket that has the fewest of them."""
    said, public = facts[-1], facts[: sale.buckets]
    moves = []
    for item, units in aside.items():
        stay = batch.units_promised(item, batches, said, aside=units)
        spare = said.free.get(item, 0) - stay
        if spare > 0:
            poorest = min(range(sale.buckets), key=lambda number: public[number].free.get(item, 0))
            moves.append(Move(item, sale.buckets, poorest, spare, stay))
    return moves
