"""flashsale bench: measures the engine against references that run in turn beside it, on servers of its own.

An absolute figure from a small shared machine says little, so each comes with a reference from the same run, the
ratio of the two, and the conditions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from flashsale.bench import conditions, crowded, edge, engine, http, lane, levels, memory, scale, writer
from flashsale.bench.ground import Ground, own_ground
from flashsale.bench.report import Metric, Report, print_report
from flashsale.errors import BadInputError

__all__ = ["ROUNDS", "SUITES", "Report", "print_report", "run"]

ROUNDS: Final = 5


class Suite(Protocol):
    """Measures, on that ground, in so many rounds; tells now and then where it is."""

    async def __call__(self, ground: Ground, *, rounds: int, on_progress: Callable[[str], None]) -> list[Metric]: ...


SUITES: Final[Mapping[str, Suite]] = {
    "http": http.run,
    "lane": lane.run,
    "edge": edge.run,
    "engine": engine.run,
    "writer": writer.run,
    "memory": memory.run,
    "scale": scale.run,
    "crowded": crowded.run,
    "levels": levels.run,
    "levels_cluster": levels.run_on_cluster,
}
_ON_A_CLUSTER: Final = {"levels_cluster"}


async def run(suites: Sequence[str], *, rounds: int = ROUNDS, on_progress: Callable[[str], None]) -> Report:
    """Run these suites, each on fresh servers, and report. By default up to a minute a suite; two for one of levels,
    some for crowded.

    Raises BadInputError for an unknown suite or a number of rounds below 1, SurroundingsError when a server would
    not start, InvariantError when what was measured gave a wrong answer. Nothing is left behind.
    """
    check(suites, rounds=rounds)
    metrics: list[Metric] = []
    said: dict[str, Any] = {}
    for name in dict.fromkeys(suites):
        on_progress(f"{name}: starting servers")
        async with own_ground(cluster=name in _ON_A_CLUSTER) as ground:
            said = said or await conditions.of_ground(ground)
            metrics += await SUITES[name](ground, rounds=rounds, on_progress=on_progress)
    return Report(metrics, said)


def check(suites: Sequence[str], *, rounds: int) -> None:
    """Raises BadInputError for what can't be run, before anything is started."""
    known = ", ".join(SUITES)
    if not suites:
        raise BadInputError(f"Name at least one suite: {known}.")
    for name in suites:
        if name not in SUITES:
            raise BadInputError(f"There is no suite {name}. Known are: {known}.")
    if rounds < 1:
        raise BadInputError(f"--rounds: must be 1 or more, not {rounds}")
