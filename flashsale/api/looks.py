"""What is only looked at: the time, the sales, one sale; and what is wrong with a path of the hot lane."""

from typing import Final

from flashsale import clock
from flashsale.api import replies
from flashsale.api.picture import Pictures
from flashsale.api.replies import PREFIX, Headers, RefusedError, Reply

_METHODS: Final = {"reservation": "POST", "purchase": "POST", "challenge": "GET, POST"}


class Looks:
    """Answers from the pictures, without waiting for anything. sandbox: whether this site is one."""

    def __init__(self, pictures: Pictures, *, sandbox: bool) -> None:
        self._pictures = pictures
        self._sandbox = sandbox

    def answer(self, asked: str, path: str, headers: Headers) -> Reply | None:
        """The reply, or None when the path is not of these or has to be waited for. Raises RefusedError."""
        if not path.startswith(PREFIX):
            return None
        method, parts = "GET" if asked == "HEAD" else asked, path.split("/")[3:]  # the server leaves the body out
        match parts:
            case ["sales", sale, "reservation" | "challenge" as verb] | ["sales", sale, "items", _, "purchase" as verb]:
                return self._fault(asked, sale, verb)
            case ["time"] | ["sales"] | ["sales", _] if method != "GET":
                raise RefusedError(replies.not_allowed("GET"))
            case ["time"]:
                return replies.success(200, {"now_ms": clock.now_ms(), "sandbox": self._sandbox})
            case ["sales"]:
                return _unless_same(headers, self._pictures.listing, self._pictures.listing_etag)
            case ["sales", sale]:
                picture = self._pictures.find(sale)
                return replies.UNKNOWN_SALE if picture is None else _unless_same(headers, picture.shown, picture.etag)
            case _:
                return None

    def _fault(self, method: str, sale: str, verb: str) -> Reply | None:
        """What is wrong with a path by which something is asked for; a purchase of an item that exists is not asked
        here."""
        allowed = _METHODS[verb]
        if method not in allowed.split(", "):
            raise RefusedError(replies.not_allowed(allowed))
        if self._pictures.find(sale) is None:
            return replies.UNKNOWN_SALE
        return replies.UNKNOWN_ITEM if verb == "purchase" else None


def _unless_same(headers: Headers, shown: Reply, etag: bytes) -> Reply:
    """The reply, or 304 when the client has just this already."""
    if dict(headers).get(b"if-none-match") != etag:
        return shown
    return replies.reply(304, b"", (replies.SHARED, (b"etag", etag)))
