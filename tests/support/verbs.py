"""The scripts as a test calls them: straight, so that a deliberately broken text can take a script's place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flashsale import scripts
from flashsale.keys import Bucket
from flashsale.outbox import BuyerLine, parse_lines
from flashsale.outcomes import Effect, Outcome
from flashsale.scripts import Script
from flashsale.stores import Client

Code = Outcome | Effect
Told = tuple[Code, int | str]


def code(number: int) -> Code:
    """The outcome or effect of that number."""
    return Outcome(number) if number in {int(outcome) for outcome in Outcome} else Effect(number)


@dataclass(frozen=True, slots=True)
class Verbs:
    """All verbs over one bucket. script: gives the script of a name; broken ones, if a test wants that."""

    redis: Client
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

    async def give_back(self, item: str, *returned: tuple[str, str], place: str = "free") -> list[Code]:
        """Give units back: order, fan. place: free, or hold."""
        at = self.script("give_back").at([self.bucket.counts_key, self.bucket.buyers_key, self.bucket.free_key(item)])
        reply = await at(self.redis, item, place, *(f"{order} {fan}" for order, fan in returned))
        return [code(number) for number in reply]

    async def replace_unit(
        self, item: str, line: str, *tried: int, accepted_ms: int = 1_764_000_000_000
    ) -> tuple[Code, int]:
        """Give the order of this attempt's line another unit than those tried: the code, and its unit."""
        b = self.bucket
        keys = [b.sale_key, b.counts_key, b.buyers_key, b.outbox_key, b.free_key(item)]
        number, unit = await self.script("replace_unit").at(keys)(
            self.redis, item, *line.split(" "), accepted_ms, *tried
        )
        return code(number), unit

    async def end_line(self, item: str, order: str, fan: str, unit: int) -> Code:
        """End the line of an order whose unit is another order's."""
        at = self.script("end_line").at([self.bucket.counts_key, self.bucket.buyers_key, self.bucket.free_key(item)])
        return code(await at(self.redis, item, order, fan, unit))

    async def add_stock(self, item: str, load: str, first: int, last: int) -> Code:
        """Add a range of units."""
        at = self.script("add_stock").at([self.bucket.counts_key, self.bucket.loads_key, self.bucket.free_key(item)])
        return code(await at(self.redis, item, load, first, last))

    async def redeem(self, item: str, batch: int, *lines: str) -> list[Told]:
        """Decide attempts by codes of a batch: code and detail of each."""
        b = self.bucket
        keys = [b.sale_key, b.counts_key, b.buyers_key, b.outbox_key, b.free_key(item), b.spent_key(batch)]
        reply = await self.script("redeem").at(keys)(self.redis, item, batch, *lines)
        details = [detail.decode() if isinstance(detail, bytes) else detail for detail in reply[2::2]]
        return [(code(number), detail) for number, detail in zip(reply[1::2], details, strict=True)]

    async def set_batch(
        self, batch: int, *, generation: str, version: str = "1", terms: Sequence[int | str] = (0, 10**15, 0)
    ) -> Code:
        """Tell the terms of a batch: from when, to when, whether released."""
        at = self.script("set_batch").at([self.bucket.sale_key])
        return code(await at(self.redis, generation, batch, version, *terms))

    async def rebuild_codes(self, fence: str, batch: int, *serials: str | int) -> Code:
        """Write which codes are spent."""
        at = self.script("rebuild_codes").at([self.bucket.counts_key, self.bucket.spent_key(batch)])
        return code(await at(self.redis, fence, *serials))

    async def take_units(
        self, item: str, to: int, units: int, ranges_max: int = 100, *, moves: int = -1
    ) -> tuple[int, str, int, str]:
        """Take units out for another bucket: number, item, to, ranges."""
        b = self.bucket
        at = self.script("take_units").at([b.counts_key, b.transfers_key, b.free_key(item)])
        number, its_item, its_to, ranges = await at(self.redis, item, to, units, ranges_max, moves)
        return int(number), its_item.decode(), int(its_to), ranges.decode()

    async def put_units(self, source: int, number: int, item: str, ranges: str) -> Code:
        """Add units that come from another bucket."""
        b = self.bucket
        at = self.script("put_units").at([b.sale_key, b.counts_key, b.received_key, b.free_key(item)])
        return code(await at(self.redis, source, number, item, ranges))

    async def end_transfer(self, number: int) -> Code:
        """Forget a transfer that has come in."""
        at = self.script("end_transfer").at([self.bucket.counts_key, self.bucket.transfers_key])
        return code(await at(self.redis, number))

    async def skip_transfers(self, source: int | str, number: int | str) -> Code:
        """Let transfers from another bucket come in only above a number."""
        return code(await self.script("skip_transfers").at([self.bucket.received_key])(self.redis, source, number))

    async def fence(self, fence: str) -> Code:
        """Put a fence up."""
        return code(await self.script("fence").at([self.bucket.counts_key])(self.redis, fence))

    async def empty_bucket(self, fence: str, items: Sequence[str], *received: int | str) -> Code:
        """Take everything out. received: pairs of another bucket and the number of a transfer."""
        b = self.bucket
        keys = [b.counts_key, b.buyers_key, b.transfers_key, b.loads_key, b.received_key, *map(b.free_key, items)]
        return code(await self.script("empty_bucket").at(keys)(self.redis, fence, *received))

    async def rebuild_buyers(self, fence: str, *fan_lines: str) -> Code:
        """Write lines of fans."""
        at = self.script("rebuild_buyers").at([self.bucket.counts_key, self.bucket.buyers_key])
        return code(await at(self.redis, fence, *fan_lines))

    async def rebuild_loads(self, fence: str, *loads: str) -> Code:
        """Write ids of loads."""
        at = self.script("rebuild_loads").at([self.bucket.counts_key, self.bucket.loads_key])
        return code(await at(self.redis, fence, *loads))

    async def rebuild_free(self, fence: str, item: str, length: int, *ranges: str) -> Code:
        """Write free ranges."""
        at = self.script("rebuild_free").at([self.bucket.counts_key, self.bucket.free_key(item)])
        return code(await at(self.redis, fence, length, *ranges))

    async def unfence(self, fence: str, **counts: int) -> Code:
        """Set counts and take the fence down."""
        words = [word for name, value in counts.items() for word in (name, value)]
        return code(await self.script("unfence").at([self.bucket.counts_key])(self.redis, fence, *words))

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

    async def witness(self, *fans: str) -> list[list[BuyerLine]]:
        """What the bucket remembers of each fan."""
        at = self.script("witness").at([self.bucket.counts_key, self.bucket.buyers_key])
        return [parse_lines(lines) if lines else [] for lines in await at(self.redis, *fans)]

    async def mark_memory(self, *, short: bool) -> Code:
        """Mark that the server is short of memory, or that there is room again."""
        at = self.script("mark_memory").at([self.bucket.sale_key, self.bucket.counts_key])
        return code(await at(self.redis, int(short)))

    async def lease(self, holder: str, lease_ms: int = 60_000) -> bool:
        """Take or renew the lease."""
        at = self.script("lease").at([self.bucket.lease_key])
        return bool(await at(self.redis, holder, lease_ms))
