"""What a fault does in a fan's name: pay for an order, let it go. Over HTTP, as a fan would."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import httpx
import jwt

from flashsale.clock import now_s
from flashsale.errors import FlashsaleError
from flashsale.queries import query
from loadtest.faults.scene import Scene

_HOUR_S: Final = 3600
_PATIENCE_S: Final = 30.0
_AGAIN_S: Final = 0.1


async def confirmed(scene: Scene, number: int) -> Sequence[asyncpg.Record]:
    """So many orders that can be paid now: order_id, fan, item, unit."""
    async with scene.both.postgres.acquire() as connection:
        return list(await connection.fetch(query("verdict", "confirmed_now"), scene.sale.sale, number))


async def cancel(scene: Scene, row: asyncpg.Record) -> int:
    """Let an order go. Returns the status."""
    return (await _ask(scene, row, "cancellation")).status_code


async def ask_to_pay(scene: Scene, row: asyncpg.Record) -> dict[str, Any] | None:
    """A payment for an order, or None when it can't be paid."""
    answer = await _ask(scene, row, "payment")
    return answer.json() if answer.status_code == httpx.codes.CREATED else None


async def _ask(scene: Scene, row: asyncpg.Record, verb: str) -> httpx.Response:
    claims = {"sub": row["fan"], "exp": int(now_s()) + _HOUR_S}
    token = jwt.encode(claims, scene.settings.jwt_key, algorithm="HS256")
    async with httpx.AsyncClient(timeout=10) as client:
        return await post(
            client, f"{scene.base_url}/api/v1/orders/{row['order_id']}/{verb}", {"authorization": f"Bearer {token}"}
        )


async def post(client: httpx.AsyncClient, url: str, headers: dict[str, str], body: bytes = b"") -> httpx.Response:
    """Post until there is an answer: another fault may just have killed the api, and all that is sent here may be
    repeated. Raises FlashsaleError when none comes for long."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return await client.post(url, content=body, headers=headers)
        except httpx.TransportError as trouble:
            if time.monotonic() > deadline:
                raise FlashsaleError(f"the api did not answer {url} for {_PATIENCE_S:.0f} s: {trouble!r}") from trouble
        await asyncio.sleep(_AGAIN_S)
