"""F11: entries that can't be stored, put into the outbox among the others."""

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from flashsale.clock import now_ms
from flashsale.purchase import attempt_line, new_order
from flashsale.queries import query
from flashsale.scripts import build
from loadtest.faults.base import After, Fault
from loadtest.faults.scene import Scene

_FAN = "nobody-of-ours"
_ITEM = "nothing-of-ours"
_SEEN_S = 20.0
# Counted and added in one step, as purchase does it.
_PUT = build(
    "put_in",
    """#!lua
-- KEYS: counts outbox
-- ARGV: orders word...
-- RETURNS: entry
redis.call('HINCRBY', KEYS[1], 'outbox', ARGV[1])
return redis.call('XADD', KEYS[2], '*', unpack(ARGV, 2))
""",
)


class BadEntries(Fault):
    """One entry that nobody can read, and one of an item that the sale has not."""

    name = "F11"
    words = "entries that can't be stored"
    set_aside = 2
    resumes = False
    broken: ClassVar[Mapping[str, str]] = {"at_ms": "noon", "what": "is this"}

    async def inject(self, scene: Scene) -> None:
        """Put both in, and wait until they are out of the way."""
        attempt = attempt_line(order=new_order(), key="0" * 16, fan=_FAN, channel="web", lane="public")
        refused = {"at_ms": str(now_ms()), "item": _ITEM, attempt: "1"}
        before = await scene.patiently(scene.landed, what="looking at orders")
        self.set_aside = self.observed["put_in"] = 0
        for fields in (dict(self.broken), refused):
            await scene.patiently(lambda fields=fields: self._put(scene, fields), what="putting in an entry")  # type: ignore[misc]
        self.observed["known_after_s"] = None
        began = asyncio.get_running_loop().time()
        if await scene.until(lambda: _both_known(scene), within_s=_SEEN_S):
            self.observed["known_after_s"] = round(asyncio.get_running_loop().time() - began, 2)
        await scene.until(lambda: _landed(scene, before), within_s=10)
        self.observed["landed_meanwhile"] = await scene.patiently(scene.landed, what="looking at orders") - before
        self.observed["set_aside"] = await scene.patiently(lambda: _reasons(scene), what="looking at what is set aside")

    async def _put(self, scene: Scene, fields: dict[str, str]) -> None:
        """One more entry. One whose reply is lost is put in again, so there may be one more than were meant."""
        bucket = scene.sale.all_buckets[0]
        self.set_aside += 1
        words = [word for pair in fields.items() for word in pair]
        put_in = _PUT.at([bucket.counts_key, bucket.outbox_key])
        await put_in(scene.both.redis, max(0, len(fields) - 2), *words)
        self.observed["put_in"] += 1

    def seen_to_work(self) -> int:
        """How many came to be known as what can't be stored."""
        return len(self.observed["set_aside"])

    def reasons(self, after: After) -> list[str]:
        """Both are set aside with a reason, and the others pass."""
        found = []
        if len(self.observed["set_aside"]) < self.observed["put_in"]:
            found.append(
                f"{self.observed['put_in']} entries could not be stored, set aside are {self.observed['set_aside']}"
            )
        if not self.observed["landed_meanwhile"]:
            found.append("nothing else landed meanwhile")
        return found


async def _both_known(scene: Scene) -> bool:
    return len(await _reasons(scene)) >= BadEntries.set_aside


async def _reasons(scene: Scene) -> list[str]:
    """Why entries were set aside."""
    async with scene.both.postgres.acquire() as connection:
        found = await connection.fetch(query("verdict", "set_aside_contents"), scene.sale.sale)
    return [row["reason"] for row in found]


async def _landed(scene: Scene, before: int) -> bool:
    return await scene.landed() > before
