"""Suite crowded: a Valkey that holds the whole list of a great day, against one that holds none of it.

All fans of the list reserve for real, by the script, in batches; their bytes are told beside those of a plain SET of
names. Then the same attempts win in both, in turn. It takes some minutes and about a gigabyte.
"""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final

from flashsale import outbox, reservation, stock
from flashsale.bench.ground import BATCH, FAN_LENGTH, ITEM, Ground, attempts, cut, fans, own_ground, purchase_at
from flashsale.bench.processes import cpu_s, pin, pinned_here, two_cores
from flashsale.bench.report import Metric, compared
from flashsale.bench.rounds import Contender, Run, interleaved, timed
from flashsale.errors import InvariantError
from flashsale.limits import OUTBOX_ENTRIES_PER_READ
from flashsale.outcomes import Outcome
from flashsale.sale import Sale

FANS: Final = 15_000_000
ATTEMPTS: Final = 100_000
CROWDED: Final = "with the whole list"
EMPTY: Final = "with no list"
_PER_CALL: Final = 500
_TOLD_EVERY: Final = 250_000
_PLAIN: Final = 200_000


class Wins:
    """Wins in a sale that is open all the time. Each round's fans are new."""

    def __init__(self, ground: Ground, sale: Sale, lines: Sequence[str]) -> None:
        self._ground = ground
        self._bucket = sale.all_buckets[0]
        self._lines = lines
        self._rounds = 0

    async def once(self) -> Run:
        """All attempts, in batches, one call after the other."""
        redis, script = self._ground.redis, purchase_at(self._bucket)
        self._rounds += 1
        batches = cut([_renewed(line, self._rounds) for line in self._lines], BATCH)

        async def all_of_it() -> int:
            for batch in batches:
                reply = await script(redis, ITEM, *batch)
                if reply[1::2].count(Outcome.WON) != len(batch):
                    raise InvariantError(f"all {len(batch)} must win; the script told {reply!r:.200}")
            return len(self._lines)

        run = await timed(all_of_it, cpu_s=lambda: cpu_s([self._ground.valkey_pid]))
        while entries := await outbox.read(redis, self._bucket, after="0", count=OUTBOX_ENTRIES_PER_READ):
            await outbox.trim(redis, self._bucket, entries)
        return run


def _renewed(line: str, number: int) -> str:
    """The same attempt of another fan, with another order."""
    order, key, fan, channel, lane = line.split(" ")
    return f"{number:04x}{order[4:]} {key} {number:03d}{fan[3:]} {channel} {lane}"


async def run(
    ground: Ground, *, rounds: int, on_progress: Callable[[str], None], number: int = FANS, each: int = ATTEMPTS
) -> list[Metric]:
    """Bytes of a reservation in the whole list, and wins beside it against wins without it."""
    cores = two_cores()
    units = each * (rounds + 1)
    async with own_ground() as other:
        for one in (ground, other):
            pin(one.valkey_pid, cores.loading)
        with pinned_here(cores.measured):
            empty = await other.open_sale("crowded", units=units)
            whole = await ground.open_sale("crowded", units=units, reserved=number)
            listed, seconds = await _reserve(ground, whole, number, on_progress)
            plain = await _plain_bytes(other)
            lines = attempts(each)
            contenders = [
                Contender(CROWDED, Wins(ground, whole, lines).once),
                Contender(EMPTY, Wins(other, empty, lines).once),
            ]
            runs = await interleaved(
                contenders, rounds=rounds, on_progress=lambda what: on_progress(f"crowded, {what}")
            )
    said = {
        "fans": number,
        "id_length": FAN_LENGTH,
        "reserved_per_s": round(number / seconds),
        "reserved_s": round(seconds, 1),
        "cpu": "Valkey's",
        "cores": "client on one, both Valkeys on another" if cores.pinned else "not pinned",
    }
    figures = (listed, "bytes", "plain SET of ids", plain, listed / plain)
    return [
        Metric("crowded", "reservation", *figures, 1, said),
        *compared(
            "crowded", "wins", ours=runs[CROWDED], reference=runs[EMPTY], reference_name=EMPTY, unit="wins/s",
            conditions=said,
        ),
    ]  # fmt: skip


async def _reserve(ground: Ground, sale: Sale, number: int, on_progress: Callable[[str], None]) -> tuple[float, float]:
    """Put all of them into the list. Bytes for each, and how many seconds it took."""
    bucket, slices = sale.all_buckets[0], stock.slices_of(sale)
    before, began = await ground.used_bytes(), perf_counter()
    for first in range(0, number, _PER_CALL):
        if first % _TOLD_EVERY == 0:
            on_progress(f"crowded, reserving: {first:,} of {number:,}")
        names = fans(min(_PER_CALL, number - first), first=first)
        answers = await reservation.reserve(
            ground.redis,
            bucket=bucket,
            slices=slices,
            channels=len(sale.channels),
            requests=[reservation.Request(fan, 0) for fan in names],
        )
        if any(answer.outcome is not Outcome.RESERVED for answer in answers):
            raise InvariantError("a reservation was refused although there was room")
    seconds = perf_counter() - began
    counted = (await stock.facts(ground.redis, [bucket]))[0].reserved
    # Two fans may share a hash: once in some hundred such lists.
    if not number - 2 <= counted <= number:
        raise InvariantError(f"{counted} are in the list after {number} have reserved")
    return (await ground.used_bytes() - before) / number, seconds


async def _plain_bytes(ground: Ground) -> float:
    """Bytes for each name in a plain set of a part of them."""
    before = await ground.used_bytes()
    for batch in cut(fans(_PLAIN), _PER_CALL):
        await ground.redis.execute_command("SADD", "bench:plain", *batch)
    each = (await ground.used_bytes() - before) / _PLAIN
    await ground.redis.delete("bench:plain")
    return each
