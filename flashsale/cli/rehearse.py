"""flashsale rehearse: replay a release day on this machine and give a verdict."""

import logging
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from flashsale.cli import show
from flashsale.cli.options import Json
from flashsale.durability import Level
from flashsale.errors import BadInputError
from loadtest import rehearsal, scenario
from loadtest.faults.base import CLUSTER, SINGLE
from loadtest.faults.runs import FAULT_COLUMNS, fault_cells, play, seeds_of, shown

TOPOLOGIES: Final = f"<{SINGLE}|{CLUSTER}>"
LEVELS: Final = f"<{'|'.join(Level)}>"


def rehearse(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(scenario.names())}.", metavar="SCENARIO")],
    scale: Annotated[float, typer.Option(help="Share of the scenario's units and fans, above 0.")] = 1.0,
    seed: Annotated[
        str | None, typer.Option(help="Of everything random; else a new one, which is told. 1-10 or 3,7: a table.")
    ] = None,
    topology: Annotated[str, typer.Option(help="single: one Valkey; cluster: six nodes.", metavar=TOPOLOGIES)] = SINGLE,
    ack: Annotated[str, typer.Option(help="The level of a win.", metavar=LEVELS)] = Level.ACCEPTED.value,
    buckets: Annotated[int | None, typer.Option(help="Into how many buckets the sale is cut; else 1, or 4.")] = None,
    fault: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME@SECONDS after the opening; again for more.", metavar="NAME")
    ] = None,
    apis: Annotated[int, typer.Option(help="How many api processes.", min=1, max=16)] = 1,
    json: Json = False,
) -> None:
    """Start own servers, replay a release day over HTTP, audit, and give a verdict.

    Exit status: 0 pass, 1 a promise or the bound is broken, 2 unusable arguments, 3 the surroundings.

    Example: flashsale rehearse mi3-wechat-2013 --scale 0.1

    With a fault: flashsale rehearse faults --fault F1@4 --seed 7

    For many seeds: flashsale rehearse faults --fault F5 --topology cluster --ack replicated --seed 1-10
    """
    if not 0 < scale <= 10:
        raise BadInputError("--scale: must be above 0 and at most 10")
    check_ground(topology=topology, ack=ack)
    logging.getLogger("asyncpg").setLevel(logging.ERROR)  # a fault takes Postgres away; that is no news to us
    loaded = scenario.load(name)
    seeds = [secrets.randbelow(10**6)] if seed is None else seeds_of(seed)
    options = rehearsal.Options(
        scale=scale,
        seed=seeds[0],
        ack=ack,
        topology=topology,
        faults=fault or (),
        apis=apis,
        buckets=buckets,
    )
    if len(seeds) > 1:
        _play_many(name, [replace(options, seed=one) for one in seeds], as_json=json)
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder, _progress() as progress:
        result = rehearsal.run(loaded, options, folder=Path(folder), told=_teller(progress, loaded, scale))
    if json:
        show.json(result)
    else:
        shown_one(result)
    raise typer.Exit(0 if result["verdict"] == "pass" else 1)


def _play_many(name: str, wanted: Sequence[rehearsal.Options], *, as_json: bool) -> NoReturn:
    """One run for each; a line after each on standard error, the table at the end."""
    errors = Console(stderr=True)
    lines = play(name, wanted, lambda text: errors.print(text, highlight=False, markup=False, soft_wrap=True))
    if as_json:
        show.json([line.as_data() for line in lines])
    else:
        shown(lines, Console())
    raise typer.Exit(int(any(line.verdict == "fail" for line in lines)))


def check_ground(*, topology: str, ack: str) -> None:
    """Raises BadInputError for a topology or level that there is not, or that don't go together."""
    if topology not in {SINGLE, CLUSTER}:
        raise BadInputError(f"--topology: there is no {topology}; there are: {SINGLE}, {CLUSTER}")
    if ack not in set(Level):
        raise BadInputError(f"--ack: there is no level {ack}; there are: {', '.join(Level)}")
    if ack == Level.REPLICATED and topology == SINGLE:
        raise BadInputError(f"--ack: level {ack} needs replicas: --topology {CLUSTER}")


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}"),
        console=Console(stderr=True),
        transient=True,
    )


def _teller(progress: Progress, loaded: scenario.Scenario, scale: float) -> rehearsal.Told:
    fans = max(1, round(loaded.crowd.reserved * scale))
    units = sum(max(1, round(item["stock"] * scale)) for item in loaded.sale["items"])
    reserving = progress.add_task("reserved", total=fans, words="")
    winning = progress.add_task("won", total=units, words="")

    def told(phase: str, now: Mapping[str, Any]) -> None:
        progress.update(reserving, completed=now.get("reserved", fans if phase == "landing" else 0), words=phase)
        progress.update(
            winning,
            completed=now.get("won", units if phase == "landing" else 0),
            words=f"{now.get('answered', 0):,} attempts answered",
        )

    return told


def _published(figures: Mapping[str, Any]) -> str:
    """What the scenario reproduces, as far as it was published."""
    words = {
        "units": "{:,} units", "seconds": "in {:g} s", "reserved": "{:,} reserved", "on_page": "{:,} on the page",
        "peak_per_s": "{:,} requests/s",
    }  # fmt: skip
    return ", ".join(text.format(figures[name]) for name, text in words.items() if name in figures)


def shown_one(result: Mapping[str, Any]) -> None:
    """The result for a person."""
    orders, seconds, latency = result["orders"], result["seconds"], result["latency_ms"]["purchase"]
    show.text(f"[bold]{result['scenario']}[/bold] at scale {result['scale']}, seed {result['seed']}")
    show.table(
        ("what", "figure"),
        [
            ("units loaded / sold / free", " / ".join(f"{result['units'][k]:,}" for k in ("loaded", "sold", "free"))),
            ("attempts answered", f"{result['attempts']['answered']:,}"),
            ("of them", ", ".join(f"{k} {v:,}" for k, v in result["attempts"]["by_outcome"].items())),
            ("orders confirmed / paid", f"{orders['confirmed']:,} / {orders['paid']:,}"),
            ("missing / duplicate / oversold", f"{orders['missing']} / {orders['duplicate']} / {orders['oversold']}"),
            ("open to last unit", f"{seconds['open_to_last_unit']} s"),
            ("open to last confirmed", f"{seconds['open_to_last_confirmed']} s"),
            ("published", _published(result["published"])),
            ("attempts/s, wins/s", f"{result['rates']['attempts_per_s']:,}, {result['rates']['wins_per_s']:,}"),
            ("busiest second", f"{result['peak']['requests']:,} requests, {result['peak']['looks']:,} of them looks"),
            ("purchase p50 / p99 / max", f"{latency['p50']} / {latency['p99']} / {latency['max']} ms"),
            ("sold-out bound p99", f"{result['sold_out_bound_ms']['p99']} ms"),
            ("audit", "balanced" if result["audit"]["balanced"] else "NOT balanced"),
        ],
    )
    if result["faults"]:
        show.table(FAULT_COLUMNS, [fault_cells(fault) for fault in result["faults"]], title="Faults")
    if result["lost_tail"]:
        show.text(f"Lost, told and nowhere: {', '.join(result['lost_tail'])}")
    colour = "green" if result["verdict"] == "pass" else "red"
    show.text(
        f"[{colour}]{result['verdict']}[/{colour}]" + "".join(f"\n  {escape(reason)}" for reason in result["reasons"])
    )
    if result["logs"]:
        show.text(f"The logs of all servers and processes are in {result['logs']}")
