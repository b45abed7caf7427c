"""The faults by name, and how one is asked for: NAME or NAME@SECONDS after the opening."""

import math
import random
from collections.abc import Sequence
from typing import Final

from flashsale.errors import BadInputError
from loadtest.faults.base import Fault
from loadtest.faults.clocks import Clocks
from loadtest.faults.cluster import PrimaryKilled, PrimaryKilledAhead, PrimaryStalled
from loadtest.faults.entries import BadEntries
from loadtest.faults.network import BadNetwork, StalePicture
from loadtest.faults.postgres import PostgresDiskFull, PostgresStopped
from loadtest.faults.processes import (
    ApiKilled,
    ApiStalled,
    PostgresStalled,
    ValkeyStalled,
    ValkeyStalledLong,
    WorkerKilled,
    WorkerStalled,
)
from loadtest.faults.valkey import ValkeyEmptied, ValkeyFull, ValkeyKilled
from loadtest.faults.webhooks import Webhooks

FAULTS: Final[dict[str, type[Fault]]] = {
    kind.name: kind
    for kind in (
        ApiKilled, WorkerKilled, PostgresStopped, PostgresDiskFull, ValkeyKilled, PrimaryKilled, PrimaryKilledAhead,
        PrimaryStalled, ValkeyEmptied, BadNetwork, Webhooks, Clocks, ValkeyFull, BadEntries, StalePicture, ApiStalled,
        WorkerStalled, ValkeyStalled, ValkeyStalledLong, PostgresStalled,
    )
}  # fmt: skip
AT_S: Final = (2.0, 4.0)  # when a fault begins that was given no moment: in the middle of selling
AT_S_MAX: Final = 3600.0


def asked_for(texts: Sequence[str], *, topology: str, seed: int) -> list[Fault]:
    """The faults that --fault names. A moment that is not given is drawn by the seed. Raises BadInputError."""
    draw = random.Random(f"faults {seed}")
    return [_fault(text, topology=topology, drawn_s=round(draw.uniform(*AT_S), 3)) for text in texts]


def _fault(text: str, *, topology: str, drawn_s: float) -> Fault:
    name, at, seconds = text.partition("@")
    kind = FAULTS.get(name)
    if kind is None:
        raise BadInputError(f"--fault: there is no fault {name}. There are: {', '.join(FAULTS)}")
    if topology not in kind.topologies:
        raise BadInputError(f"--fault: {name} needs --topology {' or '.join(kind.topologies)}")
    if not at:
        return kind(drawn_s)
    try:
        at_s = float(seconds)
    except ValueError:
        at_s = math.nan
    if not 0 <= at_s <= AT_S_MAX:
        raise BadInputError(f"--fault: {text}: what follows @ must be 0 to {AT_S_MAX:.0f} seconds after the opening")
    return kind(at_s)
