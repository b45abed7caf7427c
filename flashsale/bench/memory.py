"""Suite memory: what a reservation costs in Valkey, against the same fans in a plain set of their names; and what a
buyer costs, before the order has landed and after, against a plain hash of fan and order.

The list is full to its capacity in both, as it is at the end of a reservation period.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from flashsale import outbox, reservation, stock
from flashsale.bench.ground import BATCH, FAN_LENGTH, ITEM, Ground, attempts, cut, fans, purchase_at
from flashsale.bench.report import Metric
from flashsale.errors import InvariantError
from flashsale.keys import Bucket
from flashsale.limits import OUTBOX_ENTRIES_PER_READ
from flashsale.outcomes import Outcome
from flashsale.sale import Sale
from flashsale.scripts import Commands

FANS: Final = 200_000
_PER_CALL: Final = 500


async def run(ground: Ground, *, rounds: int, on_progress: Callable[[str], None], number: int = FANS) -> list[Metric]:
    """Bytes for each reservation, each order on its way and each buyer."""
    reserved = await _reservations(ground, rounds=rounds, on_progress=on_progress, number=number)
    return [reserved, *await _buyers(ground, rounds=rounds, on_progress=on_progress, number=number // 4)]


async def _buyers(ground: Ground, *, rounds: int, on_progress: Callable[[str], None], number: int) -> list[Metric]:
    """Of orders that have just been won, and of the same when they have landed and left the outbox."""
    lines = attempts(number)
    won, landed, plain = [], [], []
    for at in range(1, rounds + 1):
        on_progress(f"memory.buyer, round {at} of {rounds}")
        sale = await ground.open_sale(f"memory-buyers-{at}", units=number)
        bucket = sale.all_buckets[0]
        before = await ground.used_bytes()
        script = purchase_at(bucket)
        for batch in cut(lines, BATCH):
            await script(ground.redis, ITEM, *batch)
        won.append((await ground.used_bytes() - before) / number)
        while entries := await outbox.read(ground.redis, bucket, after="0", count=OUTBOX_ENTRIES_PER_READ):
            await outbox.trim(ground.redis, bucket, entries)
        between = await ground.used_bytes()
        landed.append((between - before) / number)
        await _plain_hash(ground, bucket, lines)
        plain.append((await ground.used_bytes() - between) / number)
    conditions = {"buyers": number, "id_length": FAN_LENGTH, "plain": "HSET fan order, 32 hex digits"}
    return [
        Metric("memory", name, median(ours), "bytes", "plain HSET of fan and order", median(plain), ratio, rounds,
               conditions)
        for name, ours in (("order", won), ("buyer", landed))
        for ratio in [median(one / other for one, other in zip(ours, plain, strict=True))]
    ]  # fmt: skip


async def _plain_hash(ground: Ground, bucket: Bucket, lines: Sequence[str]) -> None:
    """The fan and the order of each attempt, and no more."""
    commands: Commands = ground.redis
    for batch in cut(lines, _PER_CALL):
        pairs = [word for line in batch for word in (line.split(" ")[2], line.split(" ")[0])]
        await commands.execute_command("HSET", bucket.key("bench", "plain"), *pairs)


async def _reservations(ground: Ground, *, rounds: int, on_progress: Callable[[str], None], number: int) -> Metric:
    names = fans(number)
    ours, plain = [], []
    for at in range(1, rounds + 1):
        on_progress(f"memory.reservation, round {at} of {rounds}")
        sale = await ground.open_sale(f"memory-{at}", units=1, reserved=number)
        before = await ground.used_bytes()
        await _reserve(ground, sale, names)
        between = await ground.used_bytes()
        await _plain_set(ground, sale.all_buckets[0], names)
        ours.append((between - before) / number)
        plain.append((await ground.used_bytes() - between) / number)
    conditions = {"fans": number, "id_length": FAN_LENGTH, "slices": stock.slices_of(sale), "list": "full"}
    ratio = median(one / other for one, other in zip(ours, plain, strict=True))
    figures = (median(ours), "bytes", "plain SET of ids", median(plain), ratio)
    return Metric("memory", "reservation", *figures, rounds, conditions)


async def _reserve(ground: Ground, sale: Sale, names: Sequence[str]) -> None:
    slices = stock.slices_of(sale)
    for batch in cut(names, _PER_CALL):
        answers = await reservation.reserve(
            ground.redis,
            bucket=sale.all_buckets[0],
            slices=slices,
            channels=len(sale.channels),
            requests=[reservation.Request(fan, 0) for fan in batch],
        )
        if not all(answer.outcome is Outcome.RESERVED for answer in answers):
            raise InvariantError("a reservation was refused although there was room")


async def _plain_set(ground: Ground, bucket: Bucket, names: Sequence[str]) -> None:
    commands: Commands = ground.redis
    for batch in cut(names, _PER_CALL):
        await commands.execute_command("SADD", bucket.key("bench", "plain"), *batch)
