"""flashsale sale …: what ops do to a sale."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from flashsale import clock, ledger, plan, stock
from flashsale.cli import results as results_verb
from flashsale.cli import sale_show as show_verb
from flashsale.cli import show
from flashsale.cli.options import Actor, Json, Name
from flashsale.cli.run import opened, operations, run
from flashsale.errors import BadInputError
from flashsale.operations import Operations
from flashsale.sale import Challenged, Sale, State, UnitPool, Verb

_CHALLENGED = {
    Challenged.OFF: "Nobody has to solve a challenge.",
    Challenged.SUSPICIOUS: "Fans and addresses over their rate have to solve a challenge before they buy.",
    Challenged.ALL: "Everybody has to solve a challenge before they buy.",
}
app = typer.Typer(help="Plan, load, open, pause, close and look at sales.", no_args_is_help=True)


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="The plan, a TOML file.", metavar="FILE.toml")],
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Write a sale down as a draft.

    Example: flashsale sale create deploy/sales/red-tuesday.toml
    """
    written = plan.read(_text_of(file))

    async def work() -> Sale:
        async with operations(actor) as ops:
            return await ops.create(written)

    planned = sum(item.stock for item in written.items)
    _told(
        run(work()), json, "Next: flashsale sale load SALE", units=show.counted(planned, "unit", "units") + " planned"
    )


def _text_of(file: Path) -> str:
    """What is in a file. Raises BadInputError."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as trouble:
        raise BadInputError(f"{file}: there is no such file") from trouble
    except OSError as trouble:
        raise BadInputError(f"{file} can't be read: {trouble.strerror}") from trouble
    except UnicodeDecodeError as trouble:
        raise BadInputError(f"{file} can't be read: {trouble}") from trouble


@app.command("list")
def list_(json: Json = False) -> None:
    """All sales by opening time. Unavailable: a bucket is closed until it is recovered."""

    async def work() -> list[tuple[Sale, bool]]:
        async with opened() as both, both.postgres.acquire() as connection:
            sales = await ledger.every(connection, drafts=True)
            facts = await asyncio.gather(*(stock.facts(both.redis, sale.all_buckets) for sale in sales))
            return [(sale, show_verb.unavailable(sale, said)) for sale, said in zip(sales, facts, strict=True)]

    sales, now_ms = run(work()), clock.now_ms()
    if json:
        show.json([show.sale_data(sale, now_ms=now_ms) | {"unavailable": unavailable} for sale, unavailable in sales])
    elif not sales:
        show.text("No sales yet. Plan one: flashsale sale create FILE.toml")
    else:
        rows = [
            (s.sale, "unavailable" if unavailable else s.state_at(now_ms), show.moment(s.opens_ms), len(s.items),
             sum(i.loaded for i in s.items))
            for s, unavailable in sales
        ]  # fmt: skip
        show.table(("sale", "state", "opens", "items", "units"), rows)


app.command("show")(show_verb.sale_show)


@app.command()
def load(sale: Name, json: Json = False, actor: Actor = None) -> None:
    """Put a draft's units into the buckets; it then opens by itself at its time."""

    async def work() -> Sale:
        async with operations(actor) as ops:
            return await ops.load(sale)

    loaded = run(work())
    _told(loaded, json, "It opens by itself at its time." if _state(loaded) is State.LOADED else "")


def _move(verb: Verb, words: str) -> None:
    def command(sale: Name, json: Json = False, actor: Actor = None) -> None:
        async def work() -> Sale:
            async with operations(actor) as ops:
                return await ops.move(sale, verb)

        _told(run(work()), json, "")

    app.command(verb.value, help=words)(command)


_move(Verb.OPEN, "Open a loaded sale now, before its time.")
_move(Verb.PAUSE, "Stop selling for a while; nothing is lost.")
_move(Verb.RESUME, "Go on after a pause.")
_move(Verb.CLOSE, "End a sale for good. What was bought can still be paid.")


