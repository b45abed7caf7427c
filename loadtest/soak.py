"""A soak: a sale that never runs dry, faults drawn from a seed one after the other, and an audit after each.

Units come back since fans let orders go and payment windows are short, so that there is always something to sell. It
stops at the first broken promise. The seed draws which faults come, when, and how; timing is not repeated.
"""

import asyncio
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from flashsale import audit, limits, stores
from flashsale.clock import now_s
from flashsale.embedded import erase
from flashsale.errors import FlashsaleError
from loadtest import rehearsal, stories, tail, verdict
from loadtest.crowds import Crowds
from loadtest.faults.base import RESUMED_S_MAX, After, Fault
from loadtest.faults.catalogue import FAULTS
from loadtest.faults.scene import TROUBLE, Scene
from loadtest.records import Seen
from loadtest.rehearsal import Told
from loadtest.scenario import Scenario, scaled
from loadtest.stage import Stage
from loadtest.verdict import Allowed

FANS_PER_S: Final = 60
RESERVED_PER_S: Final = 1_000  # reckoned low: on a busy machine too, all have reserved when the sale opens
CANCEL_SHARE: Final = 0.6
PAIR_SHARE: Final = 0.2
REST_S: Final = (1.0, 4.0)  # between two faults
LAST_S: Final = 25.0  # no fault begins later than so long before the end
LONGER_S: Final = 120  # fans come so much longer than the soak lasts: a fault may heal late, and has to see a win then
OWN_GROUND: Final = ("F3-disk", "F9")  # They need a small disk, or clocks from files; a soak has one of them at most.
LIGHT: Final = ("F1", "F8", "F11", "stop-api")  # those that may come beside another: they take no store away
REBUILT_S_MAX: Final = 25.0  # within this time the worker has rebuilt a bucket that came back older
_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    minutes: float
    seed: int
    topology: str
    ack: str

    @property
    def command(self) -> str:
        """What a person types to have the same faults again."""
        return (
            f"flashsale soak --minutes {self.minutes:g} --topology {self.topology} --ack {self.ack} --seed {self.seed}"
        )


@dataclass(slots=True)
class Soaked:
    """How it ended. reasons: the promises that were broken, empty when none was."""

    faults: list[Fault] = field(default_factory=list)
    alone: list[Fault] = field(default_factory=list)
    audits: int = 0
    reasons: list[str] = field(default_factory=list)


def picks(options: Options) -> Sequence[tuple[str, ...]]:
    """Which faults come, in order: one, or two at once. More than any soak has time for."""
    draw = random.Random(f"soak {options.seed}")
    possible = [name for name, kind in FAULTS.items() if options.topology in kind.topologies]
    own = draw.choice([None, *(name for name in OWN_GROUND if name in possible)])
    names = [name for name in possible if name not in OWN_GROUND or name == own]
    light = [name for name in names if name in LIGHT]

    def pick() -> tuple[str, ...]:
        first = draw.choice(names)
        if draw.random() >= PAIR_SHARE:
            return (first,)
        return first, draw.choice([name for name in light if name != first])

    return [pick() for _ in range(max(1, int(options.minutes * 60)))]


def run(scenario: Scenario, options: Options, *, folder: Path, told: Told) -> dict[str, Any]:
    """Soak once in a new folder. Of one that fails the logs are kept. Raises SurroundingsError when the servers don't
    start."""
    settings = rehearsal.own_settings(folder / "state")
    possible = [FAULTS[name](0.0) for name in {name for pick in picks(options) for name in pick}]
    try:
        with Stage(
            settings, faults=possible, topology=options.topology, apis=2, seed=options.seed, ack=options.ack
        ) as stage:
            told("starting", {})
            stage.start()
            result = asyncio.run(_soak(scenario, options, stage=stage, told=told))
            return result | {"logs": stage.keep_logs() if result["verdict"] == "fail" else None}
    finally:
        erase(settings.state_dir)


async def _soak(scenario: Scenario, options: Options, *, stage: Stage, told: Told) -> dict[str, Any]:
    seconds = options.minutes * 60
    stay_s = seconds + LONGER_S
    fans = round(FANS_PER_S * stay_s)
    lead_s = rehearsal.LEAD_S + fans // RESERVED_PER_S
    times = {"opens": f"+{lead_s}s", "closes": "+24h", "reserve_opens": f"-{lead_s + 60}s"}
    crowd = scenario.crowd.model_copy(
        update={"reserved": fans, "arrive_even_s": stay_s, "stay_s": stay_s, "cancel_share": CANCEL_SHARE}
    )
    ready = scaled(scenario.model_copy(update={"crowd": crowd}), scale=1.0, sale=f"soak-{options.seed}", times=times)
    cut_into = rehearsal.buckets_for(options.topology)
    plan = ready.plan.model_copy(
        update={"ack": options.ack, "buckets": cut_into, "pay_window_s": limits.PAY_WINDOW_S_MIN}
    )
    addresses = stage.addresses
    async with stores.opened(redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn) as both:
        sale = await rehearsal.prepare(both, replace(ready, plan=plan))
        rehearsal.wait_until_shown(f"http://{stage.settings.host}:{stage.settings.port}", sale.sale)
        job = rehearsal.job_of(ready.crowd, sale, settings=stage.settings, seed=options.seed)
        with stage.crowds(replace(job, ports=stage.fleet.ports[1:])) as crowds:
            scene = stage.scene(both=both, sale=sale, told=lambda: crowds.told)
            soaked = await _wear(scene, crowds, options, told=told)
            crowds.leave()
            while not soaked.reasons and crowds.running:
                scene.fleet.check(supervised=True)
                await asyncio.sleep(_LOOK_S)
            seen = stage.right_clock(crowds.seen()) if not soaked.reasons else None
        told("landing", {})
        if seen is not None:
            await _judge(scene, options, soaked, seen)
    return _result(options, soaked, seen)


