"""flashsale sale show: one sale, its plan, what is free, what is on its way, and who did what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from rich.markup import escape

from flashsale import clock, held, ledger, set_aside, stock
from flashsale.cli import show
from flashsale.cli.options import Json, Name
from flashsale.cli.run import opened, run
from flashsale.ledger import LogLine
from flashsale.sale import Challenged, ReturnedTo, Sale, State, Verb
from flashsale.stock import BucketFacts

_CHALLENGED: Final = {
    Challenged.SUSPICIOUS: "fans and addresses over their rate",
    Challenged.ALL: "everybody",
}
_RETURNED: Final = {
    ReturnedTo.PUBLIC: "go on sale again at once",
    ReturnedTo.HOLD: "are held until they are released",
    ReturnedTo.WAITLIST: "are held; the draw for a waiting list does not exist yet, so release them",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to show. held: units by item; set_aside: orders that have neither landed nor are over."""

    sale: Sale
    facts: Sequence[BucketFacts]
    held: Mapping[str, int]
    set_aside: int
    log: Sequence[LogLine]

    @property
    def closed(self) -> int:
        """How many buckets are closed until they are recovered."""
        return stock.closed_buckets(self.sale, self.facts)

    @property
    def state(self) -> State:
        """The state as planned and as ops have made it."""
        return self.sale.state_at(clock.now_ms())

    @property
    def unavailable(self) -> bool:
        """Whether fans are told that the state is not known."""
        return unavailable(self.sale, self.facts)

    def free(self, item: str) -> int | None:
        """Its units that are free for everybody; None when a bucket can't tell."""
        return None if self.closed else sum(one.free.get(item, 0) for one in self.facts[: self.sale.buckets])

    def aside(self, item: str) -> int | None:
        """Its free units that are set aside for F-codes; None when a bucket can't tell."""
        return None if self.closed else sum(one.free.get(item, 0) for one in self.facts[self.sale.buckets :])


def unavailable(sale: Sale, facts: Sequence[BucketFacts]) -> bool:
    """Whether a bucket of a sale that is not over is closed until it is recovered."""
    return bool(stock.closed_buckets(sale, facts)) and sale.state_at(clock.now_ms()) is not State.CLOSED


def sale_show(sale: Name, json: Json = False) -> None:
    """One sale: its plan, what is free, what is on its way, and who did what.

    Example: flashsale sale show mi3-2013
    """
    seen = run(_look(sale))
    if json:
        show.json(_as_data(seen))
    else:
        _shown(seen)


async def _look(name: str) -> Seen:
    async with opened() as both, both.postgres.acquire() as connection:
        sale = await ledger.find(connection, name)
        kept = {item: len(units) for item, units in (await held.units_of(connection, name)).items()}
        aside = await set_aside.unsettled(connection, name)
        log = await ledger.log_of(connection, name)
        return Seen(sale, await stock.facts(both.redis, sale.all_buckets), kept, aside, log)


def _as_data(seen: Seen) -> dict[str, Any]:
    facts, items = seen.facts, [item.item for item in seen.sale.items]
    return {
        **show.sale_data(seen.sale, now_ms=clock.now_ms()),
        "unavailable": seen.unavailable,
        "free": {item: seen.free(item) for item in items},
        "aside": {item: seen.aside(item) for item in items},
        "held": {item: seen.held.get(item, 0) for item in items},
        "reserved": sum(one.reserved for one in facts),
        "outbox": sum(one.outbox for one in facts),
        "set_aside": seen.set_aside,
        "in_buckets": all(one.loaded for one in facts),
        "memory_short": any(one.memory_short for one in facts),
        "log": [
            {"at": x.at.astimezone(UTC), "actor": x.actor, "verb": x.verb, "detail": dict(x.detail)} for x in seen.log
        ],
    }


def _shown(seen: Seen) -> None:
    sale = seen.sale
    show.text(f"[bold]{sale.sale}[/bold]  {escape(sale.title.en)} / {escape(sale.title.zh)}")
    show.text(f"state {_state(seen)}")
    show.text(_times(seen))
    show.text(f"entry {sale.entry}, {sale.per_fan_limit} per fan, {sale.pay_window_s} s to pay")
    show.text(f"units that come back: {_RETURNED[sale.returned]}")
    if sale.challenged is not Challenged.OFF:
        show.text(f"challenged before they press: {_CHALLENGED[sale.challenged]}")
    if sale.reservation:
        show.text(f"reserved {sum(one.reserved for one in seen.facts):,} of at most {sale.reservation.capacity:,}")
    rows = [(i.item, f"{i.price_minor} {sale.currency}", i.loaded, *_places(seen, i.item)) for i in sale.items]
    aside = ("aside",) if sale.takes_fcodes else ()
    show.table(("item", "price (minor)", "loaded", "free", *aside, "held"), rows)
    show.text(f"on their way to Postgres: {sum(one.outbox for one in seen.facts):,}")
    _trouble(seen)
    log = [(show.when(x.at), x.actor, x.verb, _detail(x.detail)) for x in seen.log]
    show.table(("at (UTC)", "who", "did", "detail"), log)


def _state(seen: Seen) -> str:
    """The state as fans see it."""
    if not seen.unavailable:
        return str(seen.state)
    some = f"{seen.closed} of {show.counted(len(seen.facts), 'bucket', 'buckets')}"
    return f"unavailable: {some} {'is' if seen.closed == 1 else 'are'} closed until recovered (else {seen.state})"


def _times(seen: Seen) -> str:
    sale = seen.sale
    return f"{_time(seen, Verb.OPEN, 'opened', sale.opens_ms)}, {_time(seen, Verb.CLOSE, 'closed', sale.closes_ms)}"


def _time(seen: Seen, verb: Verb, done: str, planned_ms: int) -> str:
    """When it opens or closes; or when ops did that before its time."""
    early = next((line for line in seen.log if line.verb == verb and line.actor != ledger.CLOCK), None)
    if early is None:
        return f"{verb}s {show.moment(planned_ms)}"
    return f"{done} {show.when(early.at)} UTC by {escape(early.actor)} (planned {show.moment(planned_ms)})"


def _places(seen: Seen, item: str) -> tuple[int | str, ...]:
    free, aside = ("?" if units is None else units for units in (seen.free(item), seen.aside(item)))
    return (free, aside, seen.held.get(item, 0)) if seen.sale.takes_fcodes else (free, seen.held.get(item, 0))


def _trouble(seen: Seen) -> None:
    name = seen.sale.sale
    if seen.closed:
        many = "buckets are closed until they are recovered"
        closed = show.counted(seen.closed, "bucket is closed until it is recovered", many)
        show.text(f"[red]{closed}, and not counted. See: flashsale recover {name} --dry-run[/red]")
    if seen.set_aside:
        aside = show.counted(seen.set_aside, "order is", "orders are")
        show.text(f"[yellow]{aside} set aside and not settled: flashsale outbox list {name}[/yellow]")
    if any(one.memory_short for one in seen.facts):
        show.text("[red]Valkey's memory is nearly used up; fans are told to wait until there is room.[/red]")


def _detail(detail: Mapping[str, Any]) -> str:
    """What a verb was about, as words."""
    return ", ".join(f"{name} {_detail(value) if isinstance(value, dict) else value}" for name, value in detail.items())
