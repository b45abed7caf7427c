"""flashsale payment …: the payments of a sale, and money that goes back."""

from typing import Annotated

import typer
from rich.markup import escape

from flashsale import refund as refunds
from flashsale.cli import show
from flashsale.cli.options import Actor, Json, Name, Order
from flashsale.cli.run import opened, person, run
from flashsale.errors import BadInputError
from flashsale.payment import Payment, State
from flashsale.refund import Listed

app = typer.Typer(help="Look at payments and give money back.", no_args_is_help=True)


@app.command("list")
def list_(
    sale: Name,
    state: Annotated[str | None, typer.Option(help=f"Only those that are {', '.join(State)}.")] = None,
    json: Json = False,
) -> None:
    """A sale's payments, oldest first; with --state refund_due, those whose money is to go back and why.

    Example: flashsale payment list mi3-2013 --state refund_due --json
    """
    if state is not None and state not in set(State):
        raise BadInputError(f"--state: {state!r} is none of {', '.join(State)}")

    async def work() -> list[Listed]:
        async with opened() as both, both.postgres.acquire() as connection:
            return await refunds.listed(connection, sale, state=State(state) if state else None)

    found = run(work())
    if json:
        show.json([refunds.as_data(one) for one in found])
    elif not found:
        show.text(f"No payment of {escape(sale)} is {state}." if state else f"{escape(sale)} has no payments yet.")
    else:
        rows = [
            (one.payment, one.state, f"{one.amount_minor} {one.currency}", one.fan, one.paid_order or one.order,
             show.when(one.asked_at), one.reason or "-")
            for one in found
        ]  # fmt: skip
        show.table(("payment", "state", "amount (minor)", "fan", "order", "asked (UTC)", "why"), rows)


@app.command()
def refund(
    order: Order,
    actor: Actor = None,
    note: Annotated[str, typer.Option(help="Why, for the log and the list.")] = "",
    json: Json = False,
) -> None:
    """Give the money of a paid order back. The order is refunded, and its unit comes back, when the provider says so.

    Example: flashsale payment refund 0197a5c0-7b1e-7c3a-9f52-3d1b8e6f4a21 --as ann --note "broken on arrival"
    """

    async def work() -> Payment:
        async with opened() as both, both.postgres.acquire() as connection:
            return await refunds.decide(connection, order=order, actor=actor or person(), note=note)

    due = run(work())
    if json:
        show.json({"payment": due.payment, "order": due.order, "amount_minor": due.amount_minor,
                   "currency": due.currency, "state": due.state})  # fmt: skip
        return
    show.text(f"{due.amount_minor} {due.currency} (minor) of payment {due.payment} are due back.")
    show.text("The order is refunded when the provider's payment.refunded has come.")
