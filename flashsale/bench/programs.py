"""The two programs that the product's server is compared with, run by the same uvicorn with the same loop and parser.

`bare` answers a constant: what the server itself costs. `usual` is how it is usually done: a Starlette route that
checks the same right and sends one EVALSHA for each request.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Final

import orjson
from redis.asyncio import BlockingConnectionPool, Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uuid_utils import uuid7

from flashsale import clock, config, scripts
from flashsale.identity import secrets_of
from flashsale.keys import Bucket
from flashsale.outcomes import TELLINGS, Outcome
from flashsale.rights import Fault, RightKeys
from flashsale.scripts import ScriptAt

Message = MutableMapping[str, Any]

UNITS: Final = 9_999_999
_REDIS_CONNECTIONS: Final = 64
_BODY: Final = b'{"outcome":"WON"}'
_HEADERS: Final = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]
_START: Final = {"type": "http.response.start", "status": 201, "headers": _HEADERS}
_END: Final = {"type": "http.response.body", "body": _BODY}
_BY_CODE: Final = {-1: Outcome.ALREADY_BOUGHT, -2: Outcome.SOLD_OUT}


async def bare(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """A constant to every request."""
    if scope["type"] == "lifespan":
        for stage in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{stage}.complete"})
    else:
        await send(_START)
        await send(_END)


def bare_program() -> Callable[..., Awaitable[None]]:
    """`bare`, made as the other programs are."""
    return bare


class Usual:
    """The usual way's route."""

    def __init__(self, redis: Redis, right_keys: RightKeys, decide: ScriptAt) -> None:
        self._redis = redis
        self._right_keys = right_keys
        self._decide = decide

    async def purchase(self, request: Request) -> Response:
        """Check the right, decide by one call, answer."""
        sale, item = request.path_params["sale"], request.path_params["item"]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        right = self._right_keys.check(token, sale=sale, now_s=clock.now_ms() / 1000)
        if scheme != "Right" or isinstance(right, Fault):
            return _answer({"outcome": Outcome.NO_RIGHT.name}, TELLINGS[Outcome.NO_RIGHT].status)
        order = str(uuid7())
        left = await self._decide(self._redis, right.fan, order, item)
        if left < 0:
            outcome = _BY_CODE[left]
            return _answer({"outcome": outcome.name}, TELLINGS[outcome].status)
        return _answer({"outcome": "WON", "order": order, "sale": sale, "item": item}, TELLINGS[Outcome.WON].status)


def usual() -> Starlette:
    """The usual way, on the store and with the keys that the environment names."""
    settings = config.load()
    # A pool with an end: else a crowd at the start opens more connections than a socket takes, and some are refused.
    pool = BlockingConnectionPool.from_url(settings.redis_url, max_connections=_REDIS_CONNECTIONS)
    redis: Redis = Redis(connection_pool=pool)
    bucket = Bucket("usual", 0)
    stock_key, buyers_key, outbox_key = (bucket.key("bench", name) for name in ("stock", "buyers", "outbox"))
    text = (files("flashsale.bench") / "usual.lua").read_text(encoding="utf-8")
    decide = scripts.build("usual", text).at([stock_key, buyers_key, outbox_key])
    route = Usual(redis, secrets_of(settings).right_keys, decide)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await redis.set(stock_key, UNITS)
        yield
        await redis.aclose()

    path = "/api/v1/sales/{sale}/items/{item}/purchase"
    return Starlette(routes=[Route(path, route.purchase, methods=["POST"])], lifespan=lifespan)


def _answer(data: dict[str, str], status: int) -> Response:
    return Response(orjson.dumps(data), status_code=status, media_type="application/json")
