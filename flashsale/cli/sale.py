"""flashsale sale …: what ops do to a sale."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from flashsale import clock, held, ledger, plan, stock
from flashsale.cli import results as results_verb
from flashsale.cli import show
from flashsale.cli.run import opened, operations, run
from flashsale.errors import BadInputError
from flashsale.sale import ReturnedTo, Sale, Verb

app = typer.Typer(help="Plan, load, open, pause, close and look at sales.", no_args_is_help=True)

_RETURNED = {
    ReturnedTo.PUBLIC: "go on sale again at once",
    ReturnedTo.HOLD: "are held until they are released",
    ReturnedTo.WAITLIST: "are held; the draw for a waiting list does not exist yet, so release them",
}

Name = Annotated[str, typer.Argument(help="The sale's name.", metavar="SALE")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Actor = Annotated[str | None, typer.Option("--as", help="Who does this, for the log; else the login name.")]


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="The plan, a TOML file.", metavar="FILE.toml")],
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Write a sale down as a draft.

    Example: flashsale sale create deploy/sales/red-tuesday.toml
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as trouble:
        raise BadInputError(f"{file} can't be read: {trouble}") from trouble
    written = plan.read(text)

    async def work() -> Sale:
        async with operations(actor) as ops:
            return await ops.create(written)

    _told(run(work()), json, f"Next: flashsale sale load {written.sale if not written.repeat else 'SALE'}")


@app.command("list")
def list_(json: Json = False) -> None:
    """All sales by opening time."""

    async def work() -> list[Sale]:
        async with opened() as both, both.postgres.acquire() as connection:
            return await ledger.every(connection, drafts=True)

    sales, now_ms = run(work()), clock.now_ms()
    if json:
        show.json([show.sale_data(sale, now_ms=now_ms) for sale in sales])
    elif not sales:
        show.text("No sales yet. Plan one: flashsale sale create FILE.toml")
    else:
        rows = [
            (s.sale, s.state_at(now_ms), show.moment(s.opens_ms), len(s.items), sum(i.loaded for i in s.items))
            for s in sales
        ]
        show.table(("sale", "state", "opens", "items", "units"), rows)


@app.command("show")
def show_(sale: Name, json: Json = False) -> None:
    """One sale: its plan, what is free, what is on its way, and who did what.

    Example: flashsale sale show mi3-2013
    """

    async def work() -> tuple[Sale, list[stock.BucketFacts], dict[str, int], list[ledger.LogLine]]:
        async with opened() as both, both.postgres.acquire() as connection:
            found = await ledger.find(connection, sale)
            kept = {item: len(units) for item, units in (await held.units_of(connection, sale)).items()}
            log = await ledger.log_of(connection, sale)
            return found, await stock.facts(both.redis, found.all_buckets), kept, log

    found, facts, kept, log = run(work())
    if json:
        data = show.sale_data(found, now_ms=clock.now_ms())
        data["free"] = {item.item: sum(one.free.get(item.item, 0) for one in facts) for item in found.items}
        data["held"] = {item.item: kept.get(item.item, 0) for item in found.items}
        data["reserved"] = sum(one.reserved for one in facts)
        data["outbox"] = sum(one.outbox for one in facts)
        data["in_buckets"] = all(one.loaded for one in facts)
        data["memory_short"] = any(one.memory_short for one in facts)
        data["log"] = [
            {"at": show.when(line.at), "actor": line.actor, "verb": line.verb, "detail": dict(line.detail)}
            for line in log
        ]
        show.json(data)
        return
    _show(found, facts, kept, log)


def _show(sale: Sale, facts: list[stock.BucketFacts], kept: dict[str, int], log: list[ledger.LogLine]) -> None:
    show.text(f"[bold]{sale.sale}[/bold]  {escape(sale.title.en)} / {escape(sale.title.zh)}")
    show.text(
        f"state {sale.state_at(clock.now_ms())}, "
        f"opens {show.moment(sale.opens_ms)}, closes {show.moment(sale.closes_ms)}"
    )
    show.text(f"entry {sale.entry}, {sale.per_fan_limit} per fan, {sale.pay_window_s} s to pay")
    show.text(f"units that come back: {_RETURNED[sale.returned]}")
    if sale.reservation:
        show.text(f"reserved {sum(one.reserved for one in facts):,} of at most {sale.reservation.capacity:,}")
    rows = [
        (
            i.item,
            f"{i.price_minor} {sale.currency}",
            i.loaded,
            sum(one.free.get(i.item, 0) for one in facts),
            kept.get(i.item, 0),
        )
        for i in sale.items
    ]
    show.table(("item", "price (minor)", "loaded", "free", "held"), rows)
    show.text(f"on their way to Postgres: {sum(one.outbox for one in facts):,}")
    if sale.state != "draft" and not all(one.loaded for one in facts):
        show.text(f"[red]A bucket is closed until it is recovered. See: flashsale recover {sale.sale} --dry-run[/red]")
    if any(one.memory_short for one in facts):
        show.text("[red]Valkey's memory is nearly used up; fans are told to wait until there is room.[/red]")
    show.table(("at (UTC)", "who", "did", "detail"), [(show.when(x.at), x.actor, x.verb, dict(x.detail)) for x in log])


@app.command()
def load(sale: Name, json: Json = False, actor: Actor = None) -> None:
    """Put a draft's units into the buckets; it then opens by itself at its time."""

    async def work() -> Sale:
        async with operations(actor) as ops:
            return await ops.load(sale)

    _told(run(work()), json, "It opens by itself at its time.")


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


@app.command("add-stock")
def add_stock(
    sale: Name,
    item: Annotated[str, typer.Argument(help="The item's name.", metavar="ITEM")],
    units: Annotated[int, typer.Argument(help="How many more units.", metavar="UNITS")],
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Put more units of an item on sale, at once.

    Example: flashsale sale add-stock mi3-2013 silver 20000
    """

    async def work() -> Sale:
        async with operations(actor) as ops:
            return await ops.add_stock(sale, item, units)

    _told(run(work()), json, f"{units:,} more units of {item} are on sale.")


@app.command()
def release(
    sale: Name,
    item: Annotated[str, typer.Argument(help="The item's name.", metavar="ITEM")],
    units: Annotated[int | None, typer.Option(help="How many, oldest first; else all that are held.")] = None,
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Put held units of an item on sale again: those that came back in a sale with returned = "hold" or "waitlist".

    Example: flashsale sale release mi3-2013 silver --units 20
    """

    async def work() -> Sale:
        async with operations(actor) as ops:
            return await ops.release(sale, item, units)

    _told(run(work()), json, f"{'All' if units is None else f'{units:,}'} held units of {item} are on sale again.")


app.command("results")(results_verb.results)


def _told(sale: Sale, json: bool, words: str) -> None:
    """Tell what a sale is now."""
    if json:
        show.json(show.sale_data(sale, now_ms=clock.now_ms()))
        return
    units = sum(item.loaded for item in sale.items)
    show.text(f"Sale [bold]{sale.sale}[/bold] is {sale.state}; {units:,} units, opens {show.moment(sale.opens_ms)}.")
    if words:
        show.text(words.replace("SALE", sale.sale))
