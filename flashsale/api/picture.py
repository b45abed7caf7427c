"""A process's picture of the sales: what it tells about them, and what it may refuse without asking.

It is read from the buckets five times a second. It may be stale, so it only ever refuses; the script alone says yes.
A picture that could not be renewed refuses nothing: then the bucket is asked.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson

from flashsale import batch, ledger, limits, memory, stock, stores
from flashsale.api.replies import PREFIX, SHARED, Reply, refusal, reply
from flashsale.api.turns import Turns
from flashsale.batch import Batch
from flashsale.errors import SurroundingsError
from flashsale.keys import Bucket
from flashsale.outcomes import Outcome
from flashsale.sale import Challenged, Sale, State, state_at
from flashsale.stock import BucketFacts
from flashsale.stores import Stores

_log = logging.getLogger(__name__)
_STALE_S: Final = 1.0
_PLANS_WAIT_S: Final = 0.3
_FIRST_PLANS_WAIT_S: Final = 5.0
_LOW_SHARE: Final = 0.1
_ASK_AGAIN_FAR_S: Final = 30
_RIGHT_GRACE_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class SalePicture:
    """One sale as this process last saw it. with_units: items of which a bucket has some, or one is moving; early:
    refusals that hold for everybody, by item."""

    sale: Sale
    state: str
    reserved: int
    with_units: frozenset[str]
    early: dict[str, Reply]
    outcome: dict[str, Outcome]
    data: dict[str, Any]
    shown: Reply
    etag: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """What a purchase path names. early: the refusal that holds for everybody now, with its outcome. names: sale and
    item as they stand in the reply to a win."""

    picture: SalePicture
    item: str
    names: str
    pay_window_ms: int
    early: Reply | None
    early_outcome: Outcome
    challenged: Challenged


class Pictures:
    """All sales that are not drafts. keep() renews it; the rest only looks things up.

    targets: every purchase path there is. batches: of F-codes, by number.
    """

    def __init__(self, opened: Stores, turns: Turns | None = None) -> None:
        self._stores = opened
        self._turns = turns
        self._sales: list[Sale] = []
        self._sales_read = 0.0
        self._by_name: dict[str, SalePicture] = {}
        self._facts: dict[str, list[BucketFacts]] = {}
        self.targets: dict[str, Target] = {}
        self.batches: dict[int, Batch] = {}
        self._seen = 0.0
        self._stopping = False
        self.listing, self.listing_etag = _shown([])

    def find(self, sale: str) -> SalePicture | None:
        """The picture of one sale."""
        return self._by_name.get(sale)

    @property
    def all(self) -> Sequence[SalePicture]:
        """Every picture, by opening time."""
        return list(self._by_name.values())

    @property
    def fresh(self) -> bool:
        """Whether it is young enough to refuse by."""
        return time.monotonic() - self._seen < _STALE_S

    def stop(self) -> None:
        """Let keep() end by itself: a cancellation alone may be lost inside a client library."""
        self._stopping = True

    async def begin(self) -> None:
        """The first look. A failover is waited for. Raises SurroundingsError when a server stays away."""
        ends_s = time.monotonic() + limits.FAILOVER_S
        while True:
            try:
                return await self.renew()
            except stores.TROUBLE as trouble:
                if time.monotonic() >= ends_s:
                    raise SurroundingsError(f"The sales can't be looked at ({trouble}); is Valkey up?") from trouble
                _log.warning("picture.awaited trouble=%s: %s", type(trouble).__name__, trouble)
                await asyncio.sleep(limits.PICTURE_REFRESH_S)

    async def keep(self) -> None:
        """Renew until stopped; trouble is logged and tried again."""
        while not self._stopping:
            try:
                async with asyncio.timeout(_STALE_S):
                    await self.renew()
            except Exception as trouble:  # noqa: BLE001 -- whatever it is, the next look may go well
                _log.warning("picture.stale trouble=%s: %s", type(trouble).__name__, trouble)
                if not self.fresh:
                    self.targets = targets_of(self._by_name, early=False)
            await asyncio.sleep(limits.PICTURE_REFRESH_S)

    async def renew(self) -> None:
        """Look at the buckets, and now and then at Postgres. With Postgres away, the known sales stay."""
        started = time.monotonic()
        if not self._sales or started - self._sales_read > limits.PLAN_REFRESH_S:
            # Postgres has a time of its own, so that waiting for it never makes the picture of the buckets old.
            patience_s = _PLANS_WAIT_S if self._sales_read else _FIRST_PLANS_WAIT_S
            self._sales_read = started
            try:
                async with asyncio.timeout(patience_s), self._stores.postgres.acquire() as connection:
                    sales = await ledger.every(connection, drafts=False)
                    batches = await batch.of_sales(connection, sales)
                self._sales = [sale for sale in sales if sale.in_buckets]
                self.batches = {one.batch: one for one in batches}
            except stores.POSTGRES_TROUBLE as trouble:
                _log.warning("picture.plans_stale trouble=%s: %s", type(trouble).__name__, trouble)
        buckets = [bucket for sale in self._sales for bucket in sale.all_buckets]
        read = await stock.facts(self._stores.redis, buckets) if buckets else []
        facts = iter(read)
        seen = {sale.sale: [next(facts) for _ in sale.all_buckets] for sale in self._sales}
        self._by_name = {sale.sale: draw(sale, seen[sale.sale], self._facts.get(sale.sale)) for sale in self._sales}
        self._facts = seen
        self.targets = targets_of(self._by_name, early=True)
        self.listing, self.listing_etag = _shown([picture.data for picture in self._by_name.values()])
        self._seen = started
        if self._turns is not None:
            self._turns.look(turns_of(self._by_name), began=started, ended=time.monotonic())
        await self._mark_memory(buckets, read)

    async def _mark_memory(self, buckets: Sequence[Bucket], facts: Sequence[BucketFacts]) -> None:
        """Trouble with it is no trouble of the picture: it comes last, and the next look tries again."""
        try:
            seen = await memory.look(self._stores.redis)
            await memory.keep_marks(self._stores.redis, seen, zip(buckets, facts, strict=True))
        except stores.TROUBLE as trouble:
            _log.warning("memory.not_kept trouble=%s: %s", type(trouble).__name__, trouble)


def turns_of(pictures: Mapping[str, SalePicture]) -> dict[tuple[str, str], tuple[bool, bool]]:
    """For each item of an open sale, whether it has units, and whether fans are refused as sold out."""
    return {
        (name, item.item): (item.item in picture.with_units, picture.outcome.get(item.item) is Outcome.SOLD_OUT)
        for name, picture in pictures.items()
        if picture.state == State.OPEN
        for item in picture.sale.items
    }


def targets_of(pictures: Mapping[str, SalePicture], *, early: bool) -> dict[str, Target]:
    """The purchase paths of all sales. early: whether the pictures are young enough to refuse by."""
    return {
        f"{PREFIX}sales/{name}/items/{item.item}/purchase": Target(
            picture=picture,
            item=item.item,
            names=f'"sale":"{name}","item":"{item.item}"',
            pay_window_ms=picture.sale.pay_window_s * 1000,
            early=picture.early.get(item.item) if early else None,
            early_outcome=picture.outcome.get(item.item, Outcome.UNKNOWN),
            challenged=picture.sale.challenged,
        )
        for name, picture in pictures.items()
        for item in picture.sale.items
    }


def draw(sale: Sale, facts: Sequence[BucketFacts], before: Sequence[BucketFacts] | None = None) -> SalePicture:
    """The picture of a sale from what its buckets say. before: what they said at the look before.

    Everybody's buckets alone count: what is set aside for F-codes is not on sale to them.
    """
    facts, before = facts[: sale.buckets], before and before[: sale.buckets]
    known = all(one.holds(sale) for one in facts)
    bucket_now_ms = min(one.now_ms for one in facts)
    state = str(sale.state)
    if known:
        newest = max(facts, key=lambda one: one.version)
        at = {"opens_ms": newest.opens_ms, "closes_ms": newest.closes_ms, "now_ms": bucket_now_ms}
        state = str(state_at(newest.state, **at))
    elif sale.state is not State.CLOSED:
        state = "unavailable"
    free = {item.item: sum(map(_units(item.item), facts)) for item in sale.items}
    gone = {item for item in free if sold_out(item, facts, before)}
    short = memory.all_short(facts)
    early = _early_outcomes(sale, state, gone, bucket_now_ms, short=short) if known else {}
    data = _data(sale, state, facts, free, bucket_now_ms)
    body = orjson.dumps(data)
    etag = b'"%s"' % blake2b(body, digest_size=8).hexdigest().encode()
    return SalePicture(
        sale=sale,
        state=state,
        reserved=sum(one.reserved for one in facts),
        with_units=frozenset(item for item, units in free.items() if units),
        early={item: _early_reply(outcome, sale, bucket_now_ms) for item, outcome in early.items()},
        outcome=early,
        data=data,
        shown=_ok(body, etag),
        etag=etag,
    )


def sold_out(item: str, facts: Sequence[BucketFacts], before: Sequence[BucketFacts] | None) -> bool:
    """Whether no bucket has a unit, nor one on its way to another.

    Several buckets are not read at the same instant, so a unit that moves meanwhile may be seen nowhere: they must have
    been dry at the look before as well, and no transfer may have begun in between.
    """
    dry = all(_units(item)(one) == 0 for one in facts)
    if len(facts) == 1 or not dry:
        return dry
    if before is None or len(before) != len(facts):
        return False
    pairs = zip(facts, before, strict=True)
    return all(_units(item)(then) == 0 and now.moves == then.moves for now, then in pairs)


def _units(item: str) -> Callable[[BucketFacts], int]:
    """How many units of an item a bucket has, those included that are leaving it."""
    return lambda one: one.free.get(item, 0) + one.moving.get(item, 0)


def _early_outcomes(sale: Sale, state: str, gone: set[str], bucket_now_ms: int, *, short: bool) -> dict[str, Outcome]:
    """What may be refused for everybody, by item. gone: items that are sold out; short: no bucket takes anything in."""
    items = [item.item for item in sale.items]
    match state:
        case State.PAUSED:
            return dict.fromkeys(items, Outcome.PAUSED)
        case State.CLOSED:
            return dict.fromkeys(items, Outcome.CLOSED)
        case State.LOADED if sale.opens_ms - bucket_now_ms > limits.EARLY_REFUSAL_MARGIN_MS + 1000:
            # Near the opening the bucket is asked: its clock decides, not the age of this picture.
            return dict.fromkeys(items, Outcome.NOT_OPEN)
        case State.OPEN:
            held_up = dict.fromkeys(items if short else (), Outcome.WAIT)
            return held_up | dict.fromkeys(gone, Outcome.SOLD_OUT)
        case _:
            return {}


def _early_reply(outcome: Outcome, sale: Sale, bucket_now_ms: int) -> Reply:
    if outcome is Outcome.NOT_OPEN:
        wait_s = max(1, min(_ASK_AGAIN_FAR_S, (sale.opens_ms - bucket_now_ms) // 1000))
        return refusal(outcome, retry_after_s=wait_s, opens_ms=sale.opens_ms)
    return refusal(outcome, shared=True)


def _data(
    sale: Sale, state: str, facts: Sequence[BucketFacts], free: dict[str, int], bucket_now_ms: int
) -> dict[str, Any]:
    """The sale as fans see it. Public: nothing of it belongs to one fan, and stock is told in words only."""
    reservation = sale.reservation and {
        "opens_ms": sale.reservation.opens_ms,
        "closes_ms": sale.reservation.closes_ms,
        "count": sum(one.reserved for one in facts),
    }
    return {
        "sale": sale.sale,
        "title": {"zh": sale.title.zh, "en": sale.title.en},
        "state": state,
        "entry": sale.entry,
        "opens_ms": sale.opens_ms,
        "closes_ms": sale.closes_ms,
        "reservation": reservation,
        "per_fan_limit": sale.per_fan_limit,
        "pay_window_s": sale.pay_window_s,
        "currency": sale.currency,
        "channels": sale.channels,
        "items": [
            {
                "item": item.item,
                "title": {"zh": item.title.zh, "en": item.title.en},
                "price_minor": item.price_minor,
                "stock": "unknown" if state == "unavailable" else _stock_word(free[item.item], item.loaded),
            }
            for item in sale.items
        ],
        "challenged": sale.challenged,
        "ask_again_s": _ask_again_s(sale, state, bucket_now_ms),
    }


def _stock_word(free: int, loaded: int) -> str:
    if free == 0:
        return "sold_out"
    return "low" if free <= loaded * _LOW_SHARE else "available"


def _ask_again_s(sale: Sale, state: str, bucket_now_ms: int) -> int:
    """When it is worth asking again: seldom before the opening and after the end, often while it sells."""
    match state:
        case State.OPEN | State.PAUSED:
            return 2
        case State.LOADED:
            return max(1, min(_ASK_AGAIN_FAR_S, (sale.opens_ms - bucket_now_ms) // 2000))
        case State.CLOSED:
            return _ASK_AGAIN_FAR_S
        case _:
            return 5


def _ok(body: bytes, etag: bytes) -> Reply:
    return reply(200, body, ((b"content-type", b"application/json"), SHARED, (b"etag", etag)))


def _shown(data: list[dict[str, Any]]) -> tuple[Reply, bytes]:
    body = orjson.dumps({"sales": data})
    etag = b'"%s"' % blake2b(body, digest_size=8).hexdigest().encode()
    return _ok(body, etag), etag


def right_expires_s(sale: Sale) -> int:
    """When a right for this sale runs out, in seconds since 1970 UTC: a day after the sale.

    The script alone says when the sale is over; a fan whose last reply was lost must still be able to ask.
    """
    return sale.closes_ms // 1000 + _RIGHT_GRACE_S
