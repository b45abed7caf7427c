"""What the tests of whole processes get: settings, ops verbs, and shops that are closed and cleared afterwards."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from redis.asyncio import Redis

from flashsale.config import ENV_PREFIX, Settings
from flashsale.embedded import Addresses
from flashsale.operations import Operations
from flashsale.queries import Pool
from flashsale.router import Router
from flashsale.stores import open_router
from tests.integration.cli_process import Cli, bare_environment, helper
from tests.integration.hall import Hall, Halls, hall
from tests.integration.processes import serving, settings_for
from tests.integration.rows import clear
from tests.integration.shop import Shop, created, plan_text
from tests.support.servers import Private, Replica, private_replica, private_valkey


class Shops(Protocol):
    """Makes a shop of the test's sale. settings: those that are not the usual ones."""

    async def __call__(
        self,
        *,
        top: str = "",
        opens: str = "-1s",
        closes: str = "+1h",
        silver: int = 5,
        fcodes: int | None = None,
        **settings: Any,
    ) -> Shop: ...


@pytest.fixture
def settings(migrated: Addresses, tmp_path: Path) -> Settings:
    """The settings of a process in sandbox mode, with secrets of its own."""
    return settings_for(migrated, tmp_path / "state")


@pytest.fixture
async def operations(redis: Redis, postgres: Pool, sale_name: str) -> AsyncIterator[Operations]:
    """Ops verbs. The rows of the test's sales are deleted afterwards, as the redis fixture deletes the keys."""
    yield Operations(redis=redis, postgres=postgres, actor="ops")
    await clear(postgres, sale_name)


@pytest.fixture
async def shops(operations: Operations, settings: Settings, sale_name: str) -> AsyncIterator[Shops]:
    """Creates and loads a sale and serves it. All that was started ends with the test."""
    async with AsyncExitStack() as stack:

        async def make(
            *,
            top: str = "",
            opens: str = "-1s",
            closes: str = "+1h",
            silver: int = 5,
            fcodes: int | None = None,
            **changed: Any,
        ) -> Shop:
            text = plan_text(sale_name, top=top, opens=opens, closes=closes, silver=silver, fcodes=fcodes)
            sale = await created(operations, text)
            if fcodes is not None:
                changed = {"fan_presses_per_s": 0} | changed  # a code is sent until the process knows its batch
            used = settings.model_copy(update=changed)
            client = await stack.enter_async_context(serving(used))
            return Shop(sale=sale, client=client, operations=operations, settings=used, stack=stack)

        yield make


@pytest.fixture
async def halls(operations: Operations, addresses: Addresses, sale_name: str) -> AsyncIterator[Halls]:
    """Opens a sale in so many buckets."""
    async with AsyncExitStack() as stack:

        async def make(buckets: int = 1, *, units: int = 40, top: str = "") -> Hall:
            made = hall(operations, addresses, sale_name, buckets=buckets, units=units, top=top)
            return await stack.enter_async_context(made)

        yield make


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Private]:
    """A server of this test alone."""
    folder = tmp_path / "primary"
    folder.mkdir()
    with private_valkey(folder, settings={"repl-diskless-sync-delay": "0"}) as server:
        yield server


@pytest.fixture
def replica(primary: Private, tmp_path: Path) -> Iterator[Replica]:
    """A server that follows it and has caught up."""
    folder = tmp_path / "replica"
    folder.mkdir()
    with private_replica(folder, primary) as follower:
        yield follower


@pytest.fixture
async def router(primary: Private) -> AsyncIterator[Router]:
    """The way to it."""
    made = await open_router(primary.url)
    yield made
    await made.aclose()


@pytest.fixture(scope="session")
def cli_helper() -> "Iterator[subprocess.Popen[str]]":
    """What commands are forked from."""
    with helper() as process:
        yield process


@pytest.fixture
def cli(cli_helper: "subprocess.Popen[str]", settings: Settings, tmp_path: Path) -> Cli:
    """The command line against the test's servers, with the secrets of a shop."""
    names = ("redis_url", "postgres_dsn", "state_dir", "right_keys", "jwt_key", "webhook_secret")
    given = {f"{ENV_PREFIX}{name.upper()}": str(getattr(settings, name)) for name in names}
    return Cli(cli_helper, tmp_path, bare_environment() | given)
