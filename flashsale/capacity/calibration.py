"""A calibration: what one operation costs on one kind of machine, in microseconds of a core or in bytes.

It is the JSON of `flashsale bench http edge engine writer memory --json`, as it is or from a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import orjson

from flashsale.errors import BadInputError

SUITES: Final = ("http", "edge", "engine", "writer", "memory")
# Where each cost stands in the report.
_METRICS: Final = {
    "edge_kept_us": ("edge", "sold_out_cpu"),
    "edge_passed_us": ("edge", "passed_cpu"),
    "api_press_us": ("http", "purchase_cpu"),
    "api_refusal_us": ("http", "refusal_cpu"),
    "valkey_win_us": ("engine", "wins_cpu"),
    "valkey_loss_us": ("engine", "losses_cpu"),
    "landing_us": ("writer", "landed_cpu"),
    "reservation_bytes": ("memory", "reservation"),
    "order_bytes": ("memory", "order"),
    "buyer_bytes": ("memory", "buyer"),
}
_SAME: Final = ("processor",)
_AGAIN: Final = f"flashsale bench {' '.join(SUITES)} --json > calibration.json"


@dataclass(frozen=True, slots=True)
class Calibration:
    """What an operation costs. machine: processor, system and cores that it was measured on.

    edge_kept_us: nginx answering from its cache; edge_passed_us: nginx handing a press to an api process and back;
    api_press_us: an api process, a press that the script decides; api_refusal_us: one that it refuses by itself;
    valkey_win_us, valkey_loss_us: the script; landing_us: worker and Postgres together, an order; reservation_bytes:
    Valkey, a fan in the list; order_bytes, buyer_bytes: Valkey, an order before and after it has landed.
    """

    machine: Mapping[str, Any]
    commit: str
    edge_kept_us: float
    edge_passed_us: float
    api_press_us: float
    api_refusal_us: float
    valkey_win_us: float
    valkey_loss_us: float
    landing_us: float
    reservation_bytes: float
    order_bytes: float
    buyer_bytes: float


def of_report(data: Mapping[str, Any]) -> Calibration:
    """From a bench's report. Raises BadInputError that names what is missing, and how to get it."""
    costs: dict[str, float] = {}
    for name, (suite, metric) in _METRICS.items():
        try:
            costs[name] = float(data[suite][metric]["value"])
        except (KeyError, TypeError, ValueError) as fault:
            raise BadInputError(f"The calibration has no {suite}.{metric}. Measure again: {_AGAIN}") from fault
        if costs[name] <= 0:
            raise BadInputError(f"The calibration's {suite}.{metric} is {costs[name]}, not above 0. Again: {_AGAIN}")
    suite, metric = _METRICS["api_press_us"]
    conditions = data[suite][metric].get("conditions", {})
    machine = conditions.get("machine")
    if not isinstance(machine, Mapping):
        raise BadInputError(f"The calibration does not say on which machine it was made. Measure again: {_AGAIN}")
    return Calibration(machine=machine, commit=str(conditions.get("commit", "unknown")), **costs)


def read(path: Path) -> Calibration:
    """From a file. Raises BadInputError."""
    try:
        data = orjson.loads(path.read_bytes())
    except OSError as trouble:
        raise BadInputError(f"{path} can't be read ({trouble.strerror}). Make one: {_AGAIN}") from trouble
    except orjson.JSONDecodeError as fault:
        raise BadInputError(f"{path} is not JSON ({fault}). Make one: {_AGAIN}") from fault
    if not isinstance(data, dict):
        raise BadInputError(f"{path} is not the report of a bench. Make one: {_AGAIN}")
    return of_report(data)


def refuse_foreign(calibration: Calibration, here: Mapping[str, Any]) -> None:
    """Raises BadInputError when it was made on another kind of machine than this."""
    for name in _SAME:
        theirs, ours = calibration.machine.get(name), here.get(name)
        if theirs != ours:
            raise BadInputError(
                f"The calibration comes from other hardware: its {name} is {theirs!r}, here it is {ours!r}. "
                f"Measure here ({_AGAIN}), or plan for that hardware with --force."
            )


def costs(calibration: Calibration) -> dict[str, float]:
    """The costs by their names."""
    return {one.name: getattr(calibration, one.name) for one in fields(calibration) if one.name in _METRICS}
