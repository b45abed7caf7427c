"""Rebuilds one bucket behind its fence: everything out, then what is known elsewhere in, then the fence falls.

Whoever fences a bucket later owns it: the writes of an earlier owner are refused, so that two recoveries, or one that
was only slow, can't mix. Nothing here is sent twice by itself; a recovery that meets trouble begins again with a new
fence.
"""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flashsale import limits, scripts
from flashsale.errors import StateError
from flashsale.keys import Bucket
from flashsale.outcomes import Effect
from flashsale.scripts import Commands

# A fence is a number, as all that the counts hold; so many bits are exact wherever it is read.
_FENCE_BITS: Final = 53
Ranges = Sequence[tuple[int, int]]


class FenceLostError(StateError):
    """The fence is another's by now, or fell: somebody recovers the same bucket, or its server changed."""


def new_fence() -> str:
    """A fence that nobody else has."""
    return str(secrets.randbits(_FENCE_BITS))


@dataclass(frozen=True, slots=True)
class Fenced:
    """A bucket behind a fence, with the scripts that write there. Raises FenceLostError once the fence is not ours."""

    commands: Commands
    bucket: Bucket
    fence: str

    async def close(self) -> None:
        """Put the fence up: from here on nothing is sold, and no unit comes or goes."""
        await scripts.load("fence").at([self.bucket.counts_key])(self.commands, self.fence)

    async def empty(self, items: Sequence[str], batches: Sequence[int], *, received: Mapping[int, int]) -> None:
        """Take everything out. received: by bucket, the last transfer from there that is not to come in any more."""
        b = self.bucket
        keys = [b.counts_key, b.buyers_key, b.transfers_key, b.loads_key, b.received_key, *map(b.free_key, items)]
        keys += map(b.spent_key, batches)
        pairs = [number for pair in received.items() for number in pair]
        await self._write("empty_bucket", keys, *pairs)

    async def add_buyers(self, fan_lines: AsyncIterator[tuple[str, str]]) -> int:
        """Write the lines of fans. Returns how many fans."""
        fans, part = 0, list[str]()
        async for fan, lines in fan_lines:
            fans += 1
            part += (fan, lines)
            if len(part) >= 2 * limits.FANS_PER_REBUILD:
                await self._write("rebuild_buyers", [self.bucket.counts_key, self.bucket.buyers_key], *part)
                part.clear()
        if part:
            await self._write("rebuild_buyers", [self.bucket.counts_key, self.bucket.buyers_key], *part)
        return fans

    async def add_codes(self, batch: int, serials: Sequence[int]) -> None:
        """Write which codes of a batch, by serial, are spent."""
        b = self.bucket
        for at in range(0, len(serials), limits.FANS_PER_REBUILD):
            part = serials[at : at + limits.FANS_PER_REBUILD]
            await self._write("rebuild_codes", [b.counts_key, b.spent_key(batch)], *part)

    async def add_loads(self, loads: Sequence[str]) -> None:
        """Write the loads that are not to be applied again."""
        for at in range(0, len(loads), limits.FANS_PER_REBUILD):
            part = loads[at : at + limits.FANS_PER_REBUILD]
            await self._write("rebuild_loads", [self.bucket.counts_key, self.bucket.loads_key], *part)

    async def add_free(self, item: str, ranges: Ranges) -> None:
        """Write the free units of an item."""
        for at in range(0, len(ranges), limits.FANS_PER_REBUILD):
            part = [f"{first}-{last}" for first, last in ranges[at : at + limits.FANS_PER_REBUILD]]
            await self._write("rebuild_free", [self.bucket.counts_key, self.bucket.free_key(item)], at, *part)

    async def open(self, counts: Mapping[str, int]) -> None:
        """Set the counts and take the fence down."""
        await self._write("unfence", [self.bucket.counts_key], *(word for pair in counts.items() for word in pair))

    async def _write(self, name: str, keys: Sequence[str], *args: str | int) -> None:
        effect = Effect(await scripts.load(name).at(keys)(self.commands, self.fence, *args))
        if effect is not Effect.APPLIED:
            raise FenceLostError(
                f"Another recovery of bucket {self.bucket.number} of {self.bucket.sale} began meanwhile, or its server "
                f"changed. Look again: flashsale recover {self.bucket.sale} --dry-run"
            )
