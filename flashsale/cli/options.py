"""Arguments and options that several commands have, with the same words everywhere."""

from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="The sale's name.", metavar="SALE")]
Order = Annotated[str, typer.Argument(help="The order's number.", metavar="ORDER")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Actor = Annotated[str | None, typer.Option("--as", help="Who does this, for the log; else the login name.")]
