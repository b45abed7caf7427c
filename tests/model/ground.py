"""The ground that the walks of one test share."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from redis.asyncio import Redis

from flashsale.scripts import Script


@dataclass(slots=True)
class Ground:
    """What all walks of a test share: a loop, a client, the scripts, and the names of the sales used."""

    runner: asyncio.Runner
    redis: Redis
    script: Callable[[str], Script]
    prefix: str
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    steps: "Counter[str]" = field(default_factory=Counter)
