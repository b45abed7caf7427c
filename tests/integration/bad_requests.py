"""The bad requests, by name: what is sent, and which refusal is right. Words in {braces} are filled in by the test."""

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from flashsale import limits
from tests.integration.shop import BASE

BUY: Final = "POST sales/{sale}/items/silver/purchase"
RESERVE: Final = "POST sales/{sale}/reservation"
TOO_LONG: Final = b'{"channel": "%s"}' % (b"w" * limits.BODY_BYTES_MAX)
LONG_NAME: Final = "a" * 3000
NOBODYS: Final = str(uuid.UUID(int=7))
TOKENS: Final = {
    "none", "other_algorithm", "wrong_key", "expired", "not_yet", "without_expiry", "without_sub", "sub_with_space",
    "sub_empty", "sub_too_long", "sub_with_line", "sub_number", "garbage", "empty", "basic", "very_long",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A request and its right refusal. who: the authorization header. body: sent as JSON unless content_type says else.

    chunked: the body's length is not told beforehand.
    """

    name: str
    request: str
    status: int
    slug: str
    who: str = ""
    key: str = ""
    body: bytes | None = None
    content_type: str = "application/json"
    chunked: bool = False


def _rights() -> Iterator[Case]:
    """Presses without a good right."""
    bad = {
        "no_right": "",
        "malformed_right": "Right v1.r.what",
        "empty_right": "Right",
        "very_long_right": f"Right {'v1.r.k1.9.public.web.s.bob.' + 'a' * 5000}",
        "right_in_other_letters": "Right v1.r.米",
        "identity_instead_of_right": "{bob}",
        "token_instead_of_right": "Right {garbage}",
        **{
            name: f"Right {{{name}}}"
            for name in (
                "right_expired", "right_foreign", "right_forged", "right_of_other_fan", "right_longer",
                "right_other_key", "right_unknown_key",
            )
        },
    }  # fmt: skip
    for name, who in bad.items():
        yield Case(name, BUY, 403, "no-right", who=who)


def _purchases() -> Iterator[Case]:
    """Presses that are wrong in another way."""
    good = "Right {right}"
    yield Case("buy_in_unknown_sale", "POST sales/nosuch/items/silver/purchase", 404, "unknown-sale", who=good)
    yield Case("buy_unknown_item", "POST sales/{sale}/items/gold/purchase", 404, "unknown-item", who=good)
    odd_names = {"long": LONG_NAME, "zero": "a%00", "line": "a%0A", "up": "..%2F..", "chinese": "%E7%B1%B3"}
    for name, odd in odd_names.items():
        # Where a slash is hidden in a name there is no such path at all.
        slug = "not-found" if name == "up" else "unknown-sale"
        yield Case(f"buy_in_{name}_sale", f"POST sales/{odd}/items/silver/purchase", 404, slug, who=good)
    yield Case("buy_long_item", f"POST sales/{{sale}}/items/{LONG_NAME}/purchase", 404, "unknown-item", who=good)
    keys = {"long": "k" * 65, "spaced": "a b", "dotted": "a.b", "chinese": "米", "very_long": "k" * 8000}
    for name, key in keys.items():
        yield Case(f"buy_with_{name}_key", BUY, 400, "bad-idempotency-key", who=good, key=key)
    for chunked in (False, True):
        yield Case(
            f"buy_with_large_body{'_in_chunks' * chunked}", BUY, 413, "body-too-large",
            who=good, body=TOO_LONG, chunked=chunked,
        )  # fmt: skip
    yield Case("buy_with_text", BUY, 415, "not-json", who=good, body=b"please", content_type="text/plain")


def _reservations() -> Iterator[Case]:
    """Reservations that can't be read, or of nobody."""
    yield Case("reserve_in_unknown_sale", "POST sales/nosuch/reservation", 404, "unknown-sale", who="{bob}")
    yield Case("reserve_in_long_sale", f"POST sales/{LONG_NAME}/reservation", 404, "unknown-sale", who="{bob}")
    yield Case("reserve_as_nobody", RESERVE, 401, "no-identity")
    yield Case("reserve_with_a_right", RESERVE, 401, "no-identity", who="Right {right}")
    for token in sorted(TOKENS):
        yield Case(f"reserve_as_{token}", RESERVE, 401, "no-identity", who=f"{{{token}}}")
    bodies = {
        "unknown_channel": b'{"channel": "tv"}',
        "channel_number": b'{"channel": 1}',
        "channel_list": b'{"channel": ["web"]}',
        "channel_null": b'{"channel": null}',
        "unknown_key": b'{"chanel": "web"}',
        "broken_json": b'{"channel": ',
        "empty_in_chunks": b"",
        "not_utf8": b'{"channel": "\xff"}',
        "list": b"[]",
        "deep": b"[" * 9000,
    }
    for name, body in bodies.items():
        chunked = name.endswith("chunks")
        yield Case(f"reserve_with_{name}", RESERVE, 400, "bad-input", who="{bob}", body=body, chunked=chunked)
    for chunked in (False, True):
        yield Case(
            f"reserve_with_large_body{'_in_chunks' * chunked}", RESERVE, 413, "body-too-large",
            who="{bob}", body=TOO_LONG, chunked=chunked,
        )  # fmt: skip
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        yield Case(
            f"reserve_with_{kind or 'no type'}", RESERVE, 415, "not-json",
            who="{bob}", body=b'{"channel": "web"}', content_type=kind,
        )  # fmt: skip


def _orders() -> Iterator[Case]:
    """Orders that are not the asker's."""
    asks = {"see": "GET orders/%s", "watch": "GET orders/%s/events", "pay": "POST orders/%s/payment",
            "cancel": "POST orders/%s/cancellation"}  # fmt: skip
    orders = {"landed": "{landed}", "accepted": "{accepted}", "unknown": NOBODYS, "no": "what", "long": LONG_NAME,
              "spelled": "%7B{landed}%7D%00"}  # fmt: skip
    for verb, request in asks.items():
        for name, order in orders.items():
            yield Case(f"{verb}_{name}_order", request.replace("%s", order), 404, "unknown-order", who="{bob}")
        yield Case(f"{verb}_as_nobody", request.replace("%s", "{landed}"), 401, "no-identity")
        own = request.replace("%s", "{landed}")
        yield Case(f"{verb}_with_a_forged_token", own, 401, "no-identity", who="{wrong_key}")
    yield Case("list_as_nobody", "GET orders", 401, "no-identity")
    yield Case("list_of_long_sale", f"GET orders?sale={LONG_NAME}", 404, "unknown-sale", who="{bob}")
    yield Case("list_of_odd_sale", "GET orders?sale=a%00", 404, "unknown-sale", who="{bob}")
    for verb in ("payment", "cancellation"):
        for chunked in (False, True):
            yield Case(
                f"{verb}_with_large_body{'_in_chunks' * chunked}", f"POST orders/{{landed}}/{verb}", 413,
                "body-too-large", who="{alice}", body=TOO_LONG, chunked=chunked,
            )  # fmt: skip


def _others() -> Iterator[Case]:
    """The provider's address, the sandbox, and ways that lead nowhere."""
    for chunked in (False, True):
        end = "_in_chunks" * chunked
        yield Case(
            f"hook_with_large_body{end}", "POST hooks/payment", 413, "body-too-large", body=TOO_LONG, chunked=chunked
        )
        yield Case(
            f"login_with_large_body{end}", "POST sandbox/login", 413, "body-too-large", body=TOO_LONG, chunked=chunked
        )
    yield Case("hook_without_signature", "POST hooks/payment", 401, "forged", body=b'{"type": "payment.succeeded"}')
    yield Case("hook_without_body", "POST hooks/payment", 401, "forged")
    for name, body in {"nobody": b"{}", "spaced_fan": b'{"fan": "a b"}', "long_fan": b'{"fan": "%s"}' % (b"a" * 65),
                       "fan_number": b'{"fan": 1}', "broken_json": b"{", "list": b"[1]"}.items():  # fmt: skip
        yield Case(f"login_{name}", "POST sandbox/login", 400, "bad-input", body=body)
    yield Case("login_with_text", "POST sandbox/login", 415, "not-json", body=b"bob", content_type="text/plain")
    yield Case("sandbox_pays_nothing", "POST sandbox/payments/what", 404, "not-found")
    yield Case("sandbox_pays_unknown", f"POST sandbox/payments/{NOBODYS}", 404, "not-found")
    yield Case("unknown_sale", "GET sales/nosuch", 404, "unknown-sale")
    yield Case("unknown_path", "GET what", 404, "not-found")
    yield Case("unknown_long_path", f"POST {LONG_NAME}/{LONG_NAME}", 404, "not-found")
    hot = ("GET sales/{sale}/items/silver/purchase", "PUT sales/{sale}/reservation", "DELETE sales/{sale}",
           "POST sales", "POST time")  # fmt: skip
    rest = ("DELETE orders/{landed}", "GET orders/{landed}/payment", "GET hooks/payment", "GET sandbox/login",
            "POST orders")  # fmt: skip
    for request in (*hot, *rest):
        yield Case(f"wrong method {request}", request, 405, "method-not-allowed", who="{bob}")


CASES: Final = (*_rights(), *_purchases(), *_reservations(), *_orders(), *_others())


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 4096):
        yield body[at : at + 4096]


async def sent(client: httpx.AsyncClient, case: Case, names: Mapping[str, str]) -> httpx.Response:
    """The answer to a case's request, with the test's names filled in."""

    def filled(text: str) -> str:
        for name, value in names.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    method, _, path = filled(case.request).partition(" ")
    told = {"authorization": filled(case.who), "idempotency-key": case.key}
    if case.body is not None:
        told["content-type"] = case.content_type
    headers = [(name.encode(), value.encode()) for name, value in told.items() if value]
    content = None if case.body is None else _in_chunks(case.body) if case.chunked else case.body
    return await client.request(method, f"{BASE}/{path}", headers=headers, content=content)
