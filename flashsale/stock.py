"""Stock: numbered units as free ranges in the buckets, and what the buckets need to know of the sale."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from flashsale import keys, limits, scripts
from flashsale.keys import Bucket
from flashsale.ledger import StockLoad
from flashsale.outbox import Win
from flashsale.outcomes import Effect
from flashsale.reservation import slices_for
from flashsale.sale import Sale, State
from flashsale.scripts import Commands
from flashsale.settled import Plain, Settler

_TERMS: Final = keys.TERMS.encode()


@dataclass(frozen=True, slots=True)
class Returned:
    """A unit coming back: the order that had it, and whose it was. order: 32 hex digits."""

    order: str
    fan: str


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """What one bucket says of itself, at its own time (ms since 1970 UTC). loaded: whether it is there and not fenced.

    free, moving: units by item; moving ones are leaving for another bucket. lost: attempts without a unit, by item;
    moves: transfers that left; wins: orders won; returned: units that came back, to be free or held; loads: stock loads
    applied. These only rise: a bucket that says less than was known before has lost a part of its memory.
    memory_short: it takes nothing in, since its server's memory is nearly used up.

    Of the F-codes' bucket: batches: the version of each batch's terms; released: those of which it takes no code any
    more; used: codes redeemed, by item and batch."""

    now_ms: int
    loaded: bool
    generation: str
    version: int
    state: State
    opens_ms: int
    closes_ms: int
    free: dict[str, int]
    moving: dict[str, int]
    lost: dict[str, int]
    moves: int
    wins: int
    returned: int
    loads: int
    reserved: int
    reserved_by_channel: dict[int, int]
    outbox: int
    fenced: bool
    memory_short: bool = False
    batches: Mapping[int, int] = field(default_factory=dict)
    released: frozenset[int] = frozenset()
    used: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def holds(self, sale: Sale) -> bool:
        """Whether the bucket is this sale's, and can be asked: neither lost nor being rebuilt."""
        return self.loaded and self.generation == sale.generation


async def tell_sale(
    client: Commands, sale: Sale, *, create: bool, buckets: Sequence[Bucket] | None = None
) -> list[Effect]:
    """Tell these buckets, or all, the plan as Postgres has it. Safe to repeat and to come late: only a higher version
    counts.

    create: also make buckets that are not there; without it those stay away, since a bucket that lost its memory
    must not look like a full one. One effect for each bucket.
    """
    return [
        effect for effect, _ in await _tell(Plain(client), sale, create=create, buckets=buckets or sale.all_buckets)
    ]


async def make_buckets(settler: Settler, sale: Sale) -> tuple[list[Effect], bool]:
    """Make every bucket that is not there, as tell_sale does; and whether all of them are settled."""
    told = await _tell(settler, sale, create=True, buckets=sale.all_buckets)
    return [effect for effect, _ in told], all(settled for _, settled in told)


