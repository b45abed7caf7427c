"""Payment: the fan asks to pay, the provider's signed webhook settles it. Expired or paid is decided in Postgres by
one conditional update; money that comes for an order that is over is marked to be given back."""

import enum
import uuid
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from flashsale.errors import BadInputError
from flashsale.queries import Connection, query

SUCCEEDED_EVENT = "payment.succeeded"


class State(enum.StrEnum):
    """pending until the provider speaks; refund_due when the money came for an order that was over."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    REFUND_DUE = "refund_due"


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


class Event(BaseModel):
    """What the provider says of a payment that succeeded."""

    model_config = ConfigDict(extra="ignore", frozen=True)
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
    return _payment(row, State.PENDING)


async def find(connection: Connection, payment: uuid.UUID) -> Payment | None:
    """A payment by its id."""
    row = await connection.fetchrow(query("payments", "payment"), payment)
    return _payment(row, State(row["state"])) if row else None


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
        return Event.model_validate(said.get("data")) if said.get("type") == SUCCEEDED_EVENT else None
    except orjson.JSONDecodeError as fault:
        raise BadInputError(f"the event is not JSON: {fault}") from fault
    except ValidationError as fault:
        raise BadInputError(f"the event can't be read: {fault.errors()[0]['msg']}") from fault


async def settle(connection: Connection, event: Event) -> State | None:
    """Let a payment have its effect, once: a second time changes nothing. None for one that is not ours.

    Raises BadInputError when the amount or the order is another than was asked for.
    """
    async with connection.transaction():
        row = await connection.fetchrow(query("payments", "lock_payment"), event.payment)
        if row is None:
            return None
        asked = _payment(row, State(row["state"]))
        said = (str(event.order), event.amount_minor, event.currency)
        if said != (asked.order, asked.amount_minor, asked.currency):
            raise BadInputError("the event's order, amount or currency is not what was asked for")
        if asked.state is not State.PENDING:
            return asked.state
        paid = await connection.fetchval(query("payments", "pay_order"), event.order)
        state = State.SUCCEEDED if paid else State.REFUND_DUE
        await connection.execute(query("payments", "settle_payment"), event.payment, state)
        return state


def _payment(row: asyncpg.Record | Any, state: State) -> Payment:
    return Payment(str(row["payment"]), str(row["order_id"]), row["amount_minor"], row["currency"], state)
