"""Every operation of the API in the order in which a fan, the payment provider and a machine meet them."""

from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST

from flashsale import limits
from flashsale.api import openapi_problems as problems
from flashsale.api import replies
from flashsale.api.replies import Reply

_BASE: Final = "/api/v1"
_JSON: Final = "application/json"
_SALES, _BUYING, _ORDERS, _PROVIDER, _SANDBOX, _MACHINES = (
    "Sales", "Reserve and buy", "Orders", "Payment provider", "Sandbox", "Machines",
)  # fmt: skip
TAGS: Final = {
    _SALES: "What is on sale, and when. Public; the same for everybody.",
    _BUYING: "A fan reserves, gets a right, and buys with it.",
    _ORDERS: "A fan's own orders. An order of another fan looks like one that does not exist.",
    _PROVIDER: "What the payment provider sends. Signed by Standard Webhooks.",
    _SANDBOX: "Only in sandbox mode: anybody may sign in, and money is play money. Elsewhere they are not found.",
    _MACHINES: "For load balancers, orchestrators and Prometheus. Keep these paths inside your network.",
}
_BEARER: Final = (("Bearer",),)
_SIGNED: Final = (("WebhookId", "WebhookTimestamp", "WebhookSignature"),)
_NO_STORE: Final = {"Cache-Control": "`no-store`"}
_SHARED: Final = {"Cache-Control": "`public, max-age=1`", "ETag": "Changes when the answer changes"}
_STORE: Final = (problems.STORE_AWAY, problems.BROKEN)
_ASKED: Final = (problems.TOO_OFTEN, *_STORE)
_OWN: Final = (problems.NO_IDENTITY, replies.IDENTITY_AWAY, replies.UNKNOWN_ORDER, replies.ORDERS_CLOSED, *_ASKED)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no problem. schema: the name of its JSON body; text: an example of a body that is not JSON."""

    status: int
    words: str
    schema: str = ""
    media: str = _JSON
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. security: ways to be let in, each a set of schemes to be given together; parameters:
    those beside the ones in the path; body: the name of the request's schema."""

    name: str
    method: str
    path: str
    tag: str
    summary: str
    words: str
    answers: tuple[Answer, ...]
    problems: tuple[Reply, ...] = ()
    parameters: tuple[str, ...] = ()
    security: tuple[tuple[str, ...], ...] = ()
    body: str = ""
    body_required: bool = False


_UNCHANGED: Final = Answer(304, "Nothing has changed since the answer with that ETag", headers=_SHARED)
_PURCHASE_WORDS: Final = f"""
One press of buy. Needs the right from the reservation; where the sale's `entry` is `open`, a Bearer token does as well.
No body is needed.

The `Idempotency-Key` names this press, for this fan in this sale. Make a new one for each press and keep it until you
have an answer. Sent again after a win, it gives that same win, whatever has become of the order since. Sent again for
another item, it is `KEY_REUSED`. A refusal is not kept: the same key may be tried again and may win.

`?retry=1` says that this is the same press once more, after `UNKNOWN` or a lost connection. It is always put to the
place that decides, never answered from what this process remembers about the sale.

Where the answer holds for everybody (sold out, not open, over, paused), it may be given before the right is looked at.
A fan who presses more often than the rate is decided after the others; far more often, and nothing is decided:
`TOO_OFTEN`. Where the sale's `challenged` says so, a press without a solved challenge is answered `CHALLENGE`, and
nothing is decided: get one, solve it, and press with the right that the solution brings.

Within {(limits.EARLY_REFUSAL_MARGIN_MS + 1000) / 1000:g} s of the opening the place that decides is always asked: its
clock opens the sale, not that of the fan.
""".strip()

