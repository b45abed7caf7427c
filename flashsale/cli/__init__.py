"""The command line of operators and SREs. Exit status: 0 done, 1 a promise is broken, 2 bad input, 3 surroundings."""

import logging
import os
import signal
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from flashsale import __version__
from flashsale.errors import FlashsaleError

INTERRUPTED = 130

app = typer.Typer(
    name="flashsale",
    help="A flash-sale engine: fans reserve, everybody presses buy at noon, nothing is sold twice, nothing is lost.\n\n"
    "See it work: [bold]flashsale demo[/bold]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        Console().print(f"flashsale {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every event, not only trouble.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )


def main() -> None:
    """Run the command line; every fault of ours becomes one sentence and an exit status."""
    from flashsale.cli import register  # noqa: PLC0415 -- the verbs import this module

    # Told to end, a command ends as with Ctrl-C: in order, with nothing left behind. A shell that starts it in the
    # background has it ignore Ctrl-C; ours is heard all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    register.all_verbs()
    try:
        app()
    except FlashsaleError as fault:
        Console(stderr=True).print(f"[red]{escape(str(fault))}[/red]", highlight=False, soft_wrap=True)
        sys.exit(fault.exit_status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); that is no fault.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
