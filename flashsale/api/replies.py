"""Ready-made HTTP replies: made once, sent many times. Refusals are RFC 9457 problems."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from starlette.responses import Response

from flashsale.outcomes import TELLINGS, Outcome

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

PREFIX: Final = "/api/v1/"
NO_STORE: Final = (b"cache-control", b"no-store")
SHARED: Final = (b"cache-control", b"public, max-age=1")
JSON: Final = (b"content-type", b"application/json")
_PROBLEM: Final = (b"content-type", b"application/problem+json")
_END_OF_HEAD: Final = b"\r\n\r\n"


class Reply(NamedTuple):
    """One answer, which may be sent to many. wire: its headers, an empty line and its body, as they go out."""

    status: int
    wire: bytes

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values, as ASGI wants them."""
        lines = self.wire.partition(_END_OF_HEAD)[0].split(b"\r\n")
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    @property
    def body(self) -> bytes:
        """What comes after the empty line."""
        return self.wire.partition(_END_OF_HEAD)[2]

    async def send(self, send: Send) -> None:
        """Answer by ASGI."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})

    def response(self) -> Response:
        """The same for Starlette."""
        headers = {name.decode(): value.decode() for name, value in self.headers}
        return Response(self.body, status_code=self.status, headers=headers)


class RefusedError(Exception):
    """Carries the reply that ends a request, from wherever it is found out."""

    def __init__(self, refused: Reply) -> None:
        super().__init__(refused.body)
        self.reply = refused


def reply(status: int, body: bytes, headers: Headers) -> Reply:
    """An answer of these bytes; the length is added."""
    whole = (*headers, (b"content-length", b"%d" % len(body)))
    lines = b"".join(b"%s: %s\r\n" % header for header in whole)
    return Reply(status, b"%s\r\n%s" % (lines, body))


def success(status: int, data: Mapping[str, Any], *headers: tuple[bytes, bytes]) -> Reply:
    """A personal JSON answer, kept by nobody."""
    return reply(status, orjson.dumps(data), (JSON, NO_STORE, *headers))


def problem(
    status: int,
    slug: str,
    title: str,
    *,
    detail: str = "",
    retry_after_s: int = 0,
    shared: bool = False,
    headers: Sequence[tuple[bytes, bytes]] = (),
    **more: Any,
) -> Reply:
    """A refusal by RFC 9457. shared: it holds for everybody, so that a cache may give it for a second."""
    data: dict[str, Any] = {"type": f"/problems/{slug}", "title": title, "status": status}
    if detail:
        data["detail"] = detail
    retry_after: Headers = ()
    if retry_after_s:
        data["retry_after_s"] = retry_after_s
        retry_after = [(b"retry-after", b"%d" % retry_after_s)]
    kept = SHARED if shared else NO_STORE
    return reply(status, orjson.dumps(data | more), (_PROBLEM, kept, *retry_after, *headers))


def slug_of(outcome: Outcome) -> str:
    """The outcome's name as it stands in its problem's type."""
    return outcome.name.lower().replace("_", "-")


def refusal(
    outcome: Outcome, *, detail: str = "", shared: bool | None = None, retry_after_s: int = 0, **more: Any
) -> Reply:
    """The refusal for an outcome, as its telling says. shared: given to say otherwise than the telling."""
    telling = TELLINGS[outcome]
    return problem(
        telling.status,
        slug_of(outcome),
        telling.title,
        detail=detail,
        retry_after_s=retry_after_s or telling.retry_after_s,
        shared=telling.shared if shared is None else shared,
        outcome=outcome.name,
        **more,
    )


BY_OUTCOME: Final[dict[Outcome, Reply]] = {
    outcome: refusal(outcome, shared=False) for outcome in Outcome if outcome is not Outcome.WON
}
NOT_FOUND: Final = problem(404, "not-found", "There is nothing here")
UNKNOWN_SALE: Final = problem(404, "unknown-sale", "There is no sale of that name")
UNKNOWN_ITEM: Final = problem(404, "unknown-item", "This sale has no item of that name")
UNKNOWN_ORDER: Final = problem(404, "unknown-order", "You have no order of that number")
ORDERS_CLOSED: Final = problem(
    503, "orders-closed", "A part of your orders can't be seen until it is recovered, ask again", retry_after_s=5
)
TOO_LARGE: Final = problem(413, "body-too-large", "The body is larger than this takes")
HEAD_TOO_LARGE: Final = problem(431, "head-too-large", "The head of the request is larger than this takes")
TOO_SLOW: Final = problem(408, "too-slow", "The request did not come whole in time")
NOT_JSON: Final = problem(415, "not-json", "Send a body as application/json, or none")
BAD_KEY: Final = problem(400, "bad-idempotency-key", "An Idempotency-Key has 1 to 64 of letters, digits, - and _")
BROKEN: Final = problem(500, "broken", "Something of ours broke; it was logged")
CROWDED: Final = problem(503, "crowded", "It is crowded, ask again", retry_after_s=2)


IDENTITY_AWAY: Final = problem(503, "identity-away", "We can't check who you are right now, ask again", retry_after_s=2)


def unauthorized(detail: str) -> Reply:
    """401 with the scheme that is asked for."""
    return problem(401, "no-identity", "Sign in first", detail=detail, headers=[(b"www-authenticate", b"Bearer")])


def not_allowed(allow: str) -> Reply:
    """405 with the method that fits."""
    return problem(405, "method-not-allowed", "Method Not Allowed", headers=[(b"allow", allow.encode())])


def bad_input(detail: str) -> Reply:
    """400 with what is wrong."""
    return problem(400, "bad-input", "This could not be read", detail=detail)
