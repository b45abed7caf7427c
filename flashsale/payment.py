"""Payment: the fan asks to pay, the provider's signed webhooks settle it. Expired or paid is decided in Postgres by
one conditional update.

pending -> succeeded -> refund_due -> refunded. Money for an order that had ended meanwhile makes the payment late: it
gets a unit if one is free (late_payment.py), else it is due back. refunded is what the provider says last of a payment,
whatever came before; so two webhooks have the same end in either order.
"""

import enum
import uuid
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import asyncpg
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from flashsale.errors import BadInputError
from flashsale.queries import Connection, query

SUCCEEDED_EVENT: Final = "payment.succeeded"
REFUNDED_EVENT: Final = "payment.refunded"
PAID_BY_ANOTHER: Final = "the order was paid by another payment"
_OVER: Final = {"expired", "cancelled"}
_LATE_ORDERS: Final = uuid.UUID("6f0b1f5e-3a55-4c1e-9a1c-2f6f8f0e7a11")  # the namespace of late orders' ids


class State(enum.StrEnum):
    """pending until the provider speaks; late when the money came for an order that was over."""

    PENDING = "pending"
    LATE = "late"
    SUCCEEDED = "succeeded"
    REFUND_DUE = "refund_due"
    REFUNDED = "refunded"


class ForgedError(Exception):
    """The webhook is not signed by the provider, or too old."""


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment asked for. amount_minor: in the smallest unit of the currency."""

    payment: str
    order: str
    amount_minor: int
    currency: str
    state: State


EventType: TypeAlias = Literal["payment.succeeded", "payment.refunded"]
_EVENTS: Final = {SUCCEEDED_EVENT, REFUNDED_EVENT}


class Event(BaseModel):
    """What the provider says of a payment."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: EventType
    payment: uuid.UUID
    order: uuid.UUID
    amount_minor: int
    currency: str


async def ask(connection: Connection, *, order_id: uuid.UUID, fan: str, now_ms: int) -> Payment | None:
    """A pending payment for a confirmed order of this fan; asked again, the same. None when it can't be paid."""
    row = await connection.fetchrow(query("payments", "create_payment"), uuid.uuid4(), order_id, fan, now_ms)
    if row is None:
        pending = await connection.fetchval(query("payments", "pending_payment"), order_id, now_ms)
        row = pending and await connection.fetchrow(query("payments", "payment"), pending)
        if not row or row["fan"] != fan:
            return None
    return from_row(row, State.PENDING)


async def find(connection: Connection, payment: uuid.UUID) -> Payment | None:
    """A payment by its id."""
    row = await connection.fetchrow(query("payments", "payment"), payment)
    return from_row(row, State(row["state"])) if row else None


def read_event(webhook: Webhook, *, body: bytes, headers: dict[str, str]) -> Event | None:
    """The event in a signed webhook (Standard Webhooks, which also bounds its age to five minutes).

    None for an event of another type: the provider sends many. Raises ForgedError, or BadInputError for a signed one
    that can't be read.
    """
    try:
        webhook.verify(body, headers, json_parse=False)
    except WebhookVerificationError as forged:
        raise ForgedError(str(forged)) from forged
    except Exception as broken:  # the library lets decoding faults of the headers through as they come
        raise ForgedError("the signature's headers can't be read") from broken
    try:
        said = orjson.loads(body)
        if not isinstance(said, dict):
            raise BadInputError("the event is not a JSON object")
        if not isinstance(said.get("type"), str) or said["type"] not in _EVENTS:
            return None
        if not isinstance(said.get("data"), dict):
            raise BadInputError("the event can't be read: data is not an object")
        return Event.model_validate({**said["data"], "type": said["type"]})
    except orjson.JSONDecodeError as fault:
        raise BadInputError(f"the event is not JSON: {fault}") from fault
    except ValidationError as fault:
        raise BadInputError(f"the event can't be read: {fault.errors()[0]['msg']}") from fault


async def settle(connection: Connection, event: Event) -> State | None:
    """Let an event have its effect, once: a second time changes nothing. None for a payment that is not ours.

    The payment's row is locked first, so that of two webhooks at once one waits for the other. Raises BadInputError
    when the amount or the order is another than was asked for.
    """
    async with connection.transaction():
        row = await connection.fetchrow(query("payments", "lock_payment"), event.payment)
        if row is None:
            return None
        asked = from_row(row, State(row["state"]))
        said = (str(event.order), event.amount_minor, event.currency)
        if said != (asked.order, asked.amount_minor, asked.currency):
            raise BadInputError("the event's order, amount or currency is not what was asked for")
        if event.type == REFUNDED_EVENT:
            return await _refunded(connection, row)
        return await _succeeded(connection, row)


async def _succeeded(connection: Connection, row: asyncpg.Record) -> State:
    """The money has come. Whether its order is still to be paid is decided by one update."""
    if row["state"] != State.PENDING:
        return State(row["state"])
    if await pay_order(connection, payment=row["payment"], order_id=row["order_id"]):
        return State.SUCCEEDED
    if await connection.fetchval(query("payments", "state_of_order"), row["order_id"]) in _OVER:
        await connection.execute(query("payments", "payment_late"), row["payment"], late_order_of(row["payment"]))
        return State.LATE
    await refund_due(connection, payment=row["payment"], reason=PAID_BY_ANOTHER)
    return State.REFUND_DUE


async def _refunded(connection: Connection, row: asyncpg.Record) -> State:
    """The money has gone back: the order that it had paid is over too, and its unit comes back."""
    if row["state"] == State.REFUNDED:
        return State.REFUNDED
    if row["paid_order"] is not None:
        await connection.execute(query("payments", "refund_order"), row["paid_order"])
    await connection.execute(query("payments", "payment_refunded"), row["payment"])
    return State.REFUNDED


async def pay_order(connection: Connection, *, payment: uuid.UUID, order_id: uuid.UUID) -> bool:
    """Pay a confirmed order with this payment, which the caller has locked. False when it is not confirmed."""
    if await connection.fetchval(query("payments", "pay_order"), order_id) is None:
        return False
    await connection.execute(query("payments", "payment_succeeded"), payment, order_id)
    return True


async def refund_due(connection: Connection, *, payment: uuid.UUID, reason: str) -> None:
    """This payment's money is to go back; the caller has locked it. reason: for ops, in words."""
    await connection.execute(query("payments", "payment_refund_due"), payment, reason)


def late_order_of(payment: uuid.UUID) -> uuid.UUID:
    """The id of the order that a late payment may come to pay: always the same, so that trying is repeatable."""
    return uuid.uuid5(_LATE_ORDERS, str(payment))


def from_row(row: asyncpg.Record | Any, state: State) -> Payment:
    """A payment from its row."""
    return Payment(str(row["payment"]), str(row["order_id"]), row["amount_minor"], row["currency"], state)
