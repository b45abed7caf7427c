"""The hot lane: purchase, reservation, the sale's status and the time, as raw ASGI without a framework.

The way of a purchase: path -> target (may refuse at once) -> right checked without I/O -> coalescer -> script.
Everything that is not hot is handed to the application below.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

from flashsale import clock, limits
from flashsale.api import replies
from flashsale.api.bodies import pass_over_body
from flashsale.api.confirmations import Confirmations
from flashsale.api.entrance import Entrance
from flashsale.api.picture import Pictures, Target
from flashsale.api.replies import PREFIX, Receive, RefusedError, Reply, Scope, Send, refusal
from flashsale.coalesce import CrowdedError
from flashsale.durability import Level
from flashsale.metrics import ApiMetrics
from flashsale.outcomes import Outcome
from flashsale.purchase import Answer, Lane, Purchases, answer_of, new_order
from flashsale.rights import Fault, Right, RightKeys

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)
_KEY: Final = re.compile(rb"[A-Za-z0-9_-]{0,%d}" % limits.IDEMPOTENCY_KEY_LENGTH_MAX)
_RETRY: Final = b"retry=1"
_RIGHT_SCHEME: Final = b"Right "
_ORDER_PATH: Final = f"{PREFIX}orders/".encode()
_WON: Final = b'{"outcome":"WON","order":"%s","sale":"%s","item":"%s","unit":%d,"level":"%s","pay_before_ms":%d}'
_SOLD_OUT: Final = Answer(Outcome.SOLD_OUT)
_RIGHT_FAULTS: Final = {fault: refusal(Outcome.NO_RIGHT, detail=fault.value) for fault in Fault}


class Hot:
    """The outermost ASGI application of an api process."""

    def __init__(
        self,
        *,
        below: App,
        pictures: Pictures,
        purchases: Purchases,
        confirmations: Confirmations,
        entrance: Entrance,
        right_keys: RightKeys,
        metrics: ApiMetrics,
        sandbox: bool,
    ) -> None:
        self._below = below
        self._pictures = pictures
        self._purchases = purchases
        self._confirmations = confirmations
        self._entrance = entrance
        self._right_keys = right_keys
        self._metrics = metrics
        self._sandbox = sandbox
        self._lanes: dict[str, tuple[Lane, ...]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is hot; hand on the rest."""
        if scope["type"] != "http":
            return await self._below(scope, receive, send)
        try:
            target = self._pictures.targets.get(scope["path"])
            if target is not None and scope["method"] == "POST":
                reply: Reply | None = await self._purchase(scope, receive, target)
            else:
                reply = await self._answer(scope, receive)
        except RefusedError as refused:
            reply = refused.reply
        except Exception:  # noqa: BLE001 -- the last resort: it is logged, and the fan gets an answer
            _log.exception("hot.broken path=%s", scope["path"])
            reply = replies.BROKEN
        if reply is None:
            return await self._below(scope, receive, send)
        await send(reply.start)
        await send(reply.body)
        return None

    async def _purchase(self, scope: Scope, receive: Receive, target: Target) -> Reply:
        """One press of buy. Raises RefusedError for what is malformed."""
        # A retry may be of a win whose reply was lost, so it always asks the bucket.
        if target.early is not None and scope["query_string"] != _RETRY and self._pictures.fresh:
            self._metrics.refused_early.counts[target.early_outcome] += 1
            return target.early
        started = time.perf_counter()
        headers = dict(scope["headers"])
        if b"content-length" in headers or b"transfer-encoding" in headers:
            await pass_over_body(receive, headers)
        key = headers.get(b"idempotency-key", b"")
        if not _KEY.fullmatch(key):
            return replies.BAD_KEY
        authorization = headers.get(b"authorization", b"")
        if authorization.startswith(_RIGHT_SCHEME):
            right = self._checked(target, authorization)
        else:
            right = await self._entrance.by_identity(target.picture, authorization)
        order, lane = new_order(), self._lane(scope["path"], target, right.fan)
        try:
            answer = answer_of(order, await lane.attempt(order, right, key=key.decode()))
            if answer.dry:
                answer = await self._asked_again(scope["path"], lane, order, right, key.decode())
        except CrowdedError:
            self._metrics.refused_early.counts[Outcome.WAIT] += 1
            return replies.BY_OUTCOME[Outcome.WAIT]
        if answer.outcome is Outcome.WON and target.picture.sale.ack is Level.CONFIRMED:
            answer = await self._once_confirmed(answer)
        self._metrics.reply_seconds.observe(time.perf_counter() - started)
        self._metrics.decided.counts[answer.outcome] += 1
        return _told(target, answer)

    async def _asked_again(self, path: str, lane: Lane, order: str, right: Right, key: str) -> Answer:
        """A fan whose bucket is dry while another may have units: asked again while the balancer brings some.

        Raises CrowdedError. Sold out is told once all buckets are seen to be dry.
        """
        for _ in range(limits.DRY_ASKED_AGAIN_MAX):
            await asyncio.sleep(limits.DRY_ASKED_AGAIN_S)
            target = self._pictures.targets.get(path)
            if target is not None and target.early_outcome is Outcome.SOLD_OUT and self._pictures.fresh:
                return _SOLD_OUT
            answer = answer_of(order, await lane.attempt(order, right, key=key))
            if not answer.dry:
                return answer
        return answer

    async def _once_confirmed(self, answer: Answer) -> Answer:
        """The win at the level that it has reached when Postgres has had its time."""
        confirmed = await self._confirmations.confirmed(answer.order)
        return answer._replace(level=Level.CONFIRMED) if confirmed else answer

    def _checked(self, target: Target, authorization: bytes) -> Right:
        """The right that the fan holds. Raises RefusedError when it does not hold here and now."""
        text = authorization[len(_RIGHT_SCHEME) :].decode("latin-1")
        checked = self._right_keys.check(text, sale=target.picture.sale.sale, now_s=clock.now_s())
        if isinstance(checked, Fault):
            self._metrics.refused_early.counts[Outcome.NO_RIGHT] += 1
            raise RefusedError(_RIGHT_FAULTS[checked])
        return checked

    def _lane(self, path: str, target: Target, fan: str) -> Lane:
        """The lane of the fan's bucket; which lanes a path has is found out once."""
        lanes = self._lanes.get(path)
        if lanes is None:
            buckets = target.picture.sale.all_buckets
            level = target.picture.sale.ack
            lanes = self._lanes[path] = tuple(
                self._purchases.lane(bucket, target.item, level=level) for bucket in buckets
            )
        return lanes[0] if len(lanes) == 1 else lanes[target.picture.sale.bucket_of(fan).number]

    async def _answer(self, scope: Scope, receive: Receive) -> Reply | None:
        """The reply of the other hot paths, or None when none fits."""
        path = scope["path"]
        if not path.startswith(PREFIX):
            return None
        method = "GET" if scope["method"] == "HEAD" else scope["method"]  # the server leaves the body out
        match method, path.split("/")[3:]:
            case "POST", ["sales", sale, "reservation"]:
                return await self._entrance.reserve(self._pictures.find(sale), scope, receive)
            case "POST", ["sales", sale, "items", _, "purchase"]:
                return replies.UNKNOWN_SALE if self._pictures.find(sale) is None else replies.UNKNOWN_ITEM
            case "GET", ["sales", sale]:
                picture = self._pictures.find(sale)
                return replies.UNKNOWN_SALE if picture is None else _unless_same(scope, picture.shown, picture.etag)
            case "GET", ["sales"]:
                return _unless_same(scope, self._pictures.listing, self._pictures.listing_etag)
            case "GET", ["time"]:
                return replies.success(200, {"now_ms": clock.now_ms(), "sandbox": self._sandbox})
            case _, ["time"] | ["sales"] | ["sales", _]:
                raise RefusedError(replies.not_allowed("GET"))
            case _, ["sales", _, "reservation"] | ["sales", _, "items", _, "purchase"]:
                raise RefusedError(replies.not_allowed("POST"))
            case _:
                return None


