"""A rehearsal: own servers, a scenario's sale, a crowd over HTTP, everything landed, the audit, the verdict."""

import asyncio
import os
import platform
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from flashsale import audit, config, queries, stock, stores
from flashsale.config import Settings
from flashsale.embedded import Addresses, erase
from flashsale.errors import FlashsaleError
from flashsale.fleet import Fleet
from flashsale.operations import Operations
from flashsale.sale import Sale
from flashsale.stores import Stores
from loadtest import verdict
from loadtest.crowd import Job
from loadtest.crowds import Crowds
from loadtest.scenario import Crowd, Scaled, Scenario, scaled

RESERVATIONS_PER_S: Final = 5_000  # what is reckoned with when noon is set, so that all have reserved by then
LEAD_S: Final = 4
STALLED_S: Final = 60.0
LANDED_S: Final = 120.0
SHOWN_S: Final = 10.0
_LOOK_S: Final = 0.2
_AUDIT_FIELDS: Final = (
    "item", "pool", "loaded", "free", "moving", "outbox", "live", "returning", "difference",
)  # fmt: skip

Told = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says. scale: share of the scenario's units and fans; ack: the level of a win."""

    scale: float
    seed: int
    ack: str
    topology: str


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(scenario: Scenario, options: Options, *, folder: Path, told: Told) -> dict[str, Any]:
    """Rehearse once in a new folder, which is removed again. Returns the result of docs/REHEARSAL.md.

    Raises SurroundingsError when the servers don't start, FlashsaleError when the crowd breaks down.
    """
    settings = config.load(
        sandbox=True, state_dir=folder / "state", port=free_port(), jwt_key=secrets.token_urlsafe(48),
        right_keys=f"r1:{secrets.token_hex(32)}",
    )  # fmt: skip
    try:
        with Fleet(settings, fresh=True) as fleet:
            told("starting", {})
            addresses = fleet.start_pair()
            asyncio.run(stores.migrate(addresses.postgres_dsn))
            fleet.start_api()
            fleet.start_worker()
            return _rehearse(scenario, options, settings=settings, addresses=addresses, fleet=fleet, told=told)
    finally:
        erase(settings.state_dir)


