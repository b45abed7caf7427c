"""Every fault once, single and cluster, as a table: `make faults`, or python -m loadtest.faults --only F5,F7 --seed 3.

One run each, with servers of its own; a fault that fails does not keep the others from their turn. Exit status 1 when
one has failed.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Final

import orjson
from rich.console import Console

from flashsale.errors import BadInputError
from loadtest.faults.base import CLUSTER, SINGLE
from loadtest.faults.catalogue import FAULTS
from loadtest.faults.runs import play, seeds_of, shown
from loadtest.rehearsal import Options

SCENARIO: Final = "faults"
REPLICATED_TOO: Final = ("F5", "F5-lag")
LEFT_OUT: Final = (  # no other than on one Valkey, or than being killed there; it saves a minute and a half
    ("stop-api", CLUSTER), ("stop-worker", CLUSTER), ("stop-postgres", CLUSTER),
)  # fmt: skip


def runs(only: Sequence[str], *, topology: str | None = None, seeds: Sequence[int] = (1,)) -> list[Options]:
    """Each fault at each topology that it can hurt, and the death of a primary at the level replicated too."""
    unknown = sorted(set(only) - FAULTS.keys())
    if unknown:
        raise BadInputError(f"--only: there is no fault {', '.join(unknown)}. There are: {', '.join(FAULTS)}")
    found = []
    for name, kind in FAULTS.items():
        found += [(name, where, "accepted") for where in kind.topologies if (name, where) not in LEFT_OUT]
        if name in REPLICATED_TOO:
            found.append((name, CLUSTER, "replicated"))
    return [
        Options(scale=1.0, seed=seed, ack=ack, topology=where, faults=(name,))
        for name, where, ack in found
        if (not only or name in only) and topology in {None, where}
        for seed in seeds
    ]


def main() -> int:
    """Run them, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.faults", description=__doc__)
    parser.add_argument("--only", default="", help="names of faults, with commas between")
    parser.add_argument("--topology", choices=(SINGLE, CLUSTER), help="only this one")
    parser.add_argument("--seed", default="1", metavar="SEEDS", help="one, or several: 1-10 or 3,7,9")
    parser.add_argument("--json", action="store_true", help="all results as one JSON document on standard output")
    given = parser.parse_args()
    logging.getLogger("asyncpg").setLevel(logging.ERROR)
    errors = Console(stderr=True)
    try:
        only = [name for name in given.only.split(",") if name]
        wanted = runs(only, topology=given.topology, seeds=seeds_of(given.seed))
    except BadInputError as fault:
        errors.print(str(fault))
        return fault.exit_status
    lines = play(SCENARIO, wanted, lambda text: errors.print(text, highlight=False, markup=False, soft_wrap=True))
    if given.json:
        sys.stdout.write(orjson.dumps([one.as_data() for one in lines], option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        shown(lines, Console())
    return int(any(one.verdict == "fail" for one in lines))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
