"""The ground that the walks of one test share."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from flashsale.scripts import Script
from flashsale.stores import Client

T = TypeVar("T")


@dataclass(slots=True)
class Ground:
    """What all walks of a test share: a loop, a client, the scripts, and the names of the sales used."""

    runner: asyncio.Runner
    redis: Client
    script: Callable[[str], Script]
    prefix: str
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    steps: "Counter[str]" = field(default_factory=Counter)

    def run(self, step: Awaitable[T]) -> T:
        """Wait for the server."""

        async def waited() -> T:
            return await asyncio.wait_for(step, timeout=10)

        return self.runner.run(waited())
