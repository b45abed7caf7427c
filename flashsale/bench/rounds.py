"""Rounds: what is compared runs in turn (A B A B …), because a small shared machine is never equally fast twice.

A ratio of medians over such rounds means something where a single figure does not.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter


@dataclass(frozen=True, slots=True)
class Run:
    """What one contender did in one round. cpu_s: of the processes that the suite is about; None where the system
    doesn't tell."""

    operations: int
    seconds: float
    cpu_s: float | None

    @property
    def rate(self) -> float:
        """Operations per second by the wall clock."""
        return self.operations / self.seconds

    @property
    def cpu_us(self) -> float | None:
        """Microseconds of CPU per operation."""
        return None if self.cpu_s is None else self.cpu_s / self.operations * 1e6


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those compared. once: makes ready, does the work of one round, and times only the work."""

    name: str
    once: Callable[[], Awaitable[Run]]


async def timed(work: Callable[[], Awaitable[int]], *, cpu_s: Callable[[], float | None]) -> Run:
    """Do the work and time it. work: returns how many operations it did. cpu_s: a clock that counts CPU seconds."""
    cpu_before, before = cpu_s(), perf_counter()
    operations = await work()
    seconds, cpu_after = perf_counter() - before, cpu_s()
    spent = None if cpu_before is None or cpu_after is None else cpu_after - cpu_before
    return Run(operations, seconds, spent)


async def interleaved(
    contenders: Sequence[Contender], *, rounds: int, on_progress: Callable[[str], None], warm_up: bool = True
) -> Mapping[str, Sequence[Run]]:
    """Run all contenders in turn, so many rounds; the runs by contender's name, in order.

    warm_up: one more round before them is thrown away.
    """
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(0 if warm_up else 1, rounds + 1):
        for contender in contenders:
            on_progress(f"{f'round {number} of {rounds}' if number else 'warm-up'}: {contender.name}")
            run = await contender.once()
            if number:
                runs[contender.name].append(run)
    return runs


def median_rate(runs: Sequence[Run]) -> float:
    """The median of the rounds' operations per second."""
    return median(run.rate for run in runs)


def median_cpu_us(runs: Sequence[Run]) -> float | None:
    """The median of the rounds' CPU microseconds per operation; None when any of them has none."""
    spent = [run.cpu_us for run in runs if run.cpu_us is not None]
    return median(spent) if spent and len(spent) == len(runs) else None


def ratios(ours: Sequence[Run], reference: Sequence[Run]) -> list[float]:
    """Round by round, our rate over the reference's: how far the ratio moved tells how noisy the machine was."""
    return [one.rate / other.rate for one, other in zip(ours, reference, strict=True)]


def cpu_ratios(ours: Sequence[Run], reference: Sequence[Run]) -> list[float]:
    """The same of CPU per operation; empty where the system doesn't tell."""
    pairs = [(one.cpu_us, other.cpu_us) for one, other in zip(ours, reference, strict=True)]
    return [one / other for one, other in pairs if one is not None and other]


def busy(runs: Sequence[Run]) -> float | None:
    """The median share of a core that the work took. Well below 1 means that something else held it back: the
    generator, or others on the machine; then the CPU figures say more than the rates."""
    shares = [run.cpu_s / run.seconds for run in runs if run.cpu_s is not None]
    return round(median(shares), 2) if shares else None
