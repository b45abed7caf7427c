"""A rehearsal as a demand and a mix: what the whole day would ask for.

The mix is that of the second of the opening, in which units go; the busiest one may be one of refusals alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from flashsale.capacity.fleet import LANDED_WITHIN_S, Demand
from flashsale.capacity.mix import Mix
from flashsale.errors import BadInputError
from flashsale.outcomes import TELLINGS, Outcome

# What an api process refuses by itself, for one fan alone.
_REFUSED: Final = {Outcome.NO_RIGHT.name, Outcome.TOO_OFTEN.name, Outcome.CHALLENGE.name}
# What holds for everybody, so that the edge keeps it.
_KEPT: Final = {outcome.name for outcome, telling in TELLINGS.items() if telling.shared}


def read(file: Path) -> tuple[Demand, Mix]:
    """From the JSON of `flashsale rehearse SCENARIO --json` in a file. Raises BadInputError.

    The fans who were on the page, the list, the units and the busiest second are scaled to the whole day; a published
    peak stands for the one seen.
    """
    try:
        result = orjson.loads(file.read_bytes())
        return _demand(result), _mix(result)
    except OSError as trouble:
        raise BadInputError(f"{file} can't be read: {trouble.strerror}") from trouble
    except (orjson.JSONDecodeError, KeyError, TypeError, ZeroDivisionError) as fault:
        raise BadInputError(
            f"{file} is not the result of a rehearsal ({fault!r}). Make one: flashsale rehearse note-qzone-2014 "
            "--scale 0.01 --json > rehearsed.json"
        ) from fault


def _demand(result: Mapping[str, Any]) -> Demand:
    scale, published, peak = result["scale"], result["published"], result["peak"]
    on_page = round(result["crowd"]["came"] / scale)
    return Demand(
        peak=published.get("peak_per_s") or round(peak["requests"] / scale),
        fans=published.get("on_page") or on_page,
        reserved=published.get("reserved") or round(result["crowd"]["reserved"] / scale),
        units=round(result["units"]["loaded"] / scale),
        landed_within_s=LANDED_WITHIN_S,
    )


def _mix(result: Mapping[str, Any]) -> Mix:
    opening = result["opening"]
    outcomes: Mapping[str, int] = opening["by_outcome"]
    whole = opening["looks"] + sum(outcomes.values())
    kept = opening["looks"] + sum(number for name, number in outcomes.items() if name in _KEPT)
    if whole == kept:
        raise BadInputError(
            "No press was decided in the second of this rehearsal's opening; rehearse at a larger scale"
        )
    refused = sum(number for name, number in outcomes.items() if name in _REFUSED)
    words = f"the opening of {result['scenario']} at scale {result['scale']:g}, seed {result['seed']}"
    return Mix(words=words, kept=kept / whole, refused=refused / whole, decided=1 - (kept + refused) / whole)
