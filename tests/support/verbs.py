"""The scripts as a test calls them: straight, so that a deliberately broken text can take a script's place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from flashsale import scripts
from flashsale.keys import Bucket
from flashsale.outcomes import Effect, Outcome
from flashsale.scripts import Script

Code = Outcome | Effect
Told = tuple[Code, int | str]


def code(number: int) -> Code:
    """The outcome or effect of that number."""
    return Outcome(number) if number in {int(outcome) for outcome in Outcome} else Effect(number)


@dataclass(frozen=True, slots=True)
class Verbs:
    """All verbs over one bucket. script: gives the script of a name; broken ones, if a test wants that."""

    redis: Redis
    bucket: Bucket
    script: Callable[[str], Script] = scripts.load

    async def purchase(self, item: str, lines: Sequence[str]) -> tuple[int, list[Told]]:
        """Decide a batch. The bucket's time in ms, then code and detail of each attempt."""
        b = self.bucket
        at = self.script("purchase").at([b.sale_key, b.counts_key, b.buyers_key, b.outbox_key, b.free_key(item)])
        reply = await at(self.redis, item, *lines)
        details = [detail.decode() if isinstance(detail, bytes) else detail for detail in reply[2::2]]
        return reply[0], [(code(number), detail) for number, detail in zip(reply[1::2], details, strict=True)]

    async def press(self, item: str, *lines: str) -> list[Code]:
        """Decide a batch; only the codes."""
        return [told for told, _ in (await self.purchase(item, lines))[1]]

    async def give_back(self, item: str, *returned: tuple[str, str]) -> list[Code]:
        """Give units back: order, fan."""
        at = self.script("give_back").at([self.bucket.counts_key, self.bucket.buyers_key, self.bucket.free_key(item)])
        reply = await at(self.redis, item, *(f"{order} {fan}" for order, fan in returned))
        return [code(number) for number in reply]

    async def add_stock(self, item: str, load: str, first: int, last: int) -> Code:
        """Add a range of units."""
        at = self.script("add_stock").at([self.bucket.counts_key, self.bucket.loads_key, self.bucket.free_key(item)])
        return code(await at(self.redis, item, load, first, last))

    async def trim(self, *entries: tuple[str, int]) -> int:
        """Take entries out: id, orders."""
        at = self.script("trim").at([self.bucket.counts_key, self.bucket.outbox_key])
        return int(await at(self.redis, *(word for entry in entries for word in entry)))

    async def reserve(self, slices: Sequence[int], channels: int, *requests: tuple[int, int]) -> list[tuple[Code, int]]:
        """Reserve hashes: hash and channel number of each, in the slice beside it."""
        keys = [self.bucket.sale_key, self.bucket.counts_key, *map(self.bucket.reserved_key, slices)]
        reply = await self.script("reserve").at(keys)(self.redis, channels, *(f"{one} {way}" for one, way in requests))
        return [(code(number), way) for number, way in zip(reply[::2], reply[1::2], strict=True)]

    async def set_sale(self, *, create: bool, generation: str, version: int, **fields: str | int) -> Code:
        """Write what the scripts need of the plan."""
        words = [word for name, value in fields.items() for word in (name, value)]
        at = self.script("set_sale").at([self.bucket.sale_key])
        return code(await at(self.redis, int(create), generation, version, *words))

    async def lease(self, holder: str, lease_ms: int = 60_000) -> bool:
        """Take or renew the lease."""
        at = self.script("lease").at([self.bucket.lease_key])
        return bool(await at(self.redis, holder, lease_ms))
