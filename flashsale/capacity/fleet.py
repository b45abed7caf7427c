"""The arithmetic of a fleet: how many of each part a peak needs, what holds it back, and what changes when it grows.

Every part is sized by work: requests of each kind in the peak second, times what one costs a core, over how busy a core
may be. The utilisation law; nothing is fitted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from flashsale import limits
from flashsale.capacity.calibration import Calibration
from flashsale.capacity.mix import Mix
from flashsale.errors import BadInputError

BUSY: Final = 0.7  # of a core at the peak: the rest is for what comes unevenly
HEADROOM: Final = 1.3  # of memory
LANDED_WITHIN_S: Final = 60.0
SALES_FIELDS_BYTES: Final = 2_000_000  # a server's own, and a sale's plan and counts
EDGE_CONNECTIONS: Final = 16_384  # worker_connections in deploy/nginx/nginx.conf
_REPLICAS: Final = 1
EDGE, API, VALKEY, REPLICA, LANDING = "edge", "api", "valkey", "valkey replica", "worker and postgres"


@dataclass(frozen=True, slots=True)
class Demand:
    """What is planned for. peak: requests in the busiest second; fans: on the page then; reserved: in the list; units:
    on sale; landed_within_s: by when the last order is in Postgres."""

    peak: int
    fans: int
    reserved: int
    units: int
    landed_within_s: float = LANDED_WITHIN_S

    def __post_init__(self) -> None:
        for name in ("peak", "fans", "units"):
            if getattr(self, name) < 1:
                raise BadInputError(f"--{name}: must be 1 or more, not {getattr(self, name)}")
        if self.reserved < 0 or self.landed_within_s <= 0:
            raise BadInputError("--reserved: must be 0 or more; --landed-within: above 0 seconds")

    def times(self, factor: int) -> "Demand":
        """The same sale with so many times the requests, fans, reservations and units."""
        return replace(
            self,
            peak=self.peak * factor,
            fans=self.fans * factor,
            reserved=self.reserved * factor,
            units=self.units * factor,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of process. number: of processes, each with one core; work_cores: cores' worth of work in the peak
    second; per_s: operations then."""

    name: str
    number: int
    work_cores: float
    per_s: float

    @property
    def busy(self) -> float:
        """How much of its cores the peak takes."""
        return self.work_cores / self.number


@dataclass(frozen=True, slots=True)
class Fleet:
    """parts: in the order in which a press meets them. valkey_bytes: of each primary, with headroom; wire_bits_s: in
    and out at the edge; connections: at the edge, for each of its processes; broken: limits that it goes beyond, in
    words."""

    demand: Demand
    parts: Sequence[Part]
    valkey_bytes: float
    wire_bits_s: float
    connections: int
    broken: Sequence[str]

    @property
    def cores(self) -> int:
        """Of all parts."""
        return sum(part.number for part in self.parts)

    @property
    def limiting(self) -> Part:
        """The part whose cores are busiest, so the one that a larger peak meets first."""
        return max(self.parts, key=lambda part: part.busy)

    def part(self, name: str) -> Part:
        """One of them."""
        return next(part for part in self.parts if part.name == name)


def of(demand: Demand, mix: Mix, calibration: Calibration, *, busy: float = BUSY) -> Fleet:
    """The smallest fleet that stands this. busy: how much of a core a peak may take. Raises BadInputError when that is
    not above 0 and at most 1."""
    if not 0 < busy <= 1:
        raise BadInputError(f"--busy: must be above 0 and at most 1, not {busy}")
    decided, refused = demand.peak * mix.decided, demand.peak * mix.refused
    wins = min(decided, demand.units)
    edge_us = demand.peak * mix.kept * calibration.edge_kept_us + (decided + refused) * calibration.edge_passed_us
    api_us = decided * calibration.api_press_us + refused * calibration.api_refusal_us
    script_us = wins * calibration.valkey_win_us + (decided - wins) * calibration.valkey_loss_us
    landings = demand.units / demand.landed_within_s
    valkey = _part(VALKEY, script_us, decided, busy)
    parts = [
        _part(EDGE, edge_us, demand.peak, busy),
        _part(API, api_us, decided + refused, busy),
        valkey,
        # A replica repeats what a script wrote; counted as if it cost the same.
        Part(REPLICA, valkey.number * _REPLICAS, valkey.work_cores * _REPLICAS, wins),
        _part(LANDING, landings * calibration.landing_us, landings, busy),
    ]
    connections = math.ceil(demand.fans / parts[0].number)
    return Fleet(
        demand=demand,
        parts=parts,
        valkey_bytes=_valkey_bytes(demand, calibration) / valkey.number * HEADROOM,
        wire_bits_s=demand.peak * (mix.request_bytes + mix.reply_bytes) * 8.0,
        connections=connections,
        broken=_broken(demand, valkey),
    )


def _part(name: str, work_us: float, per_s: float, busy: float) -> Part:
    cores = work_us / 1e6
    return Part(name, max(1, math.ceil(cores / busy)), cores, per_s)


def _valkey_bytes(demand: Demand, calibration: Calibration) -> float:
    """Of all primaries together, at the fullest moment: all units just sold, none landed."""
    return demand.reserved * calibration.reservation_bytes + demand.units * calibration.order_bytes + SALES_FIELDS_BYTES


def _broken(demand: Demand, valkey: Part) -> list[str]:
    """Limits of the engine that this goes beyond, by how much."""
    bounds = (
        ("buckets of a sale (a primary holds one at least)", valkey.number, limits.BUCKETS_PER_SALE_MAX),
        ("reservations of a sale", demand.reserved, limits.RESERVATIONS_MAX),
        ("units of an item, by items of a sale", demand.units, limits.UNITS_PER_ITEM_MAX * limits.ITEMS_PER_SALE_MAX),
        ("orders on their way, by buckets", demand.units, limits.OUTBOX_ORDERS_MAX * valkey.number),
    )
    return [
        f"{words}: {needed:,} are needed, {most:,} is the most; {needed / most:.1f} times too many"
        for words, needed, most in bounds
        if needed > most
    ]
