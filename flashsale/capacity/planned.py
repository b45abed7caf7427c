"""A whole plan: the fleet for a demand, its opening, and what it would be when everything grows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flashsale.capacity import calibration as calibrations
from flashsale.capacity import fleet as fleets
from flashsale.capacity import opening as openings
from flashsale.capacity.calibration import Calibration
from flashsale.capacity.fleet import Demand, Fleet
from flashsale.capacity.mix import Mix
from flashsale.capacity.opening import Opening

_GROWN: Final = (2, 10)


@dataclass(frozen=True, slots=True)
class Planned:
    """grown: the fleet at so many times the demand."""

    mix: Mix
    costs: Calibration
    busy: float
    fleet: Fleet
    opening: Opening
    grown: Mapping[int, Fleet]

    def broken(self, cores: int | None) -> list[str]:
        """Limits that it goes beyond and by how much, in words. cores: those that there are; None: any number."""
        broken = list(self.fleet.broken)
        if cores is not None and self.fleet.cores > cores:
            largest = max(self.fleet.parts, key=lambda part: part.number)
            broken.append(
                f"cores: {self.fleet.cores} are needed, {cores} are there; {self.fleet.cores - cores} too few. "
                f"Most go to {largest.name}: {largest.number}"
            )
        return broken

    def words(self) -> list[str]:
        """What stands under the table, a line each."""
        fleet, opening, mix = self.fleet, self.opening, self.mix
        opened = (
            f"Opening: all {fleet.demand.units:,} sold after {opening.sold_out_s:.2f} s; a press takes "
            f"{opening.p50_s * 1e3:.0f} ms (p50), {opening.p99_s * 1e3:.0f} ms (p99); "
            f"{opening.told_to_wait:,} are told to wait."
        )
        room = (
            f"Memory: {fleet.valkey_bytes / 2**20:,.0f} MiB for each Valkey. "
            f"Wire: {fleet.wire_bits_s / 1e9:.1f} Gbit/s at the edge. "
            f"Connections: {fleet.connections:,} for each edge process{_beyond(fleet.connections)}."
        )
        asked = (
            f"Mix: {mix.words}; kept {mix.kept:.0%}, refused {mix.refused:.0%}, decided {mix.decided:.0%}, "
            f"{mix.at_once:.0%} of a second's at once."
        )
        processor = self.costs.machine.get("processor")
        assumed = (
            f"Assumed: cores like those measured ({processor}), {self.busy:.0%} busy at most; a replica works as much "
            "as its primary; fans are spread evenly over buckets; page files come from elsewhere; TLS ends before the "
            "edge."
        )
        grown = [self._grown_words(factor, grown) for factor, grown in self.grown.items()]
        return [
            f"Limiting: {fleet.limiting.name}, {fleet.limiting.busy:.0%} busy.",
            opened,
            room,
            *grown,
            asked,
            assumed,
        ]

    @staticmethod
    def _grown_words(factor: int, grown: Fleet) -> str:
        parts = ", ".join(f"{part.name} {part.number}" for part in grown.parts)
        beyond = f". Beyond a limit: {'; '.join(grown.broken)}" if grown.broken else ""
        return f"At ×{factor}: {grown.cores} cores ({parts}){beyond}."

    def as_data(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "demand": _plain(self.fleet.demand),
            "mix": self.mix.model_dump(),
            "busy": self.busy,
            **_fleet_data(self.fleet),
            "opening": _plain(self.opening),
            "grown": {str(factor): _fleet_data(fleet) for factor, fleet in self.grown.items()},
            "calibration": {
                "machine": dict(self.costs.machine),
                "commit": self.costs.commit,
                "costs": calibrations.costs(self.costs),
            },
        }


def planned(demand: Demand, mix: Mix, costs: Calibration, *, busy: float = fleets.BUSY) -> Planned:
    """Raises BadInputError when busy is not above 0 and at most 1."""
    fleet = fleets.of(demand, mix, costs, busy=busy)
    opening = openings.play(fleet, mix, costs)
    grown = {factor: fleets.of(demand.times(factor), mix, costs, busy=busy) for factor in _GROWN}
    return Planned(mix, costs, busy, fleet, opening, grown)


def _beyond(connections: int) -> str:
    if connections <= fleets.EDGE_CONNECTIONS:
        return ""
    return (
        f" (deploy/nginx allows {fleets.EDGE_CONNECTIONS:,}: raise worker_connections and the open files, or lower "
        "keepalive_timeout)"
    )


def _fleet_data(fleet: Fleet) -> dict[str, Any]:
    return {
        "cores": fleet.cores,
        "parts": [_plain(part) | {"busy": round(part.busy, 3)} for part in fleet.parts],
        "limiting": fleet.limiting.name,
        "valkey_bytes": round(fleet.valkey_bytes),
        "wire_bits_s": round(fleet.wire_bits_s),
        "connections": fleet.connections,
        "broken": list(fleet.broken),
    }


def _plain(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}
