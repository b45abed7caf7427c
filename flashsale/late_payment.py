"""A late payment: its money came when its order was over. It gets a unit if one is free, else the money goes back.

The unit is won by an ordinary attempt in the fan's bucket, in the lane `late`. The attempt's order and key are made
from the payment, so that trying again, by anybody, finds the same win. When that order has landed, one transaction
marks it paid and ties the payment to it. Every step may be repeated; a worker that dies between two of them leaves a
payment that is still late, and the next one goes on.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from flashsale import limits, order, payment, purchase
from flashsale.coalesce import CrowdedError
from flashsale.outcomes import Outcome
from flashsale.payment import State
from flashsale.purchase import Presser, Purchases
from flashsale.queries import Connection, query
from flashsale.sale import Sale

LANE: Final = "late"
NO_UNIT: Final = "it came late and got no unit: {outcome}"
ORDER_OVER: Final = "it came late, and the order it got was over before it could be paid"
ORDER_ASIDE: Final = "it came late, and the order it got could not be stored"
WAITED_TOO_LONG: Final = "it came late, and the sale did not sell for {minutes} minutes"

# Nothing was decided: ask again. All other refusals are final for a late payment, whose fan is not here to wait.
_ASK_AGAIN: Final = {Outcome.WAIT, Outcome.UNKNOWN, Outcome.PAUSED, Outcome.UNAVAILABLE, Outcome.NOT_OPEN}


@dataclass(frozen=True, slots=True)
class Late:
    """A payment that waits for a unit. landed: whether its order is in Postgres; aside: whether that was set aside.

    returning: whether the bucket has still to hear of an order of this fan that is over, and would refuse for it; or
    the order waits for another unit.
    """

    payment: uuid.UUID
    late_order: uuid.UUID
    fan: str
    item: str
    channel: str
    landed: bool
    aside: bool
    returning: bool
    waited_s: float


async def waiting(connection: Connection, sale: str) -> list[Late]:
    """A sale's late payments, oldest first."""
    rows = await connection.fetch(query("payments", "late_waiting"), sale, limits.LATE_PER_READ)
    return [
        Late(
            payment=row["payment"],
            late_order=row["late_order"],
            fan=row["fan"],
            item=row["item"],
            channel=row["channel"],
            landed=row["landed"] is not None,
            aside=row["aside"],
            returning=row["returning"],
            waited_s=row["waited_s"],
        )
        for row in rows
    ]


async def attempt(purchases: Purchases, sale: Sale, late: Late) -> Outcome:
    """Press buy for a late payment. Safe to repeat: the same order and key each time, so there is one win.

    A bucket that is dry while others may have units is asked again while the balancer brings some; not for ever.
    """
    order = late.late_order.hex
    lane = purchases.lane(sale.bucket_of(late.fan), late.item)
    try:
        decided = await lane.attempt(order, Presser(late.fan, late.channel, LANE), key=f"late-{late.payment.hex}")
    except (CrowdedError, RedisError, OSError, TimeoutError):
        return Outcome.UNKNOWN
    answer = purchase.answer_of(order, decided)
    return Outcome.SOLD_OUT if answer.dry and late.waited_s > limits.LATE_DRY_S else answer.outcome


def reason_to_refund(late: Late, outcome: Outcome) -> str | None:
    """Why the money goes back after this answer; None when the order is won or is to be asked for again.

    UNKNOWN may have been a win, so it is never a reason. A sale that is paused for long is one.
    """
    if outcome is Outcome.WON or outcome is Outcome.UNKNOWN:
        return None
    if outcome not in _ASK_AGAIN:
        return NO_UNIT.format(outcome=outcome.name)
    if late.waited_s > limits.LATE_WAIT_S:
        return WAITED_TOO_LONG.format(minutes=limits.LATE_WAIT_S // 60)
    return None


async def finish(connection: Connection, late: Late, *, refusal: str | None = None) -> State:
    """Settle a late payment as far as can be: its order is paid if it is confirmed; its money is due back if that
    order is over, or if there is a refusal and no order. Returns its state then. Safe to repeat and to run twice."""
    async with connection.transaction():
        row = await connection.fetchrow(query("payments", "lock_payment"), late.payment)
        assert row is not None, "a payment is never deleted"
        if row["state"] != State.LATE:
            return State(row["state"])
        if await payment.pay_order(connection, payment=late.payment, order_id=late.late_order):
            return State.SUCCEEDED
        landed = await connection.fetchval(query("payments", "state_of_order"), late.late_order)
        reason = ORDER_ASIDE if landed == order.State.REFUSED else ORDER_OVER if landed else refusal
        if reason is None:
            return State.LATE
        await payment.refund_due(connection, payment=late.payment, reason=reason)
        return State.REFUND_DUE


async def step(connection: Connection, purchases: Purchases, sale: Sale, late: Late) -> State:
    """Take one late payment as far as it goes now: ask for its unit, or pay the order that has landed meanwhile."""
    if late.landed:
        return await finish(connection, late)
    if late.aside:
        return await finish(connection, late, refusal=ORDER_ASIDE)
    if late.returning:
        return State.LATE
    outcome = await attempt(purchases, sale, late)
    refusal = reason_to_refund(late, outcome)
    return await finish(connection, late, refusal=refusal) if refusal else State.LATE


async def sales_waiting(connection: Connection) -> set[str]:
    """The names of the sales that have late payments."""
    return {row["sale"] for row in await connection.fetch(query("payments", "sales_with_late"))}


async def end_strays(connection: Connection) -> Sequence[uuid.UUID]:
    """End orders that were won for payments whose money goes back, with their returns: a reply that was lost may have
    been a win after the refusal that decided, or the provider gave the money back meanwhile."""
    return [row["order_id"] for row in await connection.fetch(query("payments", "end_late_strays"))]
