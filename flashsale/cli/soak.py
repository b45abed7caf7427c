"""flashsale soak: a sale that never runs dry, one fault after the other, until a promise breaks or the time is over."""

import logging
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from flashsale.cli import show
from flashsale.cli.options import Json
from flashsale.cli.rehearse import LEVELS, TOPOLOGIES, check_ground
from flashsale.durability import Level
from flashsale.errors import BadInputError
from loadtest import scenario
from loadtest import soak as soaking
from loadtest.faults.base import SINGLE

_MINUTES_MIN, _MINUTES_MAX = 1.0, 60.0


def soak(
    minutes: Annotated[float, typer.Option(help="How long, 1 to 60.")] = 10.0,
    topology: Annotated[str, typer.Option(help="single: one Valkey; cluster: six nodes.", metavar=TOPOLOGIES)] = SINGLE,
    ack: Annotated[str, typer.Option(help="The level of a win.", metavar=LEVELS)] = Level.ACCEPTED.value,
    seed: Annotated[int | None, typer.Option(help="Of everything random; else a new one, which is told.")] = None,
    json: Json = False,
) -> None:
    """Hurt a selling sale with faults drawn from a seed, audit after each, stop at the first broken promise.

    Exit status: 0 nothing broke, 1 a promise is broken, 2 unusable arguments, 3 the surroundings.

    Example: flashsale soak --minutes 10 --topology cluster --seed 7
    """
    if not _MINUTES_MIN <= minutes <= _MINUTES_MAX:
        raise BadInputError(f"--minutes: must be {_MINUTES_MIN:g} to {_MINUTES_MAX:g}")
    check_ground(topology=topology, ack=ack)
    logging.getLogger("asyncpg").setLevel(logging.ERROR)  # a fault takes Postgres away; that is no news to us
    drawn = secrets.randbelow(10**6) if seed is None else seed
    options = soaking.Options(minutes=minutes, seed=drawn, topology=topology, ack=ack)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, console.status("starting") as status:

        def told(phase: str, now: Mapping[str, Any]) -> None:
            if phase:
                console.print(f"{now.get('won', 0):>8,} wins  {escape(phase)}", highlight=False)
            status.update(
                f"{now.get('phase', 'starting')}: {now.get('won', 0):,} wins, {now.get('answered', 0):,} answers"
            )

        result = soaking.run(scenario.load("faults"), options, folder=Path(folder), told=told)
    if json:
        show.json(result)
    else:
        _show(result)
    raise typer.Exit(0 if result["verdict"] == "pass" else 1)


def _show(result: Mapping[str, Any]) -> None:
    """The result for a person."""
    rows = [
        (fault["name"], f"{fault['at_s']:g}", str(fault["healed_at_s"]), str(fault["observed"].get("next_win_s")))
        for fault in result["faults"]
    ]
    show.table(("fault", "at s", "healed at s", "next win after s"), rows)
    show.text(f"{result['audits']} audits, {result['wins']} wins, seed {result['seed']}: {result['verdict']}")
    for reason in result["reasons"]:
        show.text(f"  {escape(reason)}")
    if result["logs"]:
        show.text(f"The logs of all servers and processes are in {result['logs']}")
    show.text(f"Again: {result['again']}")