async def _wear(scene: Scene, crowds: Crowds, options: Options, *, told: Told) -> Soaked:
    """Fault after fault, an audit after each, until the time is over or a promise is broken."""
    soaked, over_s = Soaked(), scene.opens_s + options.minutes * 60
    healed_s = 0.0
    watching = asyncio.create_task(_watch(scene, crowds, told))
    try:
        for pick in picks(options):
            await _rest(scene)
            if now_s() > over_s - LAST_S or soaked.reasons:
                break
            faults = [FAULTS[name](round(now_s() - scene.opens_s, 1)) for name in pick]
            soaked.faults += faults
            soaked.alone += faults if len(faults) == 1 else []
            told(" + ".join(pick), crowds.told)
            await _unless_trouble(asyncio.gather(*(fault.play(scene) for fault in faults)), watching)
            soaked.reasons = [f"after {' + '.join(pick)}: {reason}" for reason in await _look(scene)]
            soaked.audits += 1
            healed_s = now_s()
        over_s = max(over_s, healed_s + RESUMED_S_MAX)
        while now_s() < over_s and not soaked.reasons:
            await _unless_trouble(asyncio.sleep(_LOOK_S), watching)
    except (FlashsaleError, *TROUBLE) as trouble:
        soaked.reasons.append(f"during {', '.join(pick)}: {trouble!r}")
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return soaked


async def _rest(scene: Scene) -> None:
    """Wait for the opening, then for a moment."""
    await asyncio.sleep(max(0.0, scene.opens_s - now_s()) + scene.moment(*REST_S))


async def _watch(scene: Scene, crowds: Crowds, told: Told) -> None:
    """Start again what faults kill. Raises FlashsaleError when something ended by itself."""
    while crowds.running:
        scene.fleet.check(supervised=True)
        told("", crowds.told)
        await asyncio.sleep(_LOOK_S)


async def _unless_trouble(doing: Any, watching: "asyncio.Task[None]") -> None:
    """Wait for this; raise the watcher's trouble as soon as there is any."""
    task = asyncio.ensure_future(doing)
    try:
        await asyncio.wait({task, watching}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and not task.done() and (trouble := watching.exception()):
            raise trouble
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _look(scene: Scene) -> list[str]:
    """The promises that can be looked at while it sells. A bucket that came back older is off until it is rebuilt."""
    both, sale = scene.both, scene.sale
    deadline = now_s() + REBUILT_S_MAX
    while True:
        audited = await scene.patiently(lambda: audit.audit(both.redis, both.postgres, sale.sale), what="the audit")
        if audited.balanced or now_s() > deadline:
            break
    found = await scene.patiently(lambda: verdict.look_at_postgres(both.postgres, sale), what="looking at orders")
    counts = {"oversold": found.oversold, "duplicate": found.duplicate}
    reasons = [f"{number} orders {name}" for name, number in counts.items() if number]
    if not audited.balanced:
        reasons.append(f"the audit does not balance: {audit.as_data(audited)['items']}")
        reasons += await stories.of_units(both.postgres, sale, audited)
    return reasons


async def _judge(scene: Scene, options: Options, soaked: Soaked, seen: Seen) -> None:
    """The whole verdict, once every order has ended or was paid."""

    async def all_ended() -> bool:
        scene.fleet.check(supervised=True)
        by_state = (await verdict.look_at_postgres(scene.both.postgres, scene.sale)).by_state
        over = not by_state.get("confirmed") and await scene.outbox() == 0 and not await scene.returning()
        return over and not await verdict.waiting(scene.both.postgres, scene.sale)

    if not await scene.until(all_ended, within_s=limits.PAY_WINDOW_S_MIN + 60.0):
        soaked.reasons.append("orders or returns are still on their way a minute after the last window")
    found = await verdict.look_at_postgres(scene.both.postgres, scene.sale)
    audited = await audit.audit(scene.both.redis, scene.both.postgres, scene.sale.sale)
    allowed = Allowed(
        ack=options.ack,
        lose=frozenset(level for fault in soaked.faults for level in fault.lose),
        set_aside=sum(fault.set_aside for fault in soaked.faults),
        unsold=True,
    )
    result = verdict.figures(
        seen=seen, landed=found, sale=scene.sale, audited=audited, opens_ms=scene.sale.opens_ms, allowed=allowed
    )
    soaked.reasons += verdict.reasons(
        result, audited=audited, bound_s=options.minutes * 60 + LONGER_S * 2, allowed=allowed
    )
    if allowed.lose:
        denied = await tail.denied(scene.settings, seen.wins)
        soaked.reasons += tail.differences(lost=verdict.gone(seen, found), denied=denied)
    after = After(seen=seen, landed=found, allowed=allowed, opens_s=scene.opens_s, result=result)
    for fault in soaked.faults:
        # Of two at once, one may hide what the other does; their own promises are asked of those that came alone.
        reasons = fault.conclude(after)
        soaked.reasons += reasons if fault in soaked.alone else []


def _result(options: Options, soaked: Soaked, seen: Seen | None) -> dict[str, Any]:
    return {
        "minutes": options.minutes,
        "seed": options.seed,
        "topology": options.topology,
        "ack": options.ack,
        "commit": rehearsal.commit(),
        "cores": os.cpu_count(),
        "audits": soaked.audits,
        "wins": len(seen.wins) if seen else None,
        "faults": [fault.as_data() for fault in soaked.faults],
        "verdict": "fail" if soaked.reasons else "pass",
        "reasons": soaked.reasons,
        "again": options.command,
    }
