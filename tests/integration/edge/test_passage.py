"""What the edge lets through, what it keeps out, and what it says when nobody answers behind it."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flashsale import limits
from flashsale.api import replies
from flashsale.api.replies import Reply
from tests.integration.edge.conftest import BUY, as_spelled
from tests.support.edge import edge
from tests.support.upstream import Asked, Upstream

PAGE = replies.reply(
    200, b"<!doctype html>", [(b"content-type", b"text/html"), (b"cache-control", b"public, max-age=60"),
    (b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"default-src 'self'")],
)  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/healthz", "/readyz", "/%6detrics", "//metrics", "/s/../metrics", "/s/..%2fmetrics", "/metrics/",
     "/metrics?x=1", "/s/x/y", "/.env"],
)  # fmt: skip
def test_what_is_for_machines_is_not_public(fans: httpx.Client, api: Upstream, path: str) -> None:
    """Given paths that are for operators, or for nobody / When asked from outside / Then the app never hears of it."""
    assert as_spelled(fans, path, method="GET") == 404
    assert not api.asked


def test_who_a_fan_is_reaches_the_app(fans: httpx.Client, api: Upstream) -> None:
    """Given a fan's headers / Then Authorization and the key go through, and claims about where they are do not."""
    sent = {
        "authorization": f"Right {'x' * limits.RIGHT_LENGTH_MAX}", "idempotency-key": "noon",
        "x-forwarded-for": "10.0.0.1", "x-forwarded-proto": "https", "forwarded": "for=10.0.0.1",
    }  # fmt: skip
    fans.post(f"{BUY}?retry=1", headers=sent)
    heard = api.asked[0].headers
    assert (heard["authorization"], heard["idempotency-key"]) == (sent["authorization"], "noon")
    assert (heard["x-forwarded-for"], heard["x-forwarded-proto"]) == ("127.0.0.1", "http")
    assert "forwarded" not in heard


def test_a_token_of_a_shop_fits_and_a_longer_header_does_not(fans: httpx.Client, api: Upstream) -> None:
    """Given a header of three and one of nine kilobytes / Then the first goes through, the second is refused."""
    assert fans.get("/api/v1/orders", headers={"authorization": f"Bearer {'x' * 3000}"}).status_code == 409
    assert fans.get("/api/v1/orders", headers={"authorization": f"Bearer {'x' * 9000}"}).status_code == 400
    assert len(api.asked) == 1


def test_a_body_over_the_limit_stays_outside(fans: httpx.Client, api: Upstream) -> None:
    """Given a body of just the limit and one that is longer / Then the second is refused without asking the app."""
    path = "/api/v1/sales/mi3/reservation"
    assert fans.post(path, content=b"x" * limits.BODY_BYTES_MAX).status_code == 409
    answer = fans.post(path, content=b"x" * (limits.BODY_BYTES_MAX + 1))
    assert answer.status_code == 413
    assert answer.content == replies.TOO_LARGE.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(api.asked) == 1


def test_headers_of_the_page_come_once(fans: httpx.Client, api: Upstream) -> None:
    """Given the app's security headers / Then the edge neither doubles nor drops them, and says little of itself."""
    api.answer = lambda asked: PAGE
    answer = fans.get("/s/mi3")
    for name in ("x-content-type-options", "content-security-policy", "cache-control"):
        assert len(answer.headers.get_list(name)) == 1
    assert answer.headers["server"] == "nginx"


def test_the_page_is_given_also_while_the_app_is_away(fans: httpx.Client, api: Upstream) -> None:
    """Given a page that was asked for once / When the app breaks / Then fans still get it, whatever their query."""
    api.answer = lambda asked: PAGE
    fans.get("/s/mi3")
    api.answer = hang_up
    assert fans.get("/s/mi3?from=wechat").content == b"<!doctype html>"
    assert len(api.asked) == 1


def test_a_reading_is_told_to_come_again(fans: httpx.Client, api: Upstream) -> None:
    """Given an app that hangs up / When someone looks at an order / Then they are asked back, in the app's form."""
    api.answer = hang_up
    answer = fans.get("/api/v1/orders/1")
    assert (answer.status_code, answer.json()["status"]) == (503, 503)
    assert answer.headers["retry-after"] == str(answer.json()["retry_after_s"])
    assert answer.json()["type"] == "/problems/store-away"


def test_the_sales_are_answered_for_all_and_compared_at_the_edge(fans: httpx.Client, api: Upstream) -> None:
    """Given a list that many pages ask for / When a page has just this already / Then it is told so, 304."""
    shown = replies.reply(200, b"{}", [replies.SHARED, (b"etag", b'"1"')])
    api.answer = lambda asked: shown
    answers = [fans.get("/api/v1/sales", headers={"if-none-match": '"1"'}) for _ in range(100)]
    assert len(api.asked) < 50
    told = Counter(answer.status_code for answer in answers)
    assert told[304] > 50, told
    assert set(told) <= {200, 304}


def test_an_order_is_never_answered_from_a_cache(fans: httpx.Client, api: Upstream) -> None:
    """Given an app that by mistake calls an order public / Then the edge asks again all the same."""
    api.answer = lambda asked: replies.reply(200, asked.headers["authorization"].encode(), [replies.SHARED])
    for fan in ("alice", "bob", "alice"):
        assert fans.get("/api/v1/orders", headers={"authorization": fan}).text == fan
    assert len(api.asked) == 3


def test_an_event_goes_out_when_it_comes(fans: httpx.Client, api: Upstream) -> None:
    """Given a stream of events / When the first has been sent and the second not / Then the fan has the first."""
    go_on = threading.Event()
    api.stream = events(go_on)
    with fans.stream("GET", "/api/v1/orders/1/events") as stream:
        parts = stream.iter_raw()
        assert next(parts) == b"data: 1\n\n"
        go_on.set()
        assert next(parts) == b"data: 2\n\n"


def test_one_address_is_slowed_down_in_the_end(api: Upstream, tmp_path: Path) -> None:
    """Given the real limits / When one address asks again and again / Then past a generous burst it is told to wait."""
    with (
        edge(tmp_path / "limited", api_port=api.port, limited=True) as address,
        httpx.Client(base_url=address) as greedy,
    ):
        answers = [greedy.post(f"{BUY}?retry=1") for _ in range(150)]
        assert {answer.status_code for answer in answers} == {409}, "generous"
        answers = [greedy.post(f"{BUY}?retry=1") for _ in range(400)]
        slowed = [answer for answer in answers if answer.status_code == 429]
        assert slowed
        assert slowed[0].headers["retry-after"] == "2"
        assert slowed[0].json()["type"] == "/problems/crowded"
        assert greedy.post(BUY).status_code == 409, "what is no retry is counted apart"


def hang_up(asked: Asked) -> Reply:
    """Break the connection in the middle of the request."""
    raise ConnectionResetError


def events(go_on: threading.Event) -> Iterator[bytes]:
    """Two events, the second when it is time."""
    yield b"data: 1\n\n"
    assert go_on.wait(10)
    yield b"data: 2\n\n"
