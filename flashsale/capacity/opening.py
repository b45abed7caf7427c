"""The first seconds of a sale, played through on a planned fleet: how long presses wait, and when all is sold.

A press passes edge, api and script one after the other. Each tier is a queue that works off so many microseconds of
work in each millisecond; arrivals are random (Poisson, by its normal approximation) around the planned peak, after a
first burst. What is over the waiting room of the coalescers is told to wait, as the engine does. Fluid in each step, so
the waits within one step are not told apart.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from flashsale import limits
from flashsale.capacity.calibration import Calibration
from flashsale.capacity.fleet import API, EDGE, VALKEY, Fleet
from flashsale.capacity.mix import Mix

STEP_S: Final = 0.001
LONGEST_S: Final = 120.0
# What a press takes when nobody else presses: a network's round trip, and the call to Valkey.
UNLOADED_S: Final = 0.002
SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Opening:
    """sold_out_s: from the opening to the last unit; p50_s, p99_s, longest_s: a decided press, from edge to reply;
    told_to_wait: presses that found no room."""

    sold_out_s: float
    p50_s: float
    p99_s: float
    longest_s: float
    told_to_wait: int


class _Tier:
    """One queue. cores: those it has; work_us: of one press in it."""

    def __init__(self, cores: int, work_us: float, room: float) -> None:
        self._rate = cores * STEP_S * 1e6 / work_us
        self._room = room
        self.waiting = 0.0

    def step(self, arriving: float) -> tuple[float, float, float]:
        """Take so many in: how many went through, how long the last of them waits, and how many found no room."""
        taken = min(arriving, max(0.0, self._room - self.waiting))
        self.waiting += taken
        wait_s = self.waiting / self._rate * STEP_S
        done = min(self.waiting, self._rate)
        self.waiting -= done
        return done, wait_s, arriving - taken


def play(fleet: Fleet, mix: Mix, calibration: Calibration, *, seed: int = SEED) -> Opening:
    """From the opening until the last unit is sold, or for two minutes. Same seed, same result."""
    tiers = _tiers(fleet, mix, calibration)
    waits: list[tuple[float, float]] = []
    sold, turned_away = 0.0, 0.0
    for presses in _arrivals(fleet.demand.peak * mix.decided, mix.at_once, seed):
        going, waited_s = presses, UNLOADED_S
        for tier in tiers:
            going, wait_s, without_room = tier.step(going)
            waited_s += wait_s
            turned_away += without_room
        sold += going
        waits.append((waited_s, presses))
        if sold >= fleet.demand.units:
            break
    p50_s, p99_s = _quantiles(waits, (0.5, 0.99))
    longest_s = max(wait for wait, _ in waits)
    return Opening(len(waits) * STEP_S, p50_s, p99_s, longest_s, round(turned_away))


def _arrivals(per_s: float, at_once: float, seed: int) -> Iterator[float]:
    """Presses in each step: the burst, then as many as a random second has."""
    dice = random.Random(seed)  # noqa: S311 -- a model, no secret
    mean = per_s * STEP_S
    yield per_s * at_once + mean
    for _ in range(round(LONGEST_S / STEP_S) - 1):
        yield max(0.0, dice.gauss(mean, math.sqrt(mean)))


def _tiers(fleet: Fleet, mix: Mix, calibration: Calibration) -> list[_Tier]:
    """A decided press carries its share of all other work, so that the tiers are as busy as they will be."""
    passed = mix.refused + mix.decided
    edge_us = (mix.kept * calibration.edge_kept_us + passed * calibration.edge_passed_us) / mix.decided
    api_us = calibration.api_press_us + mix.refused * calibration.api_refusal_us / mix.decided
    api = fleet.part(API).number
    return [
        _Tier(fleet.part(EDGE).number, edge_us, math.inf),
        _Tier(api, api_us, math.inf),
        _Tier(fleet.part(VALKEY).number, calibration.valkey_win_us, float(limits.ATTEMPTS_WAITING_MAX * api)),
    ]


def _quantiles(weighed: Sequence[tuple[float, float]], shares: Sequence[float]) -> list[float]:
    """Of values with weights."""
    ordered = sorted(weighed)
    whole = sum(weight for _, weight in ordered)
    found, passed, rest = [], 0.0, list(shares)
    for value, weight in ordered:
        passed += weight
        while rest and passed >= rest[0] * whole:
            found.append(value)
            rest.pop(0)
    return found + [ordered[-1][0]] * len(rest)
