"""A rehearsal: own servers, a scenario's sale, a crowd over HTTP, faults if any, all landed, the audit, the verdict."""

import asyncio
import base64
import os
import platform
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx

from flashsale import audit, config, queries, stores
from flashsale.clock import now_s
from flashsale.config import Settings
from flashsale.embedded import erase
from flashsale.errors import FlashsaleError
from flashsale.operations import Operations
from flashsale.sale import Sale
from flashsale.stores import Stores
from loadtest import stories, tail, verdict
from loadtest.crowds import Crowds
from loadtest.faults import catalogue
from loadtest.faults.base import CLUSTER, After, Fault
from loadtest.faults.scene import Scene
from loadtest.job import Job
from loadtest.records import Seen
from loadtest.scenario import Crowd, Scaled, Scenario, scaled
from loadtest.stage import Stage, free_port
from loadtest.verdict import Allowed

RESERVATIONS_PER_S: Final = 4_000  # what is reckoned with when noon is set, so that all have reserved by then
LEAD_S: Final = 4
CLUSTER_BUCKETS: Final = 4
STALLED_S: Final = 60.0
LANDED_S: Final = 120.0
SHOWN_S: Final = 30.0
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
    faults: Sequence[str] = ()
    apis: int = 1
    buckets: int | None = None

    @property
    def cut_into(self) -> int:
        """How many buckets the sale has."""
        return self.buckets or buckets_for(self.topology)


def buckets_for(topology: str) -> int:
    """Into how many buckets a sale is cut where nobody says it."""
    return CLUSTER_BUCKETS if topology == CLUSTER else 1


def run(scenario: Scenario, options: Options, *, folder: Path, told: Told) -> dict[str, Any]:
    """Rehearse once in a new folder, which is removed again; of one that fails the logs are kept. Returns the result of
    docs/REHEARSAL.md.

    Raises BadInputError for an unusable fault, SurroundingsError
    when the servers don't start, FlashsaleError when the crowd breaks down.
    """
    faults = catalogue.asked_for(options.faults, topology=options.topology, seed=options.seed)
    settings = own_settings(folder / "state")
    try:
        with Stage(
            settings, faults=faults, topology=options.topology, apis=options.apis, seed=options.seed, ack=options.ack
        ) as stage:
            told("starting", {})
            stage.start()
            result = asyncio.run(_rehearse(scenario, options, stage=stage, faults=faults, told=told))
            return result | {"logs": stage.keep_logs() if result["verdict"] == "fail" else None}
    finally:
        erase(settings.state_dir)


def own_settings(state: Path) -> Settings:
    """The settings of servers of our own, with secrets of their own."""
    webhook_secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
    return config.load(
        sandbox=True, state_dir=state, port=free_port(), jwt_key=secrets.token_urlsafe(48),
        right_keys=f"r1:{secrets.token_hex(32)}", webhook_secret=webhook_secret,
    )  # fmt: skip


async def _rehearse(
    scenario: Scenario, options: Options, *, stage: Stage, faults: Sequence[Fault], told: Told
) -> dict[str, Any]:
    settings, addresses = stage.settings, stage.addresses
    reserving_s = scenario.crowd.reserved * options.scale / RESERVATIONS_PER_S
    lead_s = LEAD_S + round(reserving_s + scenario.crowd.look_ahead_s)
    times = {"opens": f"+{lead_s}s", "closes": "+6h", "reserve_opens": f"-{lead_s + 60}s"}
    ready = scaled(scenario, scale=options.scale, sale=f"rehearsal-{options.seed}", times=times)
    plan = ready.plan.model_copy(update={"ack": options.ack, "buckets": options.cut_into})
    ready = replace(ready, plan=plan)
    async with stores.opened(redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn) as both:
        sale = await prepare(both, ready)
        wait_until_shown(f"http://{settings.host}:{settings.port}", sale.sale)
        job = replace(job_of(ready.crowd, sale, settings=settings, seed=options.seed), ports=stage.fleet.ports[1:])
        with stage.crowds(job) as crowds:
            scene = stage.scene(both=both, sale=sale, told=lambda: crowds.told)
            await follow(crowds, scene, faults=faults, told=told)
            seen = crowds.seen()
        told("landing", {})
        return await _conclude(scenario, options, scene=scene, seen=stage.right_clock(seen), faults=faults)


async def prepare(both: Stores, ready: Scaled) -> Sale:
    """Create and load the sale, as ops would."""
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
        arrive_even_s=crowd.arrive_even_s,
        stay_s=crowd.stay_s,
        cancel_share=crowd.cancel_share,
        come_share=crowd.come_share,
        look_ahead_s=crowd.look_ahead_s,
        look_every_s=crowd.look_every_s,
    )