def _rehearse(
    scenario: Scenario, options: Options, *, settings: Settings, addresses: Addresses, fleet: Fleet, told: Told
) -> dict[str, Any]:
    lead_s = LEAD_S + round(scenario.crowd.reserved * options.scale / RESERVATIONS_PER_S)
    times = {"opens": f"+{lead_s}s", "closes": "+6h", "reserve_opens": f"-{lead_s + 60}s"}
    ready = scaled(scenario, scale=options.scale, sale=f"rehearsal-{options.seed}", times=times)
    sale = asyncio.run(_prepare(addresses, ready))
    wait_until_shown(f"http://{settings.host}:{settings.port}", sale.sale)
    job = job_of(ready.crowd, sale, settings=settings, seed=options.seed)
    crowd_folder = settings.state_dir / "crowd"
    crowd_folder.mkdir()
    processes = max(1, (os.cpu_count() or 2) // 2)
    with Crowds(job, processes=processes, jwt_key=settings.jwt_key, folder=crowd_folder) as crowds:
        follow(crowds, fleet, told=told)
        seen = crowds.seen()
    told("landing", {})
    return asyncio.run(_conclude(scenario, options, addresses=addresses, sale=sale, seen=seen))


async def _prepare(addresses: Addresses, ready: Scaled) -> Sale:
    """Create and load the sale, as ops would."""
    async with stores.opened(redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn) as both:
        operations = Operations(redis=both.redis, postgres=both.postgres, actor="rehearsal")
        await operations.create(ready.plan)
        return await operations.load(ready.plan.sale)


def wait_until_shown(base_url: str, sale: str) -> None:
    """Wait until the api knows a sale that was just loaded. Raises FlashsaleError when that takes too long."""
    deadline = time.monotonic() + SHOWN_S
    while not httpx.get(f"{base_url}/api/v1/sales/{sale}", timeout=5).is_success:
        if time.monotonic() > deadline:
            raise FlashsaleError(f"The api does not show sale {sale} after {SHOWN_S:.0f} s")
        time.sleep(_LOOK_S)


def job_of(crowd: Crowd, sale: Sale, *, settings: Settings, seed: int) -> Job:
    """The crowd's job for a loaded sale. Fans spread over the items as the units do."""
    return Job(
        host=settings.host,
        port=settings.port,
        sale=sale.sale,
        items=tuple(item.item for item in sale.items),
        weights=tuple(float(item.loaded) for item in sale.items),
        channels=sale.channels,
        name="fan",
        first=0,
        last=crowd.reserved,
        without_right=crowd.without_right,
        opens_s=sale.opens_ms / 1000,
        presses_max=crowd.presses_max,
        early_share=crowd.early_share,
        arrive_mean_s=crowd.arrive_mean_s,
        repeat_share=crowd.repeat_share,
        pay_share=crowd.pay_share,
        connections=crowd.connections,
        seed=seed,
        out="",
    )


def follow(crowds: Crowds, fleet: Fleet, *, told: Told) -> None:
    """Wait until the crowd is done, telling how far it is. Raises FlashsaleError when it stands still too long."""
    before, since = None, time.monotonic()
    while crowds.running:
        fleet.check()
        now = crowds.told
        told(now["phase"], now)
        if now != before or now["phase"] == "waiting":
            before, since = now, time.monotonic()
        if time.monotonic() - since > STALLED_S:
            raise FlashsaleError(f"The crowd has stood still for {STALLED_S:.0f} s while {now['phase']}")
        time.sleep(_LOOK_S)


async def _conclude(
    scenario: Scenario, options: Options, *, addresses: Addresses, sale: Sale, seen: Any
) -> dict[str, Any]:
    async with stores.opened(redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn) as both:
        await landed(both, sale)
        found = await verdict.look_at_postgres(both.postgres, sale)
        audited = await audit.audit(both.redis, both.postgres, sale.sale)
        versions = await _versions(both)
    result = verdict.figures(seen=seen, landed=found, sale=sale, audited=audited, opens_ms=sale.opens_ms)
    bound_s = scenario.bound.open_to_last_confirmed_s
    reasons = verdict.reasons(result, audited=audited, bound_s=bound_s)
    return {
        "scenario": scenario.scenario,
        "published": scenario.published.model_dump(),
        "seed": options.seed,
        "scale": options.scale,
        "topology": options.topology,
        "ack": options.ack,
        "commit": commit(),
        "versions": versions,
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "processor": platform.machine()},
        **result,
        "faults": [],
        "audit": {
            "balanced": audited.balanced,
            "items": [{name: item[name] for name in _AUDIT_FIELDS} for item in audit.as_data(audited)["items"]],
        },
        "verdict": "fail" if reasons else "pass",
        "reasons": reasons,
    }


async def landed(both: Stores, sale: Sale) -> None:
    """Wait until no order is on its way. Raises FlashsaleError when that takes too long."""
    deadline = time.monotonic() + LANDED_S
    while sum(facts.outbox for facts in await stock.facts(both.redis, sale.all_buckets)):
        if time.monotonic() > deadline:
            raise FlashsaleError(f"Orders are still in the outbox after {LANDED_S:.0f} s; look at the worker's log.")
        await asyncio.sleep(_LOOK_S)


async def _versions(both: Stores) -> dict[str, str]:
    server = await both.redis.info("server")
    async with both.postgres.acquire() as connection:
        postgres = await connection.fetchval(queries.query("verdict", "server_version"))
    name = "valkey" if "valkey_version" in server else "redis"
    return {
        "python": platform.python_version(),
        name: str(server.get("valkey_version") or server["redis_version"]),
        "postgres": postgres,
    }


def commit() -> str:
    """The commit that this code is of, where it lies in a checkout."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(  # noqa: S603 -- git, with our own arguments
            ["git", "-C", str(here), "rev-parse", "--short", "HEAD"],  # noqa: S607
            capture_output=True, text=True, check=False, timeout=5,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return found.stdout.strip() or "unknown"
