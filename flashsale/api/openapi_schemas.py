"""The shapes of bodies, with an example each. Bounds and names come from the code."""

from typing import Any, Final

from flashsale import limits, order, payment
from flashsale.api.openapi_problems import EXAMPLE_OPENS_MS, EXAMPLE_ORDER, facts_of
from flashsale.api.replies import refusal
from flashsale.durability import Level
from flashsale.outcomes import TELLINGS, Outcome
from flashsale.sale import SLUG, Challenged, Entry, State

Shape = dict[str, Any]

EXAMPLE_PAYMENT: Final = "5f0c9a1e-52c4-4f0e-8a6b-2f6f1f0f7d10"
EXAMPLE_RIGHT: Final = "v1.r.k1.1385618400.public.wechat.mi3.alice.1f8a4c0e6b7d92353c5e8f1a2b4d6079"
_SALE_STATES: Final = [str(state) for state in State if state is not State.DRAFT] + ["unavailable"]


def text(words: str, example: str, **more: Any) -> Shape:
    """A string with its meaning and an example."""
    return {"type": "string", "description": words, "examples": [example], **more}


def _whole(words: str, example: int, **more: Any) -> Shape:
    return {"type": "integer", "minimum": 0, "description": words, "examples": [example], **more}


def _ms(words: str, example: int) -> Shape:
    return _whole(f"{words}, in ms since 1970 UTC", example)


def slug(words: str, example: str) -> Shape:
    """The name of a sale or an item."""
    return text(words, example, maxLength=limits.SLUG_LENGTH_MAX, pattern=f"^{SLUG.pattern}$")


def uuid(words: str, example: str) -> Shape:
    """An id."""
    return text(words, example, format="uuid")


def _or_null(shape: Shape) -> Shape:
    return {**shape, "type": [shape["type"], "null"]}


def _ref(name: str, words: str = "") -> Shape:
    reference = {"$ref": f"#/components/schemas/{name}"}
    return reference | {"description": words} if words else reference


def _list(words: str, items: Shape, **more: Any) -> Shape:
    return {"type": "array", "description": words, "items": items, **more}


def _object(words: str, properties: dict[str, Shape], example: Shape, *, optional: tuple[str, ...] = ()) -> Shape:
    """An object; its example may be built from those of its parts."""
    required = [name for name in properties if name not in optional]
    shape: Shape = {"type": "object", "description": words, "properties": properties, "examples": [example]}
    return {**shape, "required": required} if required else shape


def _example(properties: dict[str, Shape], **other: Any) -> Shape:
    """An example from those of the properties; other: what is given instead or besides."""
    return {name: other[name] if name in other else shape["examples"][0] for name, shape in properties.items()}


def _plain(words: str, properties: dict[str, Shape], **more: Any) -> Shape:
    return _object(words, properties, _example(properties), **more)


_FAN: Final = text("The fan, as the shop's token names them", "alice", maxLength=limits.FAN_LENGTH_MAX)
_CHANNEL: Final = text("The channel that the fan came through", "wechat", maxLength=limits.CHANNEL_LENGTH_MAX)
_CURRENCY: Final = text("ISO 4217", "CNY")
_PRICE: Final = _whole("The price in the smallest unit of the currency", 199_900, maximum=limits.PRICE_MINOR_MAX)
_SALE: Final = slug("The sale's name: lower-case letters, digits and hyphens", "mi3")
_ITEM: Final = slug("The item's name: lower-case letters, digits and hyphens", "silver")
_UNIT: Final = _whole("The number of the unit, from 1", 123, minimum=1, maximum=limits.UNITS_PER_ITEM_MAX)
_STOCK: Final = text(
    "How much is left; `unknown` while the sale is unavailable",
    "available",
    enum=["available", "low", "sold_out", "unknown"],
)
_LEVEL: Final = text("How durable the order is", Level.ACCEPTED, enum=[level.value for level in Level])


def schemas() -> dict[str, Shape]:
    """Every named schema."""
    return {
        **_time_schemas(),
        **_sale_schemas(),
        **_buying_schemas(),
        **_challenge_schemas(),
        **_order_schemas(),
        **_payment_schemas(),
        **_other_schemas(),
        **_problem_schemas(),
    }


