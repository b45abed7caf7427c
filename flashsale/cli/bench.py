"""flashsale bench: ratios against references measured in the same run."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flashsale import bench as benches
from flashsale.bench.history import append as add_to_history
from flashsale.cli import show
from flashsale.cli.options import Json
from flashsale.cli.run import run


def bench(
    suites: Annotated[list[str], typer.Argument(help=f"Any of: {', '.join(benches.SUITES)}.", metavar="SUITE...")],
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; the median is told.")] = benches.ROUNDS,
    history: Annotated[Path | None, typer.Option(help="A file to which a line with the figures is added.")] = None,
    json: Json = False,
) -> None:
    """Measure the engine beside its references, on servers of its own.

    An absolute figure moves with the machine; the ratio is the claim.

    Example: flashsale bench http engine writer --rounds 5 --history bench-history.jsonl
    """
    benches.check(suites, rounds=rounds)
    with Console(stderr=True).status("starting") as status:
        report = run(benches.run(suites, rounds=rounds, on_progress=status.update))
    if json:
        show.json(report.as_data())
    else:
        benches.print_report(report, Console())
    if history is not None:
        add_to_history(history, report)
