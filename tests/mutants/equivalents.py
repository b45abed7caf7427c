"""The mutants that change nothing anybody could see, each with the reason. The list may only shrink.

An entry that a test catches after all, or that names no mutant, fails the run.
"""

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_name("equivalents.toml")


def listed(text: str) -> dict[str, str]:
    """Name of a mutant to the reason. Raises ValueError for an entry without a reason or that is there twice."""
    found: dict[str, str] = {}
    for entry in tomllib.loads(text).get("mutant", []):
        name, reason = str(entry["name"]), str(entry.get("reason", "")).strip()
        if not reason or name in found:
            raise ValueError(f"{name}: it has no reason, or is listed twice")
        found[name] = reason
    return found


def complaints(
    known: Mapping[str, str],
    *,
    tried: Collection[str],
    survived: Collection[str],
    every: Collection[str],
    without_verdict: Collection[str] = (),
) -> list[str]:
    """What is wrong between the list and a run: survivors that are not listed, entries that are caught or name nothing.

    tried: the names of the mutants that were run; every: of all that there are; without_verdict: those of which no
    test could say anything.
    """
    spared = {*survived, *without_verdict}
    return [
        *(f"NO VERDICT: {name}" for name in without_verdict),
        *(f"SURVIVED: {name}" for name in survived if name not in known),
        *(f"listed, but a test catches it: {name}" for name in known if name in tried and name not in spared),
        *(f"listed, but there is no such mutant: {name}" for name in known if name not in every),
    ]
