"""flashsale plan: how large a fleet a peak needs, by what this machine was measured to do."""

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from flashsale import bench
from flashsale.bench import conditions
from flashsale.capacity import calibration as calibrations
from flashsale.capacity import certify as certifying
from flashsale.capacity import fleet as fleets
from flashsale.capacity import mix as mixes
from flashsale.capacity import rehearsed as rehearsals
from flashsale.capacity.calibration import Calibration
from flashsale.capacity.certify import Certified
from flashsale.capacity.fleet import Demand
from flashsale.capacity.planned import Planned, planned
from flashsale.cli import show
from flashsale.cli.options import Json
from flashsale.cli.run import run
from flashsale.errors import BadInputError
from flashsale.table import print_table

_COLUMNS = ("part", "processes, a core each", "a second", "cores of work", "busy")
_ROUNDS = 3


Peak = Annotated[int, typer.Option(help="Requests in the busiest second.")]
Fans = Annotated[int, typer.Option(help="Fans on the page then.")]
Reserved = Annotated[int, typer.Option(help="Fans in the reservation list.")]
Units = Annotated[int, typer.Option(help="Units on sale.")]
MixFile = Annotated[Path | None, typer.Option(help="Who asks for what (TOML); else the second of the opening.")]
Rehearsed = Annotated[
    Path | None, typer.Option(help="A rehearsal's JSON, scaled to the whole day, instead of --peak to --mix.")
]
LandedWithin = Annotated[float, typer.Option(help="Seconds until the last order is in Postgres.")]
Busy = Annotated[float, typer.Option(help="How much of a core the peak may take, up to 1.")]
Cores = Annotated[int | None, typer.Option(help="Cores that there are; a plan that needs more is refused.")]
Saved = Annotated[
    Path | None, typer.Option(help="A saved calibration; else this machine is measured, for some minutes.")
]
Save = Annotated[Path | None, typer.Option(help="Where to keep the calibration that is measured.")]
Certify = Annotated[
    bool, typer.Option("--certify", help="Play the mix on this machine and say how far off the prediction is.")
]
Force = Annotated[bool, typer.Option("--force", help="Take a calibration from other hardware.")]


def plan(
    peak: Peak = 800_000,
    fans: Fans = 5_000_000,
    reserved: Reserved = 15_000_000,
    units: Units = 150_000,
    mix: MixFile = None,
    rehearsed: Rehearsed = None,
    landed_within: LandedWithin = fleets.LANDED_WITHIN_S,
    busy: Busy = fleets.BUSY,
    cores: Cores = None,
    calibration: Saved = None,
    save: Save = None,
    certify: Certify = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Say how many of each part a peak needs, what holds it back, and what changes when it doubles.

    Measures this machine first, or takes a saved calibration. A plan that can't be met is told with exit status 2, a
    prediction that is too far off with 1.

    Example: flashsale plan --peak 800000 --save calibration.json

    Then, without measuring: flashsale plan --peak 1600000 --calibration calibration.json

    For a day that was rehearsed: flashsale rehearse note-qzone-2014 --scale 0.01 --json > day.json, and then
    flashsale plan --rehearsed day.json --calibration calibration.json

    How good is it: flashsale plan --calibration calibration.json --certify
    """
    demand, asked = Demand(peak, fans, reserved, units, landed_within), mixes.load(mix)
    if rehearsed is not None:
        demand, asked = rehearsals.read(rehearsed)
    made = planned(demand, asked, _calibration(calibration, save, force=force), busy=busy)
    played = _certified(made) if certify else None
    if json:
        show.json(made.as_data() | ({"certified": played.as_data()} if played else {}))
    else:
        _print(made, played)
    _end(made, played, cores)


def _end(made: Planned, played: Certified | None, cores: int | None) -> None:
    """Raises BadInputError for a plan that can't be met, Exit for a prediction that is too far off."""
    if broken := made.broken(cores):
        raise BadInputError("This can't be met:\n  " + "\n  ".join(broken))
    if played is not None and not played.within:
        raise typer.Exit(1)


def _calibration(saved: Path | None, save: Path | None, *, force: bool) -> Calibration:
    if saved is not None:
        costs = calibrations.read(saved)
        if not force:
            calibrations.refuse_foreign(costs, conditions.machine())
        return costs
    if save is not None and not save.parent.is_dir():
        raise BadInputError(f"--save: there is no folder {save.parent}")
    with Console(stderr=True).status("measuring this machine") as status:
        report = run(bench.run(calibrations.SUITES, rounds=_ROUNDS, on_progress=status.update))
    data = report.as_data()
    if save is not None:
        save.write_bytes(orjson.dumps(data, option=orjson.OPT_INDENT_2))
    return calibrations.of_report(data)


def _certified(made: Planned) -> Certified:
    with Console(stderr=True).status("certifying") as status:
        return run(certifying.certify(made.mix, made.costs, on_progress=status.update))


def _print(made: Planned, played: Certified | None) -> None:
    console = Console()
    rows = [
        (part.name, part.number, f"{part.per_s:,.0f}", f"{part.work_cores:.1f}", f"{part.busy:.0%}")
        for part in made.fleet.parts
    ]
    title = f"{made.fleet.demand.peak:,} requests a second: {made.fleet.cores} cores"
    print_table(console, _COLUMNS, rows, title=title, right=_COLUMNS[1:])
    for words in [*made.words(), *([played.words()] if played else [])]:
        console.print(words, highlight=False, soft_wrap=True)
