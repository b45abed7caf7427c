"""Stock: numbered units as free ranges in the buckets, and what the buckets need to know of the sale."""

from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from flashsale import keys, limits, scripts
from flashsale.keys import Bucket
from flashsale.ledger import StockLoad
from flashsale.outcomes import Effect
from flashsale.reservation import slices_for
from flashsale.sale import Sale, State


@dataclass(frozen=True, slots=True)
class Returned:
    """A unit coming back: the order that had it, and whose it was. order: 32 hex digits."""

    order: str
    fan: str


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """What one bucket says of itself, at its own time (ms since 1970 UTC). loaded: whether it is there at all."""

    now_ms: int
    loaded: bool
    generation: str
    version: int
    state: State
    opens_ms: int
    closes_ms: int
    free: dict[str, int]
    reserved: int
    reserved_by_channel: dict[int, int]
    outbox: int


async def tell_sale(redis: Redis, sale: Sale, *, create: bool) -> list[Effect]:
    """Tell every bucket the plan as Postgres has it. Safe to repeat and to come late: only a higher version counts.

    create: also make buckets that are not there; without it those stay away, since a bucket that lost its memory
    must not look like a full one. One effect for each bucket.
    """
    fields: list[str | int] = [
        "state", sale.state, "opens_ms", sale.opens_ms, "closes_ms", sale.closes_ms,
        "limit", sale.per_fan_limit, "returned_max", limits.RETURNED_PER_FAN_MAX,
        "outbox_max", limits.OUTBOX_ORDERS_MAX // sale.buckets,
        "reserve_opens_ms", sale.reservation.opens_ms if sale.reservation else 0,
        "reserve_closes_ms", sale.reservation.closes_ms if sale.reservation else 0,
        "reservations_max", -(-sale.reservation.capacity // sale.buckets) if sale.reservation else 0,
    ]  # fmt: skip
    script = scripts.load("set_sale")
    effects = []
    for bucket in sale.all_buckets:
        told = await script.at([bucket.sale_key])(redis, int(create), sale.generation, sale.version, *fields)
        effects.append(Effect(told))
    return effects


def slices_of(sale: Sale) -> int:
    """How many slices a bucket's reservation list has."""
    return slices_for(-(-sale.reservation.capacity // sale.buckets)) if sale.reservation else 1


async def apply_load(redis: Redis, sale: str, load: StockLoad) -> Effect:
    """Add a load's range to its bucket. Safe to repeat: APPLIED once, then APPLIED_BEFORE."""
    bucket = Bucket(sale, load.bucket)
    script = scripts.load("add_stock").at([bucket.counts_key, bucket.loads_key, bucket.free_key(load.item)])
    return Effect(await script(redis, load.item, load.load, load.unit_from, load.unit_to))


async def give_back(redis: Redis, *, bucket: Bucket, item: str, returned: Sequence[Returned]) -> list[Effect]:
    """Put units back among the free ones. Safe to repeat; each comes back once. One effect for each, in order."""
    script = scripts.load("give_back").at([bucket.counts_key, bucket.buyers_key, bucket.free_key(item)])
    return [Effect(code) for code in await script(redis, item, *(f"{one.order} {one.fan}" for one in returned))]


async def facts(redis: Redis, buckets: Sequence[Bucket]) -> list[BucketFacts]:
    """What each bucket says of itself, all of them in one round trip."""
    async with redis.pipeline(transaction=False) as pipe:
        for bucket in buckets:
            pipe.time()
            pipe.hgetall(bucket.sale_key)
            pipe.hgetall(bucket.counts_key)
        replies = await pipe.execute()
    return [_facts(*replies[at : at + 3]) for at in range(0, len(replies), 3)]


def _facts(time: tuple[int, int], plan: dict[bytes, bytes], counts: dict[bytes, bytes]) -> BucketFacts:
    number = {name.decode(): int(value) for name, value in counts.items()}
    by_channel = {
        int(name.removeprefix(keys.COUNT_RESERVED_BY_CHANNEL)): value
        for name, value in number.items()
        if name.startswith(keys.COUNT_RESERVED_BY_CHANNEL)
    }
    return BucketFacts(
        now_ms=time[0] * 1000 + time[1] // 1000,
        loaded=bool(plan),
        generation=plan.get(b"generation", b"").decode(),
        version=int(plan.get(b"version", 0)),
        state=State(plan.get(b"state", b"draft").decode()),
        opens_ms=int(plan.get(b"opens_ms", 0)),
        closes_ms=int(plan.get(b"closes_ms", 0)),
        free={
            name.removeprefix(keys.COUNT_FREE): value
            for name, value in number.items()
            if name.startswith(keys.COUNT_FREE)
        },
        reserved=number.get(keys.COUNT_RESERVED, 0),
        reserved_by_channel=by_channel,
        outbox=number.get(keys.COUNT_OUTBOX, 0),
    )


def parse_range(text: bytes) -> tuple[int, int]:
    """A range "lo-hi" of units, with both ends."""
    first, _, last = text.partition(b"-")
    return int(first), int(last)