@app.command()
def challenge(
    sale: Name,
    whose: Annotated[Challenged, typer.Argument(help="Whose presses.", metavar="off|suspicious|all")],
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Let devices work before their fans may press; every api process knows within two seconds.

    suspicious: of fans over their rate, and from addresses over theirs. all: of everybody; before the opening, the page
    does the work ahead.

    Example: flashsale sale challenge mi3-2013 suspicious
    """

    async def work() -> Sale:
        async with operations(actor) as ops:
            return await ops.challenge(sale, whose)

    _told(run(work()), json, _CHALLENGED[whose])


@app.command("add-stock")
def add_stock(
    sale: Name,
    item: Annotated[str, typer.Argument(help="The item's name.", metavar="ITEM")],
    units: Annotated[int, typer.Argument(help="How many more units.", metavar="UNITS")],
    pool: Annotated[UnitPool, typer.Option(help="For everybody, or set aside for F-codes.")] = UnitPool.PUBLIC,
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Load more units of an item: on sale at once, where the sale is open.

    Example: flashsale sale add-stock mi3-2013 silver 20000
    """

    async def work() -> tuple[Sale, int]:
        async with operations(actor) as ops:
            return await _with_closed(ops, await ops.add_stock(sale, item, units, pool=pool))

    now, closed = run(work())
    what = show.counted(units, "more unit", "more units") + f" of {item}"
    _told(now, json, f"{what}: set aside for F-codes." if pool is UnitPool.FCODE else _on_sale(now, closed, what))


@app.command()
def release(
    sale: Name,
    item: Annotated[str, typer.Argument(help="The item's name.", metavar="ITEM")],
    units: Annotated[int | None, typer.Option(help="How many, oldest first; else all that are held.")] = None,
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Load held units of an item again: those that came back in a sale with returned = "hold" or "waitlist".

    Example: flashsale sale release mi3-2013 silver --units 20
    """

    async def work() -> tuple[Sale, int]:
        async with operations(actor) as ops:
            return await _with_closed(ops, await ops.release(sale, item, units))

    now, closed = run(work())
    what = "All held units" if units is None else show.counted(units, "held unit", "held units")
    _told(now, json, _on_sale(now, closed, f"{what} of {item}"))


app.command("results")(results_verb.results)


async def _with_closed(ops: Operations, sale: Sale) -> tuple[Sale, int]:
    """The sale, and how many of its buckets are closed until they are recovered."""
    return sale, stock.closed_buckets(sale, await stock.facts(ops.redis, sale.all_buckets))


def _on_sale(sale: Sale, closed: int, what: str) -> str:
    """Whether units that were just loaded are on sale, or when they will be. what: those units."""
    if closed:
        # No bucket is given anything before all of them are whole.
        buckets = show.counted(closed, "bucket is", "buckets are")
        return f"{what}: noted, loaded once {buckets} recovered. See: flashsale recover {sale.sale} --dry-run"
    match _state(sale):
        case State.OPEN:
            return f"{what}: on sale."
        case State.PAUSED:
            return f"{what}: loaded. The sale is paused; go on with: flashsale sale resume {sale.sale}"
        case State.LOADED:
            return f"{what}: loaded, on sale when it opens at {show.moment(sale.opens_ms)}."
        case _:
            return f"{what}: loaded. The sale is over."


def _state(sale: Sale) -> State:
    return sale.state_at(clock.now_ms())


def _told(sale: Sale, json: bool, words: str, *, units: str = "") -> None:
    """Tell what a sale is now. units: what to say of them while none is loaded."""
    if json:
        show.json(show.sale_data(sale, now_ms=clock.now_ms()))
        return
    units = units or show.counted(sum(item.loaded for item in sale.items), "unit", "units")
    show.text(f"Sale [bold]{sale.sale}[/bold] is {_state(sale)}; {units}{_next_time(sale)}.")
    if words:
        show.text(words.replace("SALE", sale.sale))


def _next_time(sale: Sale) -> str:
    """The time that is still to come by the plan: ops may have opened or closed it before its time."""
    match _state(sale):
        case State.CLOSED:
            return ""
        case State.OPEN | State.PAUSED:
            return f", closes {show.moment(sale.closes_ms)}"
        case _:
            return f", opens {show.moment(sale.opens_ms)}"
