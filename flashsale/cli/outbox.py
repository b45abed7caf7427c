"""flashsale outbox …: orders that could not land, and what became of them."""

from typing import Annotated

import typer
from rich.markup import escape

from flashsale import ledger, mending, set_aside
from flashsale.cli import show
from flashsale.cli.options import Actor, Json, Name, Order
from flashsale.cli.run import opened, person, run
from flashsale.errors import BadInputError, StateError
from flashsale.mending import Replayed
from flashsale.set_aside import Listed, State

app = typer.Typer(help="Look at orders that could not land, and settle what needs a person.", no_args_is_help=True)


_WORDS = {
    State.WAITING: "it waits for another unit; the worker looks for one",
    State.REPLACED: "it has landed with another unit",
    State.REFUSED: "its fan was told that it could not be kept; something may be owed to them",
    State.COMPENSATED: "its fan was told, and something was done for them",
    State.REPLAYED: "what was in the way was mended, and it has landed",
    State.UNREADABLE: "it needs a person: mend the cause and replay it, or compensate the fan",
}
_NOBODY_TOLD = "it never was an order that a fan sees, so nobody was told; the note says what was done"


@app.command("list")
def list_(
    sale: Name,
    state: Annotated[str | None, typer.Option(help=f"Only those that are {', '.join(State)}.")] = None,
    json: Json = False,
) -> None:
    """A sale's orders that were set aside, oldest first, and what became of each.

    Example: flashsale outbox list mi3-2013 --state refused --json
    """
    if state is not None and state not in set(State):
        raise BadInputError(f"--state: {state!r} is none of {', '.join(State)}")

    async def work() -> list[Listed]:
        async with opened() as both, both.postgres.acquire() as connection:
            await ledger.find(connection, sale)
            return await set_aside.listed(connection, sale, state=State(state) if state else None)

    found = run(work())
    if json:
        show.json([set_aside.as_data(one) for one in found])
    elif not found:
        show.text(f"No order of {escape(sale)} {f'is {state}' if state else 'was set aside'}.")
    else:
        rows = [
            (one.order, one.state, one.win.fan if one.win else "-", one.win.item if one.win else "-",
             ", ".join(map(str, one.tried)) or "-", one.order_unit or "-", show.when(one.created_at),
             one.note or one.reason)
            for one in found
        ]  # fmt: skip
        show.table(("order", "state", "fan", "item", "tried", "unit", "since (UTC)", "why"), rows)


@app.command("show")
def show_(order: Order, json: Json = False) -> None:
    """One order that was set aside: what it is, why, what was tried, and what is to be done.

    Example: flashsale outbox show 0197a5c0-7b1e-7c3a-9f52-3d1b8e6f4a21
    """

    async def work() -> Listed:
        async with opened() as both, both.postgres.acquire() as connection:
            return await mending.find(connection, order)

    found = run(work())
    if json:
        show.json(set_aside.as_data(found))
        return
    show.text(f"[bold]{found.order}[/bold] of {found.sale}, bucket {found.bucket}: {found.state}, {_words(found)}")
    show.text(f"why: {escape(found.reason)}")
    if found.win:
        show.text(f"fan {escape(found.win.fan)}, {found.win.item}, won {show.moment(found.win.accepted_ms)}")
    if found.tried:
        show.text(f"units that were refused: {', '.join(map(str, found.tried))}; last at {show.when(found.tried_at)}")
    if found.asked_at:
        offered = f"and gave {found.offered}" if found.offered else "and had none"
        show.text(f"the bucket was asked at {show.when(found.asked_at)} {offered}")
    if found.order_state:
        show.text(f"the order is {found.order_state}, unit {found.order_unit}")
    if found.note:
        show.text(f"note: {escape(found.note)}")
    show.text(f"as it stood in the outbox: {escape(found.content)}")


def _words(found: Listed) -> str:
    """What became of it, for a person."""
    never_an_order = found.state is State.COMPENSATED and found.order_state is None
    return _NOBODY_TOLD if never_an_order else _WORDS[found.state]


@app.command()
def replay(
    order: Annotated[str | None, typer.Argument(help="The order's number.", metavar="ORDER")] = None,
    sale: Annotated[str | None, typer.Option(help="All of this sale that need a person.", metavar="SALE")] = None,
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Land again what needs a person, once the cause is mended.

    Example: flashsale outbox replay --sale mi3-2013 --as ann
    """
    if (order is None) == (sale is None):
        raise BadInputError(
            "Give either an order's number or --sale SALE, for instance: flashsale outbox replay --sale mi3"
        )

    async def work() -> list[Replayed]:
        async with opened() as both, both.postgres.acquire() as connection:
            who = actor or person()
            if order is not None:
                return [await mending.replay(connection, order, actor=who)]
            return await mending.replay_all(connection, str(sale), actor=who)

    done = run(work())
    if json:
        show.json([
            {"order": one.order, "state": one.state, "landed": one.landed, "waiting": one.waiting,
             "refusal": one.refusal or None}
            for one in done
        ])  # fmt: skip
    else:
        for one in done:
            show.text(escape(one.refusal) if one.refusal else _done(one))
        if not done:
            show.text(f"Nothing of {escape(str(sale))} needs a person.")
    if left := sum(bool(one.refusal) for one in done):
        raise StateError(f"{left} of {len(done)} can't be replayed yet.")


def _done(one: Replayed) -> str:
    if one.state is State.WAITING:
        return f"{one.order} waits for another unit; the worker looks for one."
    return f"{one.order} is replayed: {one.landed} orders have landed, {one.waiting} wait for another unit."


@app.command()
def compensate(
    order: Order,
    note: Annotated[str, typer.Option(help="What was done for the fan, for the list and the log.")],
    json: Json = False,
    actor: Actor = None,
) -> None:
    """Note what was done for a fan whose order could not be kept.

    Example: flashsale outbox compensate 0197a5c0-7b1e-7c3a-9f52-3d1b8e6f4a21 --note "a coupon of 100" --as ann
    """

    async def work() -> Listed:
        async with opened() as both, both.postgres.acquire() as connection:
            return await mending.compensate(connection, order, note=note, actor=actor or person())

    found = run(work())
    if json:
        show.json(set_aside.as_data(found))
        return
    show.text(f"{found.order} is compensated: {escape(found.note or '')}")