def _sale_schemas() -> dict[str, Shape]:
    title = {"zh": text("In Chinese", "小米手机3"), "en": text("In English", "Mi 3")}
    item = {
        "item": _ITEM,
        "title": _ref("Title", "What fans call it"),
        "price_minor": _PRICE,
        "stock": _STOCK,
    }
    item_example = _example(item, title={"zh": "银色", "en": "Silver"})
    reservation = {
        "opens_ms": _ms("From when fans may reserve", EXAMPLE_OPENS_MS - 6 * 86_400_000),
        "closes_ms": _ms("Until when", EXAMPLE_OPENS_MS - 3_600_000),
        "count": _whole("How many have reserved", 600_000),
    }
    sale = {
        "sale": _SALE,
        "title": _ref("Title", "What fans call it"),
        "state": text("Where the sale is. `loaded`: planned, opens at `opens_ms`. `unavailable`: closed until its "
                       "state is known again", "open", enum=_SALE_STATES),
        "entry": text("Who may buy: those who reserved, or everybody with an identity", "reservation",
                       enum=[str(entry) for entry in Entry]),
        "opens_ms": _ms("When it opens, by the server's clock", EXAMPLE_OPENS_MS),
        "closes_ms": _ms("When it ends", EXAMPLE_OPENS_MS + 7_200_000),
        "reservation": {"oneOf": [_ref("ReservationTimes"), {"type": "null"}],
                        "description": "When fans may reserve; null where nobody needs to"},
        "per_fan_limit": _whole("How many units one fan may buy", 1, minimum=1, maximum=limits.PER_FAN_LIMIT_MAX),
        "pay_window_s": _whole("How long a fan has to pay", 900, minimum=limits.PAY_WINDOW_S_MIN,
                               maximum=limits.PAY_WINDOW_S_MAX),
        "currency": _CURRENCY,
        "channels": _list("Where fans may come from; the first is taken when none is given", {"type": "string"},
                          maxItems=limits.CHANNELS_PER_SALE_MAX),
        "items": _list("What is sold", _ref("Item"), maxItems=limits.ITEMS_PER_SALE_MAX),
        "challenged": text("Who has to solve a challenge before a press: nobody, who asks too often, everybody", "off",
                           enum=[str(whose) for whose in Challenged]),
        "ask_again_s": _whole("When it is worth asking again", 2, minimum=1),
    }  # fmt: skip
    sale_example = _example(
        sale, title=_example(title), reservation=_example(reservation), channels=["web", "wechat"], items=[item_example]
    )
    sales = {"sales": _list("By opening time", _ref("Sale"))}
    return {
        "Sales": _object("All sales.", sales, {"sales": [sale_example]}),
        "Sale": _object("A sale as fans see it.", sale, sale_example),
        "Item": _object("One thing on sale.", item, item_example),
        "ReservationTimes": _plain("When fans may reserve.", reservation),
        "Title": _plain("A name in both languages.", title),
    }


def _time_schemas() -> dict[str, Shape]:
    now = {
        "now_ms": _ms("The server's time", EXAMPLE_OPENS_MS - 1_500),
        "sandbox": {"type": "boolean", "description": "Whether anybody may sign in by name", "examples": [False]},
    }
    return {"Time": _plain("The server's clock.", now)}


def _buying_schemas() -> dict[str, Shape]:
    reserved = {
        "outcome": text("What has been decided", Outcome.RESERVED.name, const=Outcome.RESERVED.name),
        "sale": _SALE,
        "fan": _FAN,
        "channel": _CHANNEL,
        "right": text("The right to buy. Send it as `Authorization: Right …`; do not take it apart", EXAMPLE_RIGHT,
                       maxLength=limits.RIGHT_LENGTH_MAX),
        "expires_ms": _ms("Until when the right holds", EXAMPLE_OPENS_MS + 7_200_000),
    }  # fmt: skip
    won = {
        "outcome": text("What has been decided", Outcome.WON.name, const=Outcome.WON.name),
        "order": uuid("The order", EXAMPLE_ORDER),
        "sale": _SALE,
        "item": _ITEM,
        "unit": _UNIT,
        "level": {**_LEVEL, "description": "How durable the win is by now; the order tells when it is confirmed"},
        "pay_before_ms": _ms("Until when to pay", EXAMPLE_OPENS_MS + 900_312),
    }
    code = {"code": text("The code", "F-2WX9A-7K3QM-0VJ4T-H8ZC1", maxLength=limits.FCODE_LENGTH_MAX)}
    asked = {"channel": {**_CHANNEL, "description": "One of the sale's channels; without it, the first"}}
    return {
        "ReservationRequest": {
            **_plain("What may be sent with a reservation. It can be left out.", asked, optional=("channel",)),
            "additionalProperties": False,
        },
        "Reserved": _plain("A place in the list, with the right it gives.", reserved),
        "Won": _plain("A unit that is yours to pay for.", won),
        "CodeRequest": {
            **_plain("An F-code, as the fan typed it.", code),
            "additionalProperties": False,
        },
    }


