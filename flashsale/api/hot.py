"""The hot lane: purchase, reservation, the sale's status and the time, without a framework.

The way of a purchase: path -> target (may refuse at once) -> right checked without I/O -> coalescer -> script.
A server may ask by begin() and end(), which wait for nothing (api/protocol); any may call it as an ASGI application.
Everything that is not hot is handed to the application below.
"""

import asyncio
import logging
import string
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from flashsale import clock, limits
from flashsale.api import replies
from flashsale.api.answers import told
from flashsale.api.bodies import has_body, pass_over_body
from flashsale.api.challenges import ChallengeDesk
from flashsale.api.confirmations import Confirmations
from flashsale.api.entrance import Entrance
from flashsale.api.looks import Looks
from flashsale.api.picture import Pictures, SalePicture, Target
from flashsale.api.protection import Protection
from flashsale.api.replies import PREFIX, Headers, Receive, RefusedError, Reply, Scope, Send, refusal
from flashsale.coalesce import CrowdedError
from flashsale.durability import Level
from flashsale.keys import bucket_number
from flashsale.metrics import ApiMetrics
from flashsale.outcomes import Outcome
from flashsale.purchase import Answer, Decided, Lane, Purchases, answer_of, new_order
from flashsale.rights import Fault, Right, RightKeys
from flashsale.sale import Challenged

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)
_KEY_BYTES: Final = string.ascii_letters.encode() + string.digits.encode() + b"-_"
_RETRY: Final = b"retry=1"
_RIGHT_SCHEME: Final = b"Right "
_WON: Final = Outcome.WON  # see purchase.py
_CONFIRMED: Final = Level.CONFIRMED
_NOBODY: Final = Challenged.OFF
_ALL: Final = Challenged.ALL
_SOLD_OUT: Final = Answer(Outcome.SOLD_OUT)
_RIGHT_FAULTS: Final = {fault: refusal(Outcome.NO_RIGHT, detail=fault.value) for fault in Fault}


