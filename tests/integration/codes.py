"""F-codes in a shop's tests: ops make and export them, fans send them."""

from typing import Any, Final

import httpx

from flashsale import clock
from flashsale.batch import Batch, Terms
from flashsale.identity import code_keys_of
from flashsale.issuing import Issuing
from tests.integration.shop import BASE, Shop
from tests.support.waiting import soon

HOUR_MS: Final = 3_600_000


def issuing(shop: Shop) -> Issuing:
    """What ops do with codes."""
    ops = shop.operations
    return Issuing(redis=ops.redis, postgres=ops.postgres, keys=code_keys_of(shop.settings), actor="ops")


async def batch_of(shop: Shop, number: int, **changed: Any) -> Batch:
    """A batch of so many codes for silver; changed: its terms."""
    now_ms = clock.now_ms()
    terms: dict[str, Any] = {
        "codes": {"silver": number}, "tag": "vips", "channel": "wechat", "valid_ms": now_ms - HOUR_MS,
        "expires_ms": now_ms + HOUR_MS // 2, "release_ms": None,
    } | changed  # fmt: skip
    return await issuing(shop).create(shop.sale, Terms(**terms))


async def exported(shop: Shop, made: Batch, codes: int | None = None) -> list[str]:
    """Its codes, given out."""
    ops = issuing(shop)
    return [text for text, _ in ops.codes_of(await ops.take(made.batch, codes))]


async def redeem(shop: Shop, fan: str, code: str) -> httpx.Response:
    """A fan sends a code. A process that has not heard of its batch is asked again."""
    answers: list[httpx.Response] = []

    async def is_known() -> bool:
        answers.append(await shop.client.post(f"{BASE}/fcodes/redeem", headers=shop.bearer(fan), json={"code": code}))
        return bool(answers[-1].json().get("outcome") != "UNAVAILABLE")

    await soon(is_known, what="the batch is known")
    return answers[-1]


async def balanced(shop: Shop) -> bool:
    """Whether the audit balances."""
    return (await shop.audited()).balanced