def _told(target: Target, answer: Answer) -> Reply:
    """An answer as HTTP. Made for the fan, so nobody keeps it."""
    match answer.outcome:
        case Outcome.WON:
            return _won(target, answer)
        case Outcome.ALREADY_BOUGHT:
            return refusal(Outcome.ALREADY_BOUGHT, order=_dashed(answer.order))
        case Outcome.NOT_OPEN:
            return refusal(Outcome.NOT_OPEN, opens_ms=target.picture.sale.opens_ms, shared=False)
        case outcome:
            return replies.BY_OUTCOME[outcome]


def _won(target: Target, answer: Answer) -> Reply:
    """The reply to a win. It is made for each, so it is filled in rather than encoded: nothing in it needs escaping."""
    order, sale = _dashed(answer.order).encode(), target.picture.sale
    pay_before_ms = answer.accepted_ms + sale.pay_window_s * 1000
    body = _WON % (order, sale.sale.encode(), target.item.encode(), answer.unit, answer.level.encode(), pay_before_ms)
    headers = [
        replies.JSON,
        replies.NO_STORE,
        (b"location", _ORDER_PATH + order),
        (b"content-length", b"%d" % len(body)),
    ]
    return Reply(
        {"type": "http.response.start", "status": 201, "headers": headers},
        {"type": "http.response.body", "body": body},
    )


def _dashed(order: str) -> str:
    return f"{order[:8]}-{order[8:12]}-{order[12:16]}-{order[16:20]}-{order[20:]}"


def _unless_same(scope: Scope, shown: Reply, etag: bytes) -> Reply:
    """The reply, or 304 when the client has just this already."""
    if dict(scope["headers"]).get(b"if-none-match") != etag:
        return shown
    return replies.reply(304, b"", (replies.SHARED, (b"etag", etag)))
