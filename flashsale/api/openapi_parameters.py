"""What stands in paths, queries and headers, and how a request is let in. Each parameter is known by its key here."""

from typing import Any, Final

from flashsale import limits
from flashsale.api.openapi_problems import EXAMPLE_ORDER
from flashsale.api.openapi_schemas import EXAMPLE_PAYMENT, Shape, slug, text, uuid


def _parameter(place: str, name: str, shape: Shape, *, required: bool = False) -> dict[str, Any]:
    """The words and the example move from the shape to the parameter, where readers look for them."""
    schema = {key: value for key, value in shape.items() if key not in {"description", "examples"}}
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": shape["description"],
        "schema": schema,
        "example": shape["examples"][0],
    }


PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "sale": _parameter(
        "path", "sale", slug("The sale's name: lower-case letters, digits and hyphens", "mi3"), required=True
    ),
    "item": _parameter(
        "path", "item", slug("The item's name: lower-case letters, digits and hyphens", "silver"), required=True
    ),
    "order": _parameter("path", "order", uuid("The order", EXAMPLE_ORDER), required=True),
    "payment": _parameter("path", "payment", uuid("The payment", EXAMPLE_PAYMENT), required=True),
    "sale_of_orders": _parameter("query", "sale", slug("Only orders of this sale", "mi3")),
    "retry": _parameter(
        "query",
        "retry",
        text("The same press once more, with the same key. It has to be the whole query", "1", enum=["1"]),
    ),
    "Idempotency-Key": _parameter(
        "header",
        "Idempotency-Key",
        text(
            "Names this press of buy, in letters, digits, `-` and `_`. Without it, a press whose answer was lost "
            "can't be asked about again",
            "press-7f3a9c",
            maxLength=limits.IDEMPOTENCY_KEY_LENGTH_MAX,
            pattern="^[A-Za-z0-9_-]+$",
        ),
    ),
    "If-None-Match": _parameter(
        "header", "If-None-Match", text("The ETag of the answer that you have", '"5d1f0c8e9ab37246"')
    ),
}

SECURITY: Final[dict[str, dict[str, Any]]] = {
    "Bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The shop's identity token. Its claim `sub` names the fan; `exp` has to be there. "
        "HS256 with a shared key, or RS256, ES256 or EdDSA with the shop's published keys.",
    },
    "Right": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Right`, a space, and the right from the reservation. It holds for one fan and one sale; it is "
        "checked without asking any store.",
    },
    "WebhookId": {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-id",
        "description": "Standard Webhooks: the message's id, the same each time that it is sent.",
    },
    "WebhookTimestamp": {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-timestamp",
        "description": "Standard Webhooks: when it was sent, in seconds since 1970 UTC; at most five minutes away.",
    },
    "WebhookSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-signature",
        "description": "Standard Webhooks: `v1,` and the Base64 of the HMAC-SHA256 over id, timestamp and body.",
    },
}
