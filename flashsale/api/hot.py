"""The hot lane: purchase, reservation, the sale's status and the time, as raw ASGI without a framework.

The way of a purchase: path -> picture (may refuse at once) -> right checked without I/O -> coalescer -> script.
Everything that is not hot is handed to the application below.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

from flashsale import clock, limits, stock
from flashsale.api import replies
from flashsale.api.bodies import body_fault, has_body, read_json
from flashsale.api.picture import Pictures, SalePicture, right_expires_s
from flashsale.api.replies import Receive, RefusedError, Reply, Scope, Send, refusal
from flashsale.identity import Identities, NoIdentityError
from flashsale.metrics import ApiMetrics
from flashsale.outcomes import Outcome
from flashsale.purchase import LEVEL_ACCEPTED, Answer, Purchases
from flashsale.reservation import Request, Reservations
from flashsale.rights import LANE_PUBLIC, Fault, Kind, Right, RightKeys
from flashsale.sale import Entry

_log = logging.getLogger(__name__)

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PREFIX: Final = "/api/v1/"
_KEY: Final = re.compile(rb"[A-Za-z0-9_-]{1,%d}" % limits.IDEMPOTENCY_KEY_LENGTH_MAX)
_RETRY: Final = b"retry=1"
_WITHOUT_DETAIL: Final[dict[Outcome, Reply]] = {
    outcome: refusal(outcome, shared=False) for outcome in Outcome if outcome is not Outcome.WON
}
_RIGHT_FAULTS: Final = {fault: refusal(Outcome.NO_RIGHT, detail=fault.value) for fault in Fault}
_NO_RIGHT_SENT: Final = refusal(Outcome.NO_RIGHT, detail="send Authorization: Right <the right from your reservation>")


class Hot:
    """The outermost ASGI application of an api process."""

    def __init__(
        self,
        *,
        below: App,
        pictures: Pictures,
        purchases: Purchases,
        reservations: Reservations,
        right_keys: RightKeys,
        identities: Identities,
        metrics: ApiMetrics,
        sandbox: bool,
    ) -> None:
        self._below = below
        self._pictures = pictures
        self._purchases = purchases
        self._reservations = reservations
        self._right_keys = right_keys
        self._identities = identities
        self._metrics = metrics
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is hot; hand on the rest."""
        if scope["type"] == "http" and scope["path"].startswith(_PREFIX):
            try:
                reply = await self._answer(scope, receive)
            except Exception:  # noqa: BLE001 -- the last resort: it is logged, and the fan gets an answer
                _log.exception("hot.broken path=%s", scope["path"])
                reply = replies.BROKEN
            if reply is not None:
                await send(reply.start)
                await send(reply.body)
                return
        await self._below(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Reply | None:
        """The reply of the hot path that fits, or None when none does."""
        parts = scope["path"].split("/")
        match scope["method"], parts[3:]:
            case "POST", ["sales", sale, "items", item, "purchase"]:
                return await self._purchase(scope, sale, item)
            case "POST", ["sales", sale, "reservation"]:
                return await self._reservation(scope, receive, sale)
            case "GET", ["sales", sale]:
                return self._status(scope, sale)
            case "GET", ["sales"]:
                return _unless_same(scope, self._pictures.listing, self._pictures.listing_etag)
            case "GET", ["time"]:
                return replies.success(200, {"now_ms": clock.now_ms(), "sandbox": self._sandbox})
            case _:
                return None

    async def _purchase(self, scope: Scope, sale: str, item: str) -> Reply:
        picture = self._pictures.find(sale)
        if picture is None:
            return replies.UNKNOWN_SALE
        if picture.sale.item(item) is None:
            return replies.UNKNOWN_ITEM
        # A retry may be of a win whose reply was lost, so it always asks the bucket.
        early = picture.early.get(item)
        if early is not None and scope["query_string"] != _RETRY and self._pictures.fresh:
            self._metrics.refused_early[picture.outcome[item]].inc()
            return early
        headers = _headers(scope)
        fault = body_fault(headers)
        if fault is not None:
            return fault
        key = headers.get(b"idempotency-key", b"")
        if key and not _KEY.fullmatch(key):
            return replies.BAD_KEY
        right = await self._right(picture, headers.get(b"authorization", b""))
        if isinstance(right, Reply):
            self._metrics.refused_early[Outcome.NO_RIGHT].inc()
            return right
        return await self._attempt(picture, item, right, key.decode())

    async def _right(self, picture: SalePicture, authorization: bytes) -> Right | Reply:
        """What lets this fan attempt: a right, or for a sale that is open to all an identity."""
        try:
            scheme, _, token = authorization.decode("ascii").partition(" ")
        except UnicodeDecodeError:
            return _RIGHT_FAULTS[Fault.MALFORMED]
        if scheme == "Right":
            checked = self._right_keys.check(token, sale=picture.sale.sale, now_s=time.time())
            return _RIGHT_FAULTS[checked] if isinstance(checked, Fault) else checked
        if scheme == "Bearer" and picture.sale.entry is Entry.OPEN:
            try:
                fan = await self._identities.fan_of(authorization.decode())
            except NoIdentityError as fault:
                return replies.unauthorized(str(fault))
            return self._make_right(picture, fan, picture.sale.channels[0])
        return _NO_RIGHT_SENT

    async def _attempt(self, picture: SalePicture, item: str, right: Right, key: str) -> Reply:
        started = time.perf_counter()
        answer = await self._purchases.attempt(
            bucket=picture.sale.bucket_of(right.fan),
            item=item,
            fan=right.fan,
            channel=right.channel,
            lane=right.lane,
            key=key,
        )
        self._metrics.reply_seconds.observe(time.perf_counter() - started)
        self._metrics.decided[answer.outcome].inc()
        return _told(picture, item, answer)

    async def _reservation(self, scope: Scope, receive: Receive, sale: str) -> Reply:
        picture = self._pictures.find(sale)
        if picture is None:
            return replies.UNKNOWN_SALE
        headers = _headers(scope)
        fault = body_fault(headers)
        if fault is not None:
            return fault
        try:
            fan = await self._identities.fan_of(headers.get(b"authorization", b"").decode("latin-1"))
        except NoIdentityError as refused:
            return replies.unauthorized(str(refused))
        try:
            channel = await _channel(receive, headers, picture)
        except RefusedError as refused:
            return refused.reply
        return await self._reserve(picture, fan, channel)

    async def _reserve(self, picture: SalePicture, fan: str, channel: int) -> Reply:
        sale = picture.sale
        answer = await self._reservations.reserve(
            bucket=sale.bucket_of(fan),
            slices=stock.slices_of(sale),
            channels=len(sale.channels),
            request=Request(fan, channel),
        )
        self._metrics.reserved[answer.outcome].inc()
        if answer.outcome is not Outcome.RESERVED:
            return _WITHOUT_DETAIL[answer.outcome]
        right = self._make_right(picture, fan, sale.channels[answer.channel_number])
        return replies.success(
            200,
            {
                "outcome": answer.outcome.name,
                "sale": sale.sale,
                "fan": fan,
                "channel": right.channel,
                "right": self._right_keys.sign(right),
                "expires_ms": right.expires_s * 1000,
            },
        )

    def _make_right(self, picture: SalePicture, fan: str, channel: str) -> Right:
        return Right(Kind.RESERVATION, picture.sale.sale, fan, LANE_PUBLIC, channel, right_expires_s(picture.sale))

    def _status(self, scope: Scope, sale: str) -> Reply:
        picture = self._pictures.find(sale)
        return replies.UNKNOWN_SALE if picture is None else _unless_same(scope, picture.shown, picture.etag)


def _told(picture: SalePicture, item: str, answer: Answer) -> Reply:
    """An answer as HTTP. Made for the fan, so nobody keeps it."""
    match answer.outcome:
        case Outcome.WON:
            order = _dashed(answer.order)
            return replies.success(
                201,
                {
                    "outcome": "WON",
                    "order": order,
                    "sale": picture.sale.sale,
                    "item": item,
                    "unit": answer.unit,
                    "level": LEVEL_ACCEPTED,
                    "pay_before_ms": answer.accepted_ms + picture.sale.pay_window_s * 1000,
                },
                (b"location", f"/api/v1/orders/{order}".encode()),
            )
        case Outcome.ALREADY_BOUGHT:
            return refusal(Outcome.ALREADY_BOUGHT, order=_dashed(answer.order))
        case Outcome.NOT_OPEN:
            return refusal(Outcome.NOT_OPEN, opens_ms=picture.sale.opens_ms, shared=False)
        case outcome:
            return _WITHOUT_DETAIL[outcome]


def _dashed(order: str) -> str:
    return f"{order[:8]}-{order[8:12]}-{order[12:16]}-{order[16:20]}-{order[20:]}"


def _headers(scope: Scope) -> dict[bytes, bytes]:
    return dict(scope["headers"])


async def _channel(receive: Receive, headers: dict[bytes, bytes], picture: SalePicture) -> int:
    """The number of the channel that the fan says they came through; the first one when they say nothing.

    Raises RefusedError."""
    channels = picture.sale.channels
    if not has_body(headers):
        return 0
    data = await read_json(receive, headers)
    if set(data) - {"channel"}:
        raise RefusedError(replies.bad_input('the body may hold one key: {"channel": "…"}'))
    channel = data.get("channel", channels[0])
    if channel not in channels:
        raise RefusedError(replies.bad_input(f"channel: is one of {', '.join(channels)}"))
    return channels.index(channel)


def _unless_same(scope: Scope, shown: Reply, etag: bytes) -> Reply:
    """The reply, or 304 when the client has just this already."""
    if _headers(scope).get(b"if-none-match") != etag:
        return shown
    return replies.reply(304, b"", (replies.SHARED, (b"etag", etag)))
