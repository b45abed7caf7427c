"""Runs the mutants and prints what caught each. Exit status 1 when one survives that is not listed as equivalent."""

import argparse
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import flashsale
from tests.mutants import equivalents, of_lua, of_schema, of_sql
from tests.mutants.choice import LAYERS, Choice, files_of, folders_for
from tests.mutants.mutant import Mutant
from tests.mutants.slots import RunningSlot, SlotError, Verdict, share_out, slots

ROOT: Final = Path(flashsale.__file__).parent.parent
EXAMPLE: Final = "example: python -m tests.mutants --only purchase --seed 7"


@dataclass(slots=True)
class Run:
    """One run: how it goes, and what is said of it."""

    mutants: Sequence[Mutant]
    known: dict[str, str]
    seed: int
    began: float = field(default_factory=time.monotonic)
    last: dict[str, Verdict] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[Verdict]:
        """The last word on each mutant, in the order of files and lines."""
        return sorted(self.last.values(), key=lambda one: (one.mutant.file, one.mutant.line))

    def left(self, layer: Sequence[str]) -> list[Mutant]:
        """The mutants that nothing has caught, and that this layer has tests for.

        Those that are listed come first: nothing will stop them, so they take longest.
        """
        done = {name for name, one in self.last.items() if one.caught_by or one.refused}
        found = [one for one in self.mutants if one.name not in done and folders_for(one, layer)]
        return sorted(found, key=lambda one: one.name not in self.known)

    def take(self, verdict: Verdict) -> None:
        """Note a verdict, and tell how far it is."""
        self.last[verdict.mutant.name] = verdict
        told = self._told(verdict)
        mutant = verdict.mutant
        print(
            f"[{len(self.last)}/{len(self.mutants)}] {verdict.seconds:5.1f} s  {mutant.file}:{mutant.line}  "
            f"{mutant.what}\n{'':16}{told}  {verdict.said}",
            file=sys.stderr, flush=True,
        )  # fmt: skip

    def _told(self, verdict: Verdict) -> str:
        reason = self.known.get(verdict.mutant.name)
        if verdict.refused:
            return f"none, no server takes it: {verdict.refused}"
        if verdict.trouble:
            return f"NO VERDICT: {verdict.trouble}"
        return verdict.caught_by or (f"equivalent: {reason}" if reason else "SURVIVED")

    @property
    def survived(self) -> list[str]:
        """The names of those that no test caught."""
        return [
            one.mutant.name for one in self.verdicts if not (one.caught_by or one.trouble or one.refused)
        ]  # fmt: skip

    @property
    def without_verdict(self) -> list[str]:
        """The names of those of which nothing can be said."""
        return [one.mutant.name for one in self.verdicts if one.trouble]

    def complaints(self, every: Sequence[Mutant]) -> list[str]:
        """Why the run fails, if it does."""
        return equivalents.complaints(
            self.known,
            tried=[one.mutant.name for one in self.verdicts],
            survived=self.survived,
            every=[one.name for one in every],
            without_verdict=self.without_verdict,
        )

    def as_data(self, complaints: Sequence[str]) -> dict[str, object]:
        """All of it, for scripts."""
        return {
            "seed": self.seed,
            "seconds": round(time.monotonic() - self.began, 1),
            "complaints": list(complaints),
            "mutants": [
                {
                    "name": one.mutant.name, "file": one.mutant.file, "line": one.mutant.line,
                    "caught_by": one.caught_by, "said": one.said, "seconds": one.seconds,
                    "trouble": one.trouble, "refused": one.refused,
                    "equivalent": self.known.get(one.mutant.name, ""),
                }
                for one in self.verdicts
            ],
        }  # fmt: skip

    def print_table(self) -> None:
        """Each mutant with what caught it."""
        for one in self.verdicts:
            print(f"{one.mutant.file}:{one.mutant.line} | {one.mutant.what} | {self._told(one)}")
        caught = sum(bool(one.caught_by) for one in self.verdicts)
        print(
            f"{len(self.verdicts)} mutants, {caught} caught, {len(self.survived)} survived, "
            f"{len(self.without_verdict)} without a verdict, {sum(bool(one.refused) for one in self.verdicts)} that no "
            f"server takes, in "
            f"{time.monotonic() - self.began:.0f} s. Walk seed {self.seed}."
        )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__, epilog=EXAMPLE)
    parser.add_argument(
        "--only", default="", metavar="WORD", help="only mutants whose name or file has this word in it"
    )
    parser.add_argument("--seed", type=int, default=None, help="the seed of the model walk (a new one if not given)")
    parser.add_argument("--slots", type=int, default=min(2, os.cpu_count() or 1), help="how many at a time")
    parser.add_argument("--quick", action="store_true", help="only the first layer of tests: no whole processes")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--list", action="store_true", help="only name the mutants of scripts and queries")
    return parser.parse_args(arguments)


def watch(running: Sequence[RunningSlot], mutants: Sequence[Mutant], layer: Sequence[str]) -> Choice:
    """Run a layer's tests on the code as it is, and see which uses what. Raises SlotError when one fails."""
    began, choice = time.monotonic(), Choice(layer)
    share_out(running, files_of(running[0].tests, mutants, layer), RunningSlot.watch, choice.watched.extend)
    print(
        f"unbroken: all {len(choice.watched)} tests of {', '.join(layer)} pass, in {time.monotonic() - began:.0f} s",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return choice


def try_all(running: Sequence[RunningSlot], run: Run, layers: Sequence[Sequence[str]]) -> None:
    """Let each mutant meet its tests, layer after layer until it is caught."""
    for layer in layers:
        if left := run.left(layer):
            _try_layer(running, watch(running, left, layer), left, run)


def _try_layer(running: Sequence[RunningSlot], choice: Choice, mutants: Sequence[Mutant], run: Run) -> None:
    def attempt(slot: RunningSlot, mutant: Mutant) -> Verdict:
        verdict = slot.attempt(mutant, choice.tests_for(mutant))
        if verdict.caught_by:
            choice.learn(mutant, verdict.caught_by)
        return verdict

    share_out(running, mutants, attempt, run.take)


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; the exit status."""
    asked = parse(arguments)
    texts = [*of_lua.mutants(ROOT), *of_sql.mutants(ROOT)]
    if asked.list:
        print("\n".join(one.name for one in texts if asked.only in one.name or asked.only in one.file))
        return 0
    seed = secrets.randbelow(2**32) if asked.seed is None else asked.seed
    known = equivalents.listed(equivalents.FILE.read_text(encoding="utf-8"))
    try:
        with slots(ROOT, number=max(1, asked.slots), seed=seed) as running:
            schema, decisions = running[0].schema, running[0].decisions
            every = [*texts, *of_schema.mutants(ROOT, schema), *of_schema.of_decisions(ROOT, decisions)]
            chosen = [one for one in every if asked.only in one.name or asked.only in one.file]
            if not chosen:
                print(f"No mutant has {asked.only!r} in its name. Nothing was run.", file=sys.stderr)
                return 2
            going = Run(chosen, known, seed)
            try_all(running, going, LAYERS[:1] if asked.quick else LAYERS)
    except SlotError as trouble:
        print(f"The run could not be made: {trouble}", file=sys.stderr)
        return 3
    found = going.complaints(every)
    if asked.json:
        print(json.dumps(going.as_data(found), indent=1))
    else:
        going.print_table()
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that slots end and their folders go
    sys.exit(main(sys.argv[1:]))
