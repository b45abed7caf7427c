"""Suite engine: decisions of the purchase script, many attempts a call against one call for each.

The script, the server, the client library and the attempts are the same on both sides; only how many attempts go
with one call differs. Valkey's own CPU per decision tells what the server saves, whatever the client costs.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flashsale import limits
from flashsale.bench.ground import BATCH, ITEM, SEED, Ground, attempts, cut, purchase_at
from flashsale.bench.processes import cpu_s, pin, pinned_here, two_cores
from flashsale.bench.report import Metric, compared
from flashsale.bench.rounds import Contender, Run, interleaved, timed
from flashsale.errors import InvariantError
from flashsale.outcomes import Outcome
from flashsale.scripts import ScriptAt

PIPELINED: Final = 32
CONNECTIONS: Final = 64
_BATCHES: Final = f"batches of {BATCH}"
_ONE_EACH: Final = f"one EVALSHA each on {CONNECTIONS} connections"
_PIPELINED: Final = f"one EVALSHA each, pipelined by {PIPELINED}"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many attempts each contender makes in a round; chosen so that each takes about half a second."""

    batched: int = 100_000
    one_each: int = 10_000
    pipelined: int = 12_000


class Decisions:
    """Makes ready and does the work of each contender. outcome: what every attempt must get."""

    def __init__(self, ground: Ground, *, outcome: Outcome, sizes: Sizes) -> None:
        self._ground = ground
        self._outcome = outcome
        self._lines = attempts(max(sizes.batched, sizes.one_each, sizes.pipelined))
        self._sales = 0
        self._sizes = sizes

    def contenders(self) -> list[Contender]:
        """Batches, one call each, one call each pipelined."""
        return [
            Contender(_BATCHES, lambda: self._once(self._batches, self._sizes.batched)),
            Contender(_ONE_EACH, lambda: self._once(self._one_each, self._sizes.one_each)),
            Contender(_PIPELINED, lambda: self._once(self._pipelined, self._sizes.pipelined)),
        ]

    async def _once(self, work: Callable[[ScriptAt, Sequence[str]], Awaitable[None]], number: int) -> Run:
        self._sales += 1
        units = number if self._outcome is Outcome.WON else 0
        sale = await self._ground.open_sale(
            f"{self._outcome.name.lower().replace('_', '-')}-{self._sales}", units=units
        )
        script = purchase_at(sale.all_buckets[0])
        await self._ground.redis.script_load(script.script.text)

        async def all_of_it() -> int:
            await work(script, self._lines[:number])
            return number

        return await timed(all_of_it, cpu_s=lambda: cpu_s([self._ground.valkey_pid]))

    async def _batches(self, script: ScriptAt, lines: Sequence[str]) -> None:
        """As the coalescer does: a few calls in flight."""

        async def caller(batches: Iterator[Sequence[str]]) -> None:
            for batch in batches:
                self._check(await script(self._ground.redis, ITEM, *batch), len(batch))

        batches = iter(cut(lines, BATCH))
        await asyncio.gather(*(caller(batches) for _ in range(limits.CALLS_IN_FLIGHT_MAX)))

    async def _one_each(self, script: ScriptAt, lines: Sequence[str]) -> None:
        """As many calls in flight as there are connections, so that it isn't the round trip that is measured."""

        async def caller(ones: Iterator[str]) -> None:
            for line in ones:
                self._check(await script(self._ground.redis, ITEM, line), 1)

        ones = iter(lines)
        await asyncio.gather(*(caller(ones) for _ in range(CONNECTIONS)))

    async def _pipelined(self, script: ScriptAt, lines: Sequence[str]) -> None:
        async def caller(batches: Iterator[Sequence[str]]) -> None:
            for batch in batches:
                async with self._ground.redis.pipeline(transaction=False) as pipe:
                    for line in batch:
                        await script(pipe, ITEM, line)
                    for reply in await pipe.execute():
                        self._check(reply, 1)

        batches = iter(cut(lines, PIPELINED))
        await asyncio.gather(*(caller(batches) for _ in range(limits.CALLS_IN_FLIGHT_MAX)))

    def _check(self, reply: Sequence[Any], number: int) -> None:
        """A fast wrong answer is not measured."""
        if reply[1::2].count(self._outcome) != number:
            raise InvariantError(f"{number} attempts must all get {self._outcome.name}; the script told {reply!r:.200}")


async def run(
    ground: Ground, *, rounds: int, on_progress: Callable[[str], None], sizes: Sizes | None = None
) -> list[Metric]:
    """Wins and losses, each against one call each and against those pipelined."""
    cores = two_cores()
    pin(ground.valkey_pid, cores.loading)
    metrics = []
    with pinned_here(cores.measured):
        for name, outcome in (("wins", Outcome.WON), ("losses", Outcome.SOLD_OUT)):
            decisions = Decisions(ground, outcome=outcome, sizes=sizes or Sizes())

            def tell(what: str, name: str = name) -> None:
                on_progress(f"engine.{name}, {what}")

            runs = await interleaved(decisions.contenders(), rounds=rounds, on_progress=tell)
            for suffix, reference in (("", _ONE_EACH), ("_pipelined", _PIPELINED)):
                metrics += compared(
                    "engine", f"{name}{suffix}", ours=runs[_BATCHES], reference=runs[reference],
                    reference_name=reference, unit=f"{name}/s" if name == "wins" else "decisions/s",
                    conditions=_conditions(pinned=cores.pinned),
                )  # fmt: skip
    return metrics


def _conditions(*, pinned: bool) -> dict[str, Any]:
    return {
        "client": "redis-py in this process",
        "loop": f"closed, {limits.CALLS_IN_FLIGHT_MAX} calls in flight for batches and pipelines",
        "cores": "client on one, Valkey on another" if pinned else f"not pinned, {os.cpu_count()} there",
        "cpu": "Valkey's",
        "seed": SEED,
    }
