"""Refund: ops decide that money goes back, or it is due by itself; the provider is asked, and its webhook settles it.

The engine owns no money. It says of which payment the money is due, hands that to the provider, and asks again until
the provider's `payment.refunded` says that it is done. Until then a paid order stays paid.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from flashsale import ledger, limits, payment
from flashsale.errors import BadInputError, NotFoundError, StateError
from flashsale.payment import Payment, State
from flashsale.provider import Provider, ProviderAwayError
from flashsale.queries import Connection, Pool, query


@dataclass(frozen=True, slots=True)
class Listed:
    """A payment as ops see it. paid_order: what its money has paid; reason: why it is due back, in words."""

    payment: str
    order: str
    paid_order: str | None
    fan: str
    item: str
    amount_minor: int
    currency: str
    state: State
    reason: str | None
    asked_at: datetime
    settled_at: datetime | None
    refund_asked_at: datetime | None
    refunded_at: datetime | None


async def listed(connection: Connection, sale: str, *, state: State | None) -> list[Listed]:
    """A sale's payments, oldest first; all, or those in one state. Raises NotFoundError."""
    await ledger.find(connection, sale)
    return [_listed(row) for row in await connection.fetch(query("payments", "payments_of_sale"), sale, state)]


async def decide(connection: Connection, *, order: str, actor: str, note: str) -> Payment:
    """Ops give the money of an order back: it was paid, or its money came late. Safe to repeat: one that is due already
    is told as it is.

    Raises NotFoundError when there is no such order, StateError when no money of it is here; then nothing is changed.
    """
    if len(note) > limits.NOTE_LENGTH_MAX:
        raise BadInputError(f"--note: must have at most {limits.NOTE_LENGTH_MAX} characters")
    try:
        order_id = uuid.UUID(order)
    except ValueError as fault:
        raise NotFoundError(f"{order!r} is not an order's number.") from fault
    async with connection.transaction():
        row = await connection.fetchrow(query("payments", "lock_payment_of_order"), order_id)
        if row is None:
            raise await _nothing_to_refund(connection, order_id)
        if row["state"] == State.REFUNDED:
            raise StateError(f"The money of order {order_id} has gone back already.")
        if row["state"] in (State.SUCCEEDED, State.LATE):
            reason = f"{actor} decided it" + (f": {note}" if note else "")
            await payment.refund_due(connection, payment=row["payment"], reason=reason)
            detail = {"order": str(order_id), "payment": str(row["payment"]), "note": note}
            await ledger.log(connection, actor=actor, verb="refund", sale=row["sale"], detail=detail)
        return payment.from_row(row, State.REFUND_DUE)


async def _nothing_to_refund(connection: Connection, order_id: uuid.UUID) -> BadInputError:
    state = await connection.fetchval(query("payments", "state_of_order"), order_id)
    if state is None:
        return NotFoundError(f"There is no order {order_id}. See a sale's payments with: flashsale payment list SALE")
    return StateError(f"Order {order_id} is {state} and no payment of it has come; there is nothing to give back.")


async def ask_provider(postgres: Pool, provider: Provider) -> int:
    """Hand what is due back to the provider, and again after a while. Returns how many were handed over.

    Safe to repeat: the provider knows a refund by its payment. Raises ProviderAwayError at the end when it did not take
    all of them; those are asked for next time.
    """
    async with postgres.acquire() as connection:
        due = await connection.fetch(
            query("payments", "refunds_to_ask"), limits.REFUND_ASK_AGAIN_S, limits.REFUNDS_PER_READ
        )
    asked, troubles = 0, []
    for row in due:
        try:
            taken = await provider.refund(payment.from_row(row, State.REFUND_DUE))
        except ProviderAwayError as trouble:
            troubles.append(trouble)  # one that the provider refuses must not stand before the others
            continue
        if taken:
            async with postgres.acquire() as connection:
                await connection.execute(query("payments", "refund_asked"), row["payment"])
            asked += 1
    if troubles:
        raise troubles[0]
    return asked


async def due_by_sale(connection: Connection) -> dict[str, int]:
    """How many payments are due back, for each sale that has any."""
    return {row["sale"]: row["due"] for row in await connection.fetch(query("payments", "refunds_due"))}


def as_data(one: Listed) -> dict[str, Any]:
    """A payment for scripts, for instance the shop's own that gives money back at its provider."""
    return {
        "payment": one.payment,
        "order": one.order,
        "paid_order": one.paid_order,
        "fan": one.fan,
        "item": one.item,
        "amount_minor": one.amount_minor,
        "currency": one.currency,
        "state": one.state,
        "reason": one.reason,
        "asked_at": one.asked_at,
        "settled_at": one.settled_at,
        "refund_asked_at": one.refund_asked_at,
        "refunded_at": one.refunded_at,
    }


def _listed(row: asyncpg.Record) -> Listed:
    return Listed(
        payment=str(row["payment"]),
        order=str(row["order_id"]),
        paid_order=row["paid_order"] and str(row["paid_order"]),
        fan=row["fan"],
        item=row["item"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        state=State(row["state"]),
        reason=row["reason"],
        asked_at=row["created_at"],
        settled_at=row["settled_at"],
        refund_asked_at=row["refund_asked_at"],
        refunded_at=row["refunded_at"],
    )
