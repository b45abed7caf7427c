"""Runs the asynchronous part of a command, with the stores open and closed again."""

import asyncio
import getpass
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import uvloop

from flashsale import config, stores
from flashsale.operations import Operations
from flashsale.stores import Stores

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end; Ctrl-C cancels it cleanly."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@asynccontextmanager
async def opened(*, schema: bool = True) -> AsyncIterator[Stores]:
    """The configured stores. Raises BadInputError or SurroundingsError."""
    addresses = stores.addresses_of(config.load())
    async with stores.opened(
        redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn, connections=4, schema=schema
    ) as both:
        yield both


@asynccontextmanager
async def operations(actor: str | None) -> AsyncIterator[Operations]:
    """Ops verbs, in the name of the person at the terminal unless another is given."""
    async with opened() as both:
        yield Operations(redis=both.redis, postgres=both.postgres, actor=actor or person())


def person() -> str:
    """Who sits at this terminal, for the log of who did what."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
