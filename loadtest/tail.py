"""The lost tail as fans find it: everyone who was told a win asks for that order once all is over.

The verdict compares it with Postgres. So what is reported as lost is what fans have lost, by the api's own word, and
nothing else: an order that lies in Postgres and can't be found by its fan is a broken promise as well.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

import jwt

from flashsale.clock import now_s
from flashsale.config import Settings
from flashsale.errors import FlashsaleError
from loadtest.wire import Wire, connect

_CONNECTIONS: Final = 16
_ANSWER_S_MAX: Final = 10.0
_ASKED_MAX: Final = 40
_AGAIN_S: Final = 0.25
_HOUR_S: Final = 3600

Wins = Mapping[str, tuple[str, str, int, str]]


async def denied(settings: Settings, wins: Wins) -> frozenset[str]:
    """The orders among these wins of which the api tells their fans that there are none.

    wins: order -> fan, item, unit, level. Raises FlashsaleError when the api does not answer.
    """
    waiting, found = list(wins.items()), set[str]()

    async def asker() -> None:
        wire = Wire()
        while waiting:
            order, (fan, *_) = waiting.pop()
            wire, is_there = await _is_there(wire, settings, order, fan)
            if not is_there:
                found.add(order)
        wire.close()

    await asyncio.gather(*(asker() for _ in range(_CONNECTIONS)))
    return frozenset(found)


async def _is_there(wire: Wire, settings: Settings, order: str, fan: str) -> tuple[Wire, bool]:
    claims = {"sub": fan, "exp": int(now_s()) + _HOUR_S}
    token = jwt.encode(claims, settings.jwt_key, algorithm="HS256")
    request = f"GET /api/v1/orders/{order} HTTP/1.1\r\nhost: {settings.host}\r\nauthorization: Bearer {token}\r\n\r\n"
    status = 0
    for _ in range(_ASKED_MAX):
        try:
            async with asyncio.timeout(_ANSWER_S_MAX):
                wire = wire if wire.usable else await connect(settings.host, settings.port)
                status, _ = await wire.ask(request.encode())
        except (OSError, TimeoutError):
            wire.close()
            wire, status = Wire(), 0
        if status in {200, 404}:
            return wire, status == 200
        await asyncio.sleep(_AGAIN_S)
    raise FlashsaleError(f"The api did not say whether order {order} is there; it answered {status}.")


def differences(*, lost: Collection[str], denied: Collection[str]) -> list[str]:
    """Why the tail that is reported is not the one that fans found; empty when it is.

    lost: orders told and not in Postgres; denied: orders told of which the api says that there are none.
    """
    unknown, hidden = sorted({*denied} - {*lost}), sorted({*lost} - {*denied})
    reasons = []
    if unknown:
        reasons.append(f"{len(unknown)} orders are in Postgres, but their fans are told that there are none: {unknown}")
    if hidden:
        reasons.append(f"{len(hidden)} orders are not in Postgres, but their fans are shown them: {hidden}")
    return reasons