def _challenge_schemas() -> dict[str, Shape]:
    derived = {
        "algorithm": text("How a key is derived", "PBKDF2/SHA-256"),
        "cost": _whole("Its rounds", limits.CHALLENGE_ROUNDS),
        "nonce": text(
            "Hex; the number that is tried, as 4 bytes, stands behind it", "f0430cadc14923b1a2e1d72f164fe20d"
        ),
        "salt": text("Hex", "09bf9afc9155ac6a3576dcf218fd685a"),
        "keyLength": _whole("Of a key, in bytes", 32),
        "keyPrefix": text("Hex; how the key that is looked for begins", "4d083b6a56aca114c257e283521142c6"),
        "keySignature": text("Ours", "075cfadfac1651105f1ee6652107bcc53c8e34c4871e9bc520ff4420016ad0a1"),
        "expiresAt": _whole("Until when it can be solved, in seconds since 1970 UTC", EXAMPLE_OPENS_MS // 1000 - 60),
        "data": {"type": "object", "description": "Whose it is", "examples": [{"sale": "mi3", "fan": "alice"}]},
    }
    challenge = {
        "parameters": {
            "type": "object",
            "description": "What is looked for",
            "properties": derived,
            "required": list(derived),
            "examples": [_example(derived)],
        },
        "signature": text("Ours", "142eb0ae581e1dea8307a59ded2a574d6b1dd07b9d95cc081a68aabc122ba85e"),
    }
    solution = {
        "payload": text(
            "Base64 of JSON: `challenge` as it was given, and `solution` with `counter` and `derivedKey` in hex",
            "eyJjaGFsbGVuZ2UiOnsi…",
        )
    }
    solved = {
        "right": text(
            "The fan's right with the mark that they have solved one. Press with it",
            EXAMPLE_RIGHT,
            maxLength=limits.RIGHT_LENGTH_MAX,
        ),
        "expires_ms": _ms("Until when it holds; the right from before stays good", EXAMPLE_OPENS_MS + 600_000),
    }  # fmt: skip
    return {
        "Challenge": _plain("A challenge, as ALTCHA's clients take it.", challenge),
        "Solution": {**_plain("A solution, as ALTCHA's clients send it.", solution), "additionalProperties": False},
        "Solved": _plain("A right to press with.", solved),
    }


_ORDER_STATE: Final[Shape] = text(
    "Where it is in its life. `accepted`: decided, being written down. `confirmed`: committed to the database. "
    "`refused`: told as won, and then there was no unit for it; nothing is to be paid",
    "confirmed",
    enum=[str(state) for state in order.State],
)
_CHECKING: Final[Shape] = {
    "type": "boolean",
    "description": "Whether it is accepted and its unit turned out to be another order's: it gets another one, with "
    "another number, or is refused",
    "examples": [False],
}


def _order_schemas() -> dict[str, Shape]:
    one = {
        "order": uuid("The order", EXAMPLE_ORDER),
        "sale": _SALE,
        "item": _ITEM,
        "unit": _UNIT,
        "state": _ORDER_STATE,
        "level": {**_LEVEL, "examples": ["confirmed"]},
        "price_minor": _PRICE,
        "currency": _CURRENCY,
        "channel": _or_null({**_CHANNEL, "description": f"{_CHANNEL['description']}; null while it is accepted"}),
        "accepted_ms": _ms("When it was won", EXAMPLE_OPENS_MS + 312),
        "pay_before_ms": _ms("Until when to pay", EXAMPLE_OPENS_MS + 900_312),
        "confirmed_ms": _or_null(_ms("When it was committed; null until then", EXAMPLE_OPENS_MS + 398)),
        "paid_ms": {**_or_null(_ms("When it was paid; null until then", 0)), "examples": [None]},
        "closed_ms": {**_or_null(_ms("When it expired, was cancelled, refunded or refused; null until then", 0)),
                      "examples": [None]},
        "payment_state": _or_null(text(
            "Where its money is; null before a payment was asked for. `late`: it came when the order was over, and a "
            "unit is looked for. `refund_due`: it is to go back. `refunded`: it went back",
            "pending", enum=[*(str(state) for state in payment.State), None])),
        "late_order": {**_or_null(uuid("The order that its money paid instead, as it came when this one was over",
                                       EXAMPLE_ORDER)), "examples": [None]},
        "checking": _CHECKING,
    }  # fmt: skip
    complete = _yes(
        "Whether these are all; false while a part of the store that may have newer ones is closed: ask again"
    )
    orders = {"orders": _list("Newest first", _ref("Order")), "complete": complete}
    return {
        "Order": _plain("An order as its owner sees it.", one),
        "Orders": _object("A fan's orders.", orders, {"orders": [_example(one)], "complete": True}),
    }


def _payment_schemas() -> dict[str, Shape]:
    made = {
        "payment": uuid("The payment", EXAMPLE_PAYMENT),
        "order": uuid("The order it is for", EXAMPLE_ORDER),
        "amount_minor": {**_PRICE, "description": "What is to be paid, in the smallest unit of the currency"},
        "currency": _CURRENCY,
    }
    pay_url = _or_null(text("Sandbox mode: where to pay with play money. Elsewhere null: use the provider's own way",
                             f"/api/v1/sandbox/payments/{EXAMPLE_PAYMENT}"))  # fmt: skip
    event = {
        "type": text("`payment.succeeded` or `payment.refunded`; anything else is ignored", payment.SUCCEEDED_EVENT),
        "data": {
            **_plain(
                "Of what: `payment`, `order`, `amount_minor` and `currency`, as they were asked for",
                made,
            ),
            "examples": [_example(made)],
        },
    }
    return {
        "Payment": _plain("A payment to settle with the provider.", made | {"pay_url": pay_url}),
        "PaymentEvent": _plain("What the payment provider says.", event),
    }


def _yes(words: str) -> Shape:
    return {"type": "boolean", "description": words, "examples": [True]}


def _other_schemas() -> dict[str, Shape]:
    return {
        "LoginRequest": _plain("Who to be.", {"fan": _FAN}),
        "Login": _plain("A token of the sandbox.", {"token": text("A JWT", "eyJhbGciOiJIUzI1NiIs…"), "fan": _FAN}),
        "Health": _plain("The process runs.", {"status": text("Always the same", "ok")}),
        "Readiness": _plain("Whether fans should be sent here, and why not.", {
            "ready": _yes("Valkey and the picture are there"),
            "valkey": _yes("Valkey answers"),
            "picture": _yes("The picture of the sales is young"),
            "postgres": _yes("Postgres answers; not needed to be ready"),
        }),
    }  # fmt: skip


def _problem_schemas() -> dict[str, Shape]:
    names = [outcome.name for outcome in Outcome]
    problem = {
        "type": text("What kind of problem it is; it never changes its meaning", "/problems/sold-out",
                      format="uri-reference"),
        "title": text("One sentence for people", TELLINGS[Outcome.SOLD_OUT].title),
        "status": _whole("The HTTP status", TELLINGS[Outcome.SOLD_OUT].status, minimum=400, maximum=599),
        "detail": text("What is wrong in this case", "the right is for another sale"),
        "outcome": _ref("Outcome", "What has been decided about this attempt"),
        "retry_after_s": _whole("Ask again after so many seconds", 5, minimum=1),
        "order": uuid("With `ALREADY_BOUGHT`: the order you have", EXAMPLE_ORDER),
        "opens_ms": _ms("With `NOT_OPEN`: when the sale opens", EXAMPLE_OPENS_MS),
        "state": text("With `order-over`: the order's state", "paid", enum=[str(state) for state in order.State]),
    }  # fmt: skip
    optional = ("detail", "outcome", "retry_after_s", "order", "opens_ms", "state")
    return {
        "Problem": _object("A refusal by RFC 9457.", problem, facts_of(refusal(Outcome.SOLD_OUT)), optional=optional),
        "Outcome": {
            "type": "string",
            "description": "What has been decided. A name never changes its meaning; new ones may be added.",
            "enum": names,
            "x-enum-descriptions": {outcome.name: telling.title for outcome, telling in TELLINGS.items()},
            "examples": [Outcome.SOLD_OUT.name],
        },
    }