class Press(NamedTuple):
    """A press of buy that was taken in. started: on the clock of time.perf_counter; decided: what the script says."""

    path: str
    target: Target
    lane: Lane
    right: Right
    key: str
    order: str
    started: float
    decided: "asyncio.Future[Decided]"


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
        challenges: ChallengeDesk,
        protection: Protection,
        right_keys: RightKeys,
        metrics: ApiMetrics,
        looks: Looks,
    ) -> None:
        self._below = below
        self._pictures = pictures
        self._purchases = purchases
        self._confirmations = confirmations
        self._entrance = entrance
        self._challenges = challenges
        self._protection = protection
        self._right_keys = right_keys
        self._metrics = metrics
        self._looks = looks
        self._lanes: dict[str, tuple[Lane, ...]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is hot; hand on the rest."""
        if scope["type"] != "http":
            return await self._below(scope, receive, send)
        peer = (scope.get("client") or ("",))[0]
        begun = self.begin(scope["method"], scope["path"], scope["query_string"], scope["headers"], peer=peer)
        if isinstance(begun, Press):
            reply: Reply | None = await self.finish(begun)
        else:
            reply = begun or await self._answer_slowly(scope, receive, peer)
        if reply is None:
            return await self._below(scope, receive, send)
        return await reply.send(send)

    def begin(self, method: str, path: str, query: bytes, headers: Headers, *, peer: str) -> "Reply | Press | None":
        """The reply, when nothing has to be waited for; a press, whose decision alone has to be; else None: call this
        application. peer: the address at the other end of the connection, "" for none."""
        try:
            target = self._pictures.targets.get(path)
            if target is not None and method == "POST":
                return self._begin_press(path, target, query, headers, peer)
            return self._looks.answer(method, path, headers)
        except Exception as trouble:  # noqa: BLE001 -- the last resort: it is logged, and the fan gets an answer
            return self._instead(path, trouble)

    def end(self, press: "Press") -> Reply | None:
        """The reply to a press that was decided; None when there is more to wait for: finish() it."""
        try:
            answer = answer_of(press.order, press.decided.result())
            if answer.dry or (answer.outcome is _WON and press.target.picture.sale.ack is _CONFIRMED):
                return None
            return self._told(press, answer)
        except Exception as trouble:  # noqa: BLE001 -- as above
            return self._instead(press.path, trouble)

    async def finish(self, press: "Press") -> Reply:
        """The reply to a press, when it has come."""
        try:
            answer = answer_of(press.order, await press.decided)
            if answer.dry:
                answer = await self._asked_again(press)
            if answer.outcome is _WON and press.target.picture.sale.ack is _CONFIRMED:
                answer = await self._once_confirmed(answer)
            return self._told(press, answer)
        except Exception as trouble:  # noqa: BLE001 -- as above
            return self._instead(press.path, trouble)

    def _begin_press(
        self, path: str, target: Target, query: bytes, given: Headers, peer: str
    ) -> "Reply | Press | None":
        """One press of buy, by a right and without a body. Raises RefusedError for what is malformed."""
        # A retry may be of a win whose reply was lost, so it always asks the bucket.
        if target.early is not None and query != _RETRY and self._pictures.fresh:
            self._metrics.refused_early.counts[target.early_outcome] += 1
            return target.early
        headers = dict(given)
        authorization = headers.get(b"authorization", b"")
        if not authorization.startswith(_RIGHT_SCHEME) or has_body(headers):
            return None
        suspect = self._protection.suspect(peer, path, given, challenged=target.challenged)
        right = self._checked(target.picture, authorization)
        return self._pressed(path, target, headers, right, suspect=suspect)

    def _pressed(
        self, path: str, target: Target, headers: Mapping[bytes, bytes], right: Right, *, suspect: bool
    ) -> "Reply | Press":
        """The press of a fan who has a right. suspect: it comes from an address over its rate. Raises RefusedError when
        it is one too many of theirs, CrowdedError when too many wait."""
        started = time.perf_counter()
        key = headers.get(b"idempotency-key", b"")
        if len(key) > limits.IDEMPOTENCY_KEY_LENGTH_MAX or key.translate(None, _KEY_BYTES):
            return replies.BAD_KEY
        slowed = self._protection.slowed(right.fan)
        if target.challenged is not _NOBODY and not right.solved and (slowed or suspect or target.challenged is _ALL):
            self._metrics.refused_early.counts[Outcome.CHALLENGE] += 1
            return replies.BY_OUTCOME[Outcome.CHALLENGE]
        if slowed:
            self._metrics.slowed.inc()
        order, lane, text = new_order(), self._lane(path, target, right.fan), key.decode()
        decided = lane.attempt(order, right, key=text, last=slowed)
        return Press(path, target, lane, right, text, order, started, decided)

    def _instead(self, path: str, trouble: Exception) -> Reply:
        """The reply where the usual one can't be had: as the trouble says, or that something broke, which is logged."""
        if isinstance(trouble, RefusedError):
            return trouble.reply
        if isinstance(trouble, CrowdedError):
            self._metrics.refused_early.counts[Outcome.WAIT] += 1
            return replies.BY_OUTCOME[Outcome.WAIT]
        _log.error("hot.broken path=%s", path, exc_info=trouble)
        return replies.BROKEN

    async def _answer_slowly(self, scope: Scope, receive: Receive, peer: str) -> Reply | None:
        """The reply to what comes with a body, or where somebody else is asked who the fan is."""
        path, headers = scope["path"], dict(scope["headers"])
        if not path.startswith(PREFIX):
            return None
        try:
            parts = path.split("/")[3:]
            suspect = self._protection.suspect(peer, path, scope["headers"], challenged=self._challenged(parts))
            match scope["method"], parts:
                case "POST", ["sales", sale, "reservation"]:
                    return await self._entrance.reserve(self._pictures.find(sale), headers, receive)
                case "POST", ["sales", _, "items", _, "purchase"]:
                    target = self._pictures.targets[path]
                    await pass_over_body(receive, headers)
                    right = await self._right(target.picture, headers.get(b"authorization", b""))
                    begun = self._pressed(path, target, headers, right, suspect=suspect)
                    return await self.finish(begun) if isinstance(begun, Press) else begun
                case ("GET" | "POST") as method, ["sales", sale, "challenge"]:
                    return await self._challenge(method, self._pictures.find(sale), headers, receive)
                case _:
                    return None
        except Exception as trouble:  # noqa: BLE001 -- as above
            return self._instead(path, trouble)

    def _challenged(self, parts: list[str]) -> Challenged:
        """Who is challenged in the sale of a path where a solution counts."""
        match parts:
            case ["sales", sale, "challenge"] | ["sales", sale, "items", _, "purchase"]:
                picture = self._pictures.find(sale)
                return _NOBODY if picture is None else picture.sale.challenged
        return _NOBODY

    async def _challenge(
        self, method: str, picture: SalePicture | None, headers: Mapping[bytes, bytes], receive: Receive
    ) -> Reply:
        """A challenge for a fan with a right, or what their solution brings. Counted as a press."""
        assert picture is not None, "a sale that is not known was refused before"
        right = await self._right(picture, headers.get(b"authorization", b""))
        self._protection.slowed(right.fan)
        if method == "GET":
            return self._challenges.give(right)
        return await self._challenges.take(right, headers, receive)

    async def _right(self, picture: SalePicture, authorization: bytes) -> Right:
        if authorization.startswith(_RIGHT_SCHEME):
            return self._checked(picture, authorization)
        return await self._entrance.by_identity(picture, authorization)

    async def _asked_again(self, press: "Press") -> Answer:
        """A fan whose bucket is dry while another may have units: asked again while the balancer brings some.

        Raises CrowdedError. Sold out is told once all buckets are seen to be dry.
        """
        for _ in range(limits.DRY_ASKED_AGAIN_MAX):
            await asyncio.sleep(limits.DRY_ASKED_AGAIN_S)
            target = self._pictures.targets.get(press.path)
            if target is not None and target.early_outcome is Outcome.SOLD_OUT and self._pictures.fresh:
                return _SOLD_OUT
            answer = answer_of(press.order, await press.lane.attempt(press.order, press.right, key=press.key))
            if not answer.dry:
                return answer
        return answer

    async def _once_confirmed(self, answer: Answer) -> Answer:
        """The win at the level that it has reached when Postgres has had its time."""
        confirmed = await self._confirmations.confirmed(answer.order)
        return answer._replace(level=Level.CONFIRMED) if confirmed else answer

    def _checked(self, picture: SalePicture, authorization: bytes) -> Right:
        """The right that the fan holds. Raises RefusedError when it does not hold here and now."""
        text = authorization[len(_RIGHT_SCHEME) :].decode("latin-1")
        checked = self._right_keys.check(text, sale=picture.sale.sale, now_s=clock.now_s())
        if isinstance(checked, Fault):
            self._metrics.refused_early.counts[Outcome.NO_RIGHT] += 1
            raise RefusedError(_RIGHT_FAULTS[checked])
        return checked

    def _lane(self, path: str, target: Target, fan: str) -> Lane:
        """The lane of the fan's bucket; which lanes a path has is found out once."""
        lanes = self._lanes.get(path)
        if lanes is None:
            buckets = target.picture.sale.public_buckets
            level = target.picture.sale.ack
            lanes = self._lanes[path] = tuple(
                self._purchases.lane(bucket, target.item, level=level) for bucket in buckets
            )
        return lanes[bucket_number(sale=target.picture.sale.sale, fan=fan, buckets=len(lanes))]

    def _told(self, press: "Press", answer: Answer) -> Reply:
        self._metrics.reply_seconds.observe(time.perf_counter() - press.started)
        self._metrics.decided.counts[answer.outcome] += 1
        return told(press.target, answer)
