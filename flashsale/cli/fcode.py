"""flashsale fcode …: batches of F-codes, from their making to the day when what is unused goes on sale."""

import contextlib
import csv
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flashsale import batch, clock, config, ledger, plan
from flashsale.batch import Batch, Terms
from flashsale.cli import show
from flashsale.cli.options import Actor, Json, Name
from flashsale.cli.run import opened, person, run
from flashsale.clock import from_ms, to_ms
from flashsale.errors import BadInputError, SurroundingsError
from flashsale.identity import code_keys_of
from flashsale.issuing import Issuing, Range
from flashsale.queries import Connection

app = typer.Typer(help="Make, export, extend and release F-codes.", no_args_is_help=True)
Number = Annotated[int, typer.Argument(help="The batch's number.", metavar="BATCH", min=1)]
When = Annotated[
    str | None, typer.Option(metavar="TIME", help="Like 2026-12-01T12:00:00+08:00, or +2d from the opening.")
]
_ROWS_PER_TICK = 5_000


@asynccontextmanager
async def _issuing(actor: str | None) -> AsyncIterator[Issuing]:
    keys = code_keys_of(config.load())
    async with opened() as both:
        yield Issuing(redis=both.redis, postgres=both.postgres, keys=keys, actor=actor or person())


@app.command()
def create(
    sale: Name,
    item: Annotated[
        list[str], typer.Option(help="Item and how many codes for it; may be given again.", metavar="ITEM=CODES")
    ],
    tag: Annotated[str, typer.Option(help="What the batch is for; ops alone see it.")] = "",
    channel: Annotated[
        str | None, typer.Option(help="Its orders count for this channel; else the sale's first.")
    ] = None,
    valid: When = None,
    expires: When = None,
    release: When = None,
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Make a batch of codes. Each has a unit set aside, out of the item's fcode_stock.

    They may be used from --valid (else now) to --expires (else the sale's end), before the opening too. At --release,
    if given, what is unused goes on sale for everybody.

    Example: flashsale fcode create mi3-2013 --item silver=450000 --channel wechat --release +2h
    """
    codes = dict(map(_codes, item))
    if len(codes) < len(item):
        raise BadInputError("--item: the same item twice")

    async def work() -> Batch:
        async with _issuing(actor) as ops:
            async with ops.postgres.acquire() as connection:
                found = await ledger.find(connection, sale)
                times = await _Times.of(connection, sale)
            terms = Terms(
                codes=codes,
                tag=tag,
                channel=channel or found.channels[0],
                valid_ms=times.read("--valid", valid, else_ms=clock.now_ms()),
                expires_ms=times.read("--expires", expires, else_ms=found.closes_ms),
                release_ms=times.read("--release", release, else_ms=0) if release else None,
            )
            return await ops.create(sale, terms)

    made = run(work())
    _told(made, json, f"Export them: flashsale fcode export {made.batch} FILE.csv")


def _codes(text: str) -> tuple[str, int]:
    item, _, codes = text.partition("=")
    if not codes.isascii() or not codes.isdigit():
        raise BadInputError(f"--item: {text!r} should be like silver=1000")
    return item, int(codes)


class _Times:
    """Reads the times of a command as those of the sale's plan."""

    def __init__(self, opens_ms: int, zone: str) -> None:
        self._opens_ms = opens_ms
        self._zone = zone

    @classmethod
    async def of(cls, connection: Connection, sale: str) -> "_Times":
        found = await ledger.find(connection, sale)
        written, _ = await ledger.plan_of(connection, sale)
        return cls(found.opens_ms, written.get("time_zone", "UTC"))

    def read(self, name: str, text: str | None, *, else_ms: int) -> int:
        if text is None:
            return else_ms
        return to_ms(plan.moment(name, text, zone=self._zone, base=from_ms(self._opens_ms)))


@app.command("list")
def list_(sale: Name, json: Json = False) -> None:
    """A sale's batches, and how many of their codes were given out and used.

    Example: flashsale fcode list mi3-2013
    """

    async def work() -> tuple[list[Batch], Mapping[int, int]]:
        async with opened() as both, both.postgres.acquire() as connection:
            found = await batch.of_sales(connection, [await ledger.find(connection, sale)])
            return found, await batch.redeemed_of(connection, sale)

    found, counts = run(work())
    if json:
        show.json([_data(one) | {"redeemed": counts[one.batch]} for one in found])
    elif not found:
        show.text(f"Sale {sale} has no F-codes. Make some: flashsale fcode create {sale} --item ITEM=CODES")
    else:
        rows = [
            (one.batch, ", ".join(f"{part.item} {part.codes:,}" for part in one.slices), f"{one.issued:,}",
             f"{counts[one.batch]:,}", show.moment(one.expires_ms),
             "released" if one.released else show.moment(one.release_ms), one.tag or "-")
            for one in found
        ]  # fmt: skip
        show.table(("batch", "codes", "given", "used", "expires", "release", "tag"), rows)


@app.command()
def export(
    number: Number,
    file: Annotated[Path, typer.Argument(help="The CSV file to write; it must not be there yet.", metavar="FILE.csv")],
    codes: Annotated[int | None, typer.Option(help="How many; else all that nobody has yet.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Write what was exported before once more.")] = False,
    actor: Actor = None,
) -> None:
    """Write codes that nobody has yet to a file, which the file's owner alone may read. They count as given out.

    Example: flashsale fcode export 7 vips.csv --codes 500
    """
    if again and codes is not None:
        raise BadInputError("--again: writes all that was exported before; leave --codes out")

    async def work() -> list[Range]:
        async with _issuing(actor) as ops:
            some = await ops.taken(number) if again else [await ops.take(number, codes)]
            try:
                with file_:
                    _write(ops, some, file_)
            except OSError as trouble:
                raise SurroundingsError(
                    f"{file} could not be written whole: {trouble.strerror}. Its codes count as given out; make room, "
                    f"then: flashsale fcode export {number} FILE --again"
                ) from trouble
            return some

    file_ = _new_file(file)
    try:
        some = run(work())
    except BaseException:
        if not file.stat().st_size:
            file.unlink()
        raise
    total = sum(one.codes for one in some)
    show.text(f"{show.counted(total, 'code', 'codes')} of batch {number} in {file}.")


def _new_file(file: Path) -> TextIO:
    """The file, made for its owner alone. Raises BadInputError when there is one, SurroundingsError."""
    try:
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", newline="", encoding="utf-8")
    except FileExistsError as there:
        raise BadInputError(f"{file}: is there already; codes are written to a new file") from there
    except OSError as trouble:
        raise SurroundingsError(f"{file} can't be written: {trouble.strerror}") from trouble


def _write(ops: Issuing, some: list[Range], file: TextIO) -> None:
    rows = csv.writer(file)
    rows.writerow(("code", "item"))
    total = sum(one.codes for one in some)
    with _progress(total) as tick:
        for one in some:
            for row in ops.codes_of(one):
                rows.writerow(row)
                tick()


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on a terminal, nothing elsewhere; the function that it gives counts one."""
    bar = Progress(
        TextColumn("codes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True,
    )  # fmt: skip
    done = 0
    with bar:
        task = bar.add_task("", total=total)

        def tick() -> None:
            nonlocal done
            done += 1
            if done % _ROWS_PER_TICK == 0:
                bar.update(task, completed=done)

        yield tick


@app.command()
def extend(
    number: Number,
    expires: Annotated[str, typer.Argument(help="The new time, as for create.", metavar="TIME")],
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Let a batch's codes be used until another time, later or sooner.

    Example: flashsale fcode extend 7 2026-12-03T12:00:00+08:00
    """

    async def work() -> Batch:
        async with _issuing(actor) as ops:
            async with ops.postgres.acquire() as connection:
                times = await _Times.of(connection, (await batch.find(connection, number)).sale)
            return await ops.extend(number, expires_ms=times.read("TIME", expires, else_ms=0))

    _told(run(work()), json, "")


@app.command()
def release(number: Number, json: Json = False, actor: Actor = None) -> None:
    """Take no code of a batch any more, and put the units of those that were not used on sale for everybody.

    Example: flashsale fcode release 7
    """

    async def work() -> Batch:
        async with _issuing(actor) as ops:
            return await ops.release(number)

    _told(run(work()), json, "The worker puts its unused units on sale for everybody, within seconds.")


def _told(one: Batch, json: bool, words: str) -> None:
    if json:
        show.json(_data(one))
        return
    items = ", ".join(f"{part.codes:,} for {part.item}" for part in one.slices)
    state = "released" if one.released else f"valid to {show.moment(one.expires_ms)}"
    show.text(f"Batch [bold]{one.batch}[/bold] of {one.sale}: {items}; {state}.")
    if words:
        show.text(words)


def _data(one: Batch) -> dict[str, Any]:
    """A batch for scripts. *_ms: ms since 1970 UTC."""
    return {
        "batch": one.batch,
        "sale": one.sale,
        "codes": {part.item: part.codes for part in one.slices},
        "given": one.issued,
        "tag": one.tag,
        "channel": one.channel,
        "valid_ms": one.valid_ms,
        "expires_ms": one.expires_ms,
        "release_ms": one.release_ms,
        "released": one.released,
    }