async def _tell(settler: Settler, sale: Sale, *, create: bool, buckets: Sequence[Bucket]) -> list[tuple[Effect, bool]]:
    fields: list[str | int] = [
        "state", sale.state, "closes_ms", sale.closes_ms, "returned_max", limits.RETURNED_PER_FAN_MAX,
        "outbox_max", limits.OUTBOX_ORDERS_MAX // sale.buckets, "buckets", sale.buckets,
        "reserve_opens_ms", sale.reservation.opens_ms if sale.reservation else 0,
        "reserve_closes_ms", sale.reservation.closes_ms if sale.reservation else 0,
        "reservations_max", -(-sale.reservation.capacity // sale.buckets) if sale.reservation else 0,
    ]  # fmt: skip
    script = scripts.load("set_sale")
    told = []
    for bucket in buckets:
        at = script.at([bucket.sale_key])
        of_pool = _of_fcodes() if bucket == sale.fcode_bucket else _of_public(sale)
        code, settled = await settler.run(at, int(create), sale.generation, sale.version, *fields, *of_pool)
        told.append((Effect(code), settled))
    return told


def _of_public(sale: Sale) -> tuple[str | int, ...]:
    return ("opens_ms", sale.opens_ms, "limit", sale.per_fan_limit)


def _of_fcodes() -> tuple[str | int, ...]:
    """The code is the right to its unit: how many a fan has is decided where they are issued. Without an opening, what
    buys for everybody is refused there."""
    return ("limit", limits.CODES_PER_BATCH_MAX)


def slices_of(sale: Sale) -> int:
    """How many slices a bucket's reservation list has."""
    return slices_for(-(-sale.reservation.capacity // sale.buckets)) if sale.reservation else 1


async def apply_load(settler: Settler, sale: str, load: StockLoad) -> tuple[Effect, bool]:
    """Add a load's range to its bucket; and whether that is settled. Safe to repeat: APPLIED, then APPLIED_BEFORE."""
    bucket = Bucket(sale, load.bucket)
    script = scripts.load("add_stock").at([bucket.counts_key, bucket.loads_key, bucket.free_key(load.item)])
    code, settled = await settler.run(script, load.item, load.load, load.unit_from, load.unit_to)
    return Effect(code), settled


async def give_back(
    settler: Settler, *, bucket: Bucket, item: str, returned: Sequence[Returned], hold: bool = False
) -> tuple[list[Effect], bool]:
    """Take units back: among the free ones, or to be held, free nowhere. One effect for each, in order; and whether all
    of them are settled.

    Safe to repeat; each comes back once, to where it was sent first.
    """
    place = "hold" if hold else "free"
    script = scripts.load("give_back").at([bucket.counts_key, bucket.buyers_key, bucket.free_key(item)])
    codes, settled = await settler.run(script, item, place, *(f"{one.order} {one.fan}" for one in returned))
    return [Effect(code) for code in codes], settled


async def replace_unit(client: Commands, *, bucket: Bucket, win: Win, tried: Sequence[int]) -> tuple[int, int]:
    """Give an order another free unit than those tried, and send it on its way again: the code, and the unit or 0.

    Safe to repeat: the unit that it has got is told again. The code is that of an Outcome or an Effect.
    """
    script = scripts.load("replace_unit").at(
        [bucket.sale_key, bucket.counts_key, bucket.buyers_key, bucket.outbox_key, bucket.free_key(win.item)]
    )
    code, unit = await script(
        client, win.item, win.order, win.key, win.fan, win.channel, win.lane, win.accepted_ms, *tried
    )
    return int(code), int(unit)


async def end_line(client: Commands, *, bucket: Bucket, win: Win, unit: int) -> Effect:
    """End the line of an order that is refused, and whose unit is another order's. Safe to repeat."""
    script = scripts.load("end_line").at([bucket.counts_key, bucket.buyers_key, bucket.free_key(win.item)])
    return Effect(await script(client, win.item, win.order, win.fan, unit))


async def facts(client: Commands, buckets: Sequence[Bucket]) -> list[BucketFacts]:
    """What each bucket says of itself, all of them asked at once."""
    script = scripts.load("facts")
    asked = (script.at([bucket.sale_key, bucket.counts_key])(client) for bucket in buckets)
    return [_facts(*reply) for reply in await asyncio.gather(*asked)]


async def free_ranges(client: Commands, bucket: Bucket, item: str) -> tuple[list[tuple[int, int]], int]:
    """The free ranges of an item in a bucket, both ends included, and how many units are counted as free; both read at
    one instant."""
    count, texts = await scripts.load("free").at([bucket.counts_key, bucket.free_key(item)])(client, item)
    return [parse_range(text) for text in texts], int(count)


def closed_buckets(sale: Sale, facts: Sequence[BucketFacts]) -> int:
    """How many buckets of a sale that has been loaded sell nothing until they are recovered."""
    return sum(not one.holds(sale) for one in facts) if sale.in_buckets else 0


def _facts(now_ms: int, plan_fields: list[bytes], count_fields: list[bytes]) -> BucketFacts:
    plan = dict(zip(plan_fields[::2], plan_fields[1::2], strict=True))
    number = {name.decode(): int(value) for name, value in zip(count_fields[::2], count_fields[1::2], strict=True)}
    by_channel = {
        int(name.removeprefix(keys.COUNT_RESERVED_BY_CHANNEL)): value
        for name, value in number.items()
        if name.startswith(keys.COUNT_RESERVED_BY_CHANNEL)
    }
    terms = {int(name[len(_TERMS) :]): text.split(b" ") for name, text in plan.items() if name.startswith(_TERMS)}
    return BucketFacts(
        now_ms=now_ms,
        loaded=bool(plan) and keys.COUNT_FENCE not in number,
        generation=plan.get(b"generation", b"").decode(),
        version=int(plan.get(b"version", 0)),
        state=State(plan.get(b"state", b"draft").decode()),
        opens_ms=int(plan.get(b"opens_ms", 0)),
        closes_ms=int(plan.get(b"closes_ms", 0)),
        free=_by_item(number, keys.COUNT_FREE),
        moving=_by_item(number, keys.COUNT_MOVING),
        lost=_by_item(number, keys.COUNT_LOST),
        moves=number.get(keys.COUNT_MOVES, 0),
        wins=number.get(keys.COUNT_WINS, 0),
        returned=number.get(keys.COUNT_RETURNED, 0),
        loads=number.get(keys.COUNT_LOADS, 0),
        reserved=number.get(keys.COUNT_RESERVED, 0),
        reserved_by_channel=by_channel,
        outbox=number.get(keys.COUNT_OUTBOX, 0),
        fenced=keys.COUNT_FENCE in number,
        memory_short=number.get(keys.COUNT_MEMORY_SHORT, 0) == 1,
        batches={batch: int(parts[0]) for batch, parts in terms.items()},
        released=frozenset(batch for batch, parts in terms.items() if parts[-1] == b"1"),
        used=_by_item_and_batch(number),
    )


def _by_item_and_batch(number: dict[str, int]) -> dict[tuple[str, int], int]:
    found = (name.rpartition(":") for name in _by_item(number, keys.COUNT_USED))
    return {(item, int(batch)): number[f"{keys.COUNT_USED}{item}:{batch}"] for item, _, batch in found}


def _by_item(number: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): value for name, value in number.items() if name.startswith(prefix)}


def parse_range(text: bytes) -> tuple[int, int]:
    """A range "lo-hi" of units, with both ends."""
    first, _, last = text.partition(b"-")
    return int(first), int(last)