async def follow(crowds: Crowds, scene: Scene, *, faults: Sequence[Fault], told: Told) -> None:
    """Wait until crowd and faults are done, telling how far they are, and let fans go home once all is sold.

    Raises FlashsaleError when the crowd stands still too long.
    """
    watch = _Watch(told)
    playing = [asyncio.create_task(fault.play(scene), name=fault.name) for fault in faults]
    home = not scene.stay_s
    try:
        while crowds.running:
            scene.fleet.check(supervised=bool(faults))
            watch.look(crowds.told)
            over = now_s() > scene.opens_s + scene.stay_s
            if not home and _none_awaited(scene, faults, playing) and (over or await scene.all_sold()):
                crowds.leave()
                home = True
            await asyncio.sleep(_LOOK_S)
        await _let_end(scene, faults, playing)
    finally:
        for one in playing:
            one.cancel()
        ended = await asyncio.gather(*playing, return_exceptions=True)
    for trouble in ended:
        if isinstance(trouble, Exception):
            raise trouble


def _none_awaited(scene: Scene, faults: Sequence[Fault], playing: Sequence["asyncio.Task[None]"]) -> bool:
    """Whether no fault plays or is still to come; for one that is set for later than fans stay nobody waits."""
    return all(one.done() or fault.at_s > scene.stay_s for fault, one in zip(faults, playing, strict=True))


async def _let_end(scene: Scene, faults: Sequence[Fault], playing: Sequence["asyncio.Task[None]"]) -> None:
    """Wait for the faults that have begun; those that have not are too late."""
    for fault, one in zip(faults, playing, strict=True):
        if fault.began_at_s is None:
            one.cancel()
    while not all(one.done() for one in playing):
        scene.fleet.check(supervised=True)
        await asyncio.sleep(_LOOK_S)


class _Watch:
    """Tells how far a crowd is, and finds out when it stands still."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._before: Mapping[str, Any] | None = None
        self._since = time.monotonic()

    def look(self, now: Mapping[str, Any]) -> None:
        """Raises FlashsaleError when it has stood still too long."""
        self._told(now["phase"], now)
        if now != self._before or now["phase"] == "waiting":
            self._before, self._since = now, time.monotonic()
        if time.monotonic() - self._since > STALLED_S:
            raise FlashsaleError(f"The crowd has stood still for {STALLED_S:.0f} s while {now['phase']}")


async def _conclude(
    scenario: Scenario, options: Options, *, scene: Scene, seen: Seen, faults: Sequence[Fault]
) -> dict[str, Any]:
    both, sale = scene.both, scene.sale
    await _landed(scene)
    found = await verdict.look_at_postgres(both.postgres, sale)
    audited = await audit.audit(both.redis, both.postgres, sale.sale)
    versions = await _versions(both)
    allowed = Allowed(
        ack=options.ack,
        lose=frozenset(level for fault in faults for level in fault.lose),
        set_aside=sum(fault.set_aside for fault in faults),
    )
    result = verdict.figures(
        seen=seen, landed=found, sale=sale, audited=audited, opens_ms=sale.opens_ms, allowed=allowed
    )
    bound_s = scenario.bound.open_to_last_confirmed_s
    reserved = max(1, round(scenario.crowd.reserved * options.scale))
    reasons = verdict.reasons(result, audited=audited, bound_s=bound_s, allowed=allowed)
    reasons += [f"missing: {order}" for order in verdict.missing(seen, found, allowed)]
    if allowed.lose:
        denied = await tail.denied(scene.settings, seen.wins)
        reasons += tail.differences(lost=verdict.gone(seen, found), denied=denied)
    if reasons:
        reasons += await stories.of_set_aside(both.postgres, sale)
        reasons += await stories.of_units(both.postgres, sale, audited)
    after = After(seen=seen, landed=found, allowed=allowed, opens_s=scene.opens_s, result=result)
    for fault in faults:
        reasons += fault.conclude(after)
    return {
        "scenario": scenario.scenario,
        "published": scenario.published.model_dump(exclude_none=True),
        "seed": options.seed,
        "scale": options.scale,
        "topology": options.topology,
        "ack": options.ack,
        "commit": commit(),
        "versions": versions,
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "processor": platform.machine()},
        **result,
        "crowd": {"reserved": reserved, "came": round(reserved * scenario.crowd.come_share)},
        "lost_tail": sorted(verdict.lost(seen, found, allowed)),
        "faults": [fault.as_data() for fault in faults],
        "audit": {
            "balanced": audited.balanced,
            "items": [{name: item[name] for name in _AUDIT_FIELDS} for item in audit.as_data(audited)["items"]],
        },
        "verdict": "fail" if reasons else "pass",
        "reasons": reasons,
    }


async def _landed(scene: Scene) -> None:
    """Wait until no order is on its way, or waits for another unit. Raises FlashsaleError when that takes too long."""
    deadline = time.monotonic() + LANDED_S
    while (outbox := await scene.outbox()) != 0 or await verdict.waiting(scene.both.postgres, scene.sale):
        scene.fleet.check(supervised=True)
        if time.monotonic() > deadline:
            waiting = await verdict.waiting(scene.both.postgres, scene.sale)
            raise FlashsaleError(
                f"After {LANDED_S:.0f} s {outbox} orders are in the outbox (None: it can't be asked), and {waiting} "
                f"that are set aside wait for another unit. The worker said last:\n{scene.fleet.tail('worker')}"
            )
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