OPERATIONS: Final = (
    Operation(
        "get_time", "get", f"{_BASE}/time", _SALES,
        "The server's clock",
        "For a countdown that does not depend on the fan's clock. Halve the time of the round trip to do it well.",
        (Answer(200, "The time now", "Time", headers=_NO_STORE),),
    ),
    Operation(
        "list_sales", "get", f"{_BASE}/sales", _SALES,
        "All sales",
        "Every sale that is loaded, open, paused or over. A draft is not shown.",
        (Answer(200, "The sales", "Sales", headers=_SHARED), _UNCHANGED),
        parameters=("If-None-Match",),
    ),
    Operation(
        "get_sale", "get", f"{_BASE}/sales/{{sale}}", _SALES,
        "One sale",
        "Its state, times and items. Stock is told in words. Ask again after `ask_again_s` seconds: seldom before the "
        "opening, often while it sells.",
        (Answer(200, "The sale", "Sale", headers=_SHARED), _UNCHANGED),
        (replies.UNKNOWN_SALE,),
        parameters=("If-None-Match",),
    ),
    Operation(
        "reserve", "post", f"{_BASE}/sales/{{sale}}/reservation", _BUYING,
        "Reserve a place",
        "Puts the fan into the sale's reservation list and gives the right to buy. Safe to repeat: the right and the "
        "channel stay those of the first time. Keep the right; it holds until the sale ends.",
        (Answer(200, "You are in the list, now or since before", "Reserved", headers=_NO_STORE),),
        problems.reservation_problems(),
        security=_BEARER,
        body="ReservationRequest",
    ),
    Operation(
        "get_challenge", "get", f"{_BASE}/sales/{{sale}}/challenge", _BUYING,
        "A challenge",
        "ALTCHA's proof of work, version 2, for this fan in this sale: look for the number from which PBKDF2 derives a "
        f"key that begins as it says. It can be solved for {limits.CHALLENGE_S // 60} minutes. Counted as a press. "
        "Where the sale's `challenged` is `all`, do it before the opening.",
        (Answer(200, "The challenge", "Challenge", headers=_NO_STORE),),
        problems.challenge_problems(),
        security=(("Right",), ("Bearer",)),
    ),
    Operation(
        "solve_challenge", "post", f"{_BASE}/sales/{{sale}}/challenge", _BUYING,
        "Solve a challenge",
        f"Gives a right that holds for {limits.SOLVED_S // 60} minutes and says that its fan has solved one. Counted "
        "as a press. What is no solution is answered `CHALLENGE`, with why.",
        (Answer(200, "The right to press with", "Solved", headers=_NO_STORE),),
        problems.solution_problems(),
        security=(("Right",), ("Bearer",)),
        body="Solution",
        body_required=True,
    ),
    Operation(
        "purchase", "post", f"{_BASE}/sales/{{sale}}/items/{{item}}/purchase", _BUYING,
        "Buy",
        _PURCHASE_WORDS,
        (Answer(201, "You have it: this unit is yours to pay for", "Won",
                headers=_NO_STORE | {"Location": "The order"}),),
        problems.purchase_problems(),
        parameters=("Idempotency-Key", "retry"),
        security=(("Right",), ("Bearer",)),
    ),
    Operation(
        "redeem_fcode", "post", f"{_BASE}/fcodes/redeem", _BUYING,
        "Redeem an F-code",
        "Buys the item that the code is for, from its own time on, before the sale opens too. It needs no reservation, "
        "and the order takes none of the fan's places under `per_fan_limit`. How the code is typed does not matter: "
        "case, spaces and hyphens, I and L for 1, O for 0. Safe to repeat without a key: the same code, sent again by "
        "the same fan, tells the same win. Counted as a press. What is wrong with a code by itself is told without "
        "asking any store: a typo, with the `group` (1 to 4) where it is if only one symbol is wrong, or a forged one. "
        f"Who sends more than {limits.FCODE_GUESSES_BURST} of those is answered `TOO_OFTEN` for a while.",
        (Answer(201, "You have it: this unit is yours to pay for", "Won",
                headers=_NO_STORE | {"Location": "The order"}),),
        problems.code_problems(),
        security=_BEARER,
        body="CodeRequest",
        body_required=True,
    ),
    Operation(
        "list_orders", "get", f"{_BASE}/orders", _ORDERS,
        "Your orders",
        f"Newest first, those that are still on their way to the database included; of those that are there, the "
        f"newest {limits.ORDERS_PER_PAGE}.",
        (Answer(200, "The orders", "Orders", headers=_NO_STORE),),
        (problems.NO_IDENTITY, replies.IDENTITY_AWAY, replies.UNKNOWN_SALE, *_ASKED),
        parameters=("sale_of_orders",),
        security=_BEARER,
    ),
    Operation(
        "get_order", "get", f"{_BASE}/orders/{{order}}", _ORDERS,
        "One order",
        "The order as it is now.",
        (Answer(200, "The order", "Order", headers=_NO_STORE),),
        _OWN,
        security=_BEARER,
    ),
    Operation(
        "watch_order", "get", f"{_BASE}/orders/{{order}}/events", _ORDERS,
        "Watch an order",
        "Server-sent events: the order at once and again at each change, each as `event: order` with an Order in "
        f"`data`. A comment comes every {limits.WATCH_HEARTBEAT_S:.0f} s as a sign of life. When the "
        "stream ends, open it again, unless the order is `refused`.",
        (Answer(200, "The stream", media="text/event-stream", headers=_NO_STORE,
                text='event: order\ndata: {"order": "0197a5c0-…", "state": "confirmed", …}\n\n: still here\n\n'),),
        (*_OWN, replies.CROWDED),
        security=_BEARER,
    ),
    Operation(
        "pay_order", "post", f"{_BASE}/orders/{{order}}/payment", _ORDERS,
        "Ask to pay",
        "Makes a payment to settle with the provider. Safe to repeat: a payment that is pending is given again. The "
        "order is paid when the provider says so, not before.",
        (Answer(201, "The payment", "Payment", headers=_NO_STORE),),
        (*_OWN, problems.NOT_CONFIRMED_YET, problems.ORDER_OVER_FOR_PAYMENT),
        security=_BEARER,
    ),
    Operation(
        "cancel_order", "post", f"{_BASE}/orders/{{order}}/cancellation", _ORDERS,
        "Cancel an order",
        "Ends an order that is confirmed and not paid; its unit goes back on sale. Safe to repeat. Whoever lets more "
        f"than {limits.RETURNED_PER_FAN_MAX} orders of a sale go, unpaid ones included, can't buy in it any more.",
        (Answer(200, "The order, cancelled now or before", "Order", headers=_NO_STORE),),
        (*_OWN, problems.NOT_CONFIRMED_YET, problems.ORDER_OVER_FOR_CANCELLATION),
        security=_BEARER,
    ),
    Operation(
        "settle_payment", "post", f"{_BASE}/hooks/payment", _PROVIDER,
        "A payment has succeeded, or was refunded",
        "Has its effect once, however often it is sent and in whatever order. A payment that comes for an order that "
        "is over gets a unit if one is free, else it is due back. Events of other types are taken and ignored. Send it "
        "again after anything but a 2xx answer.",
        (Answer(204, "Taken, now or before"),),
        (problems.BAD_INPUT, problems.FORGED, problems.UNKNOWN_PAYMENT, replies.TOO_LARGE, problems.MISMATCH, *_STORE),
        security=_SIGNED,
        body="PaymentEvent",
        body_required=True,
    ),
    Operation(
        "sandbox_login", "post", f"{_BASE}/sandbox/login", _SANDBOX,
        "Sign in as anybody",
        "Gives a token as a shop would give it.",
        (Answer(200, "The token", "Login", headers=_NO_STORE),),
        (problems.BAD_INPUT, replies.TOO_LARGE, replies.NOT_JSON, problems.TOO_OFTEN, problems.BROKEN),
        body="LoginRequest",
        body_required=True,
    ),
    Operation(
        "sandbox_pay", "post", f"{_BASE}/sandbox/payments/{{payment}}", _SANDBOX,
        "Pay with play money",
        "The address in a payment's `pay_url`. The signed webhook follows within moments.",
        (Answer(202, "The webhook is on its way"),),
        (replies.NOT_FOUND, *_ASKED),
    ),
    Operation(
        "healthz", "get", "/healthz", _MACHINES,
        "Does the process run",
        "Asks no store: one that is away is no reason to end the process.",
        (Answer(200, "It runs", "Health", headers=_NO_STORE),),
    ),
    Operation(
        "readyz", "get", "/readyz", _MACHINES,
        "Should fans be sent here",
        "Ready when Valkey answers and the picture of the sales is young. Postgres may be away: selling goes on.",
        (Answer(200, "Ready", "Readiness", headers=_NO_STORE),
         Answer(503, "Not ready; the body says which part is missing", "Readiness", headers=_NO_STORE)),
    ),
    Operation(
        "metrics", "get", "/metrics", _MACHINES,
        "Counters of this process",
        "In the text format of Prometheus.",
        (Answer(200, "The counters", media=CONTENT_TYPE_LATEST,
                text='flashsale_purchase_decided_total{outcome="WON"} 150000.0\n'),),
    ),
)  # fmt: skip
