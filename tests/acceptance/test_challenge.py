"""A challenge as a fan meets it: the page solves it by itself, before the opening where it can."""

from threading import Event

import pytest
from playwright.sync_api import Request, Route

from flashsale.sale import Challenged
from tests.acceptance.desk import Desk
from tests.acceptance.fan import Fan
from tests.acceptance.test_words import assert_switches

pytestmark = pytest.mark.browser


def asked(fan: Fan) -> list[str]:
    """What the page asks for from now on, of presses and challenges: method and the last part of the path."""
    seen: list[str] = []

    def look(request: Request) -> None:
        last = request.url.partition("?")[0].rpartition("/")[2]
        if last in {"challenge", "purchase"}:
            seen.append(f"{request.method} {last}")

    fan.page.on("request", look)
    return seen


def challenged_press(fan: Fan, ops: Desk, sale_name: str) -> None:
    """One press of a fan who came to an open sale that challenges everybody."""
    ops.sale(sale_name)
    ops.challenge(sale_name, Challenged.ALL)
    fan.come(sale_name)
    fan.see("buy")
    fan.press("buy")


def test_a_press_that_is_challenged_wins_by_itself(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given ops who challenge everybody while the page is open / When the fan presses once / Then the page does the
    work, says what it is doing, and the fan has won; another press needs no more work."""
    ops.sale(sale_name, top="per_fan_limit = 2")
    fan.come(sale_name)
    fan.see("buy")
    held: list[Route] = []
    through = Event()
    fan.page.route("**/challenge", lambda one: one.continue_() if through.is_set() else held.append(one))
    seen = asked(fan)
    ops.challenge(sale_name, Challenged.ALL)
    fan.press("buy")
    fan.see("challenged")
    assert "不用再按" in fan.told
    assert_switches(fan)
    through.set()
    for one in held:
        one.continue_()
    fan.see("won")
    assert seen[-1] == "POST purchase"
    assert seen.count("POST challenge") == 1
    fan.press("more")
    fan.see("buy")
    fan.press("buy")
    fan.see("won")
    assert seen.count("POST challenge") == 1


def test_it_is_solved_before_the_opening(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a sale that challenges everybody / When a fan waits on the page / Then the work is done by the opening, and
    their press is one request."""
    ops.reserved_sale(sale_name, opens="+9s", closes="+1s")
    ops.challenge(sale_name, Challenged.ALL)
    seen = asked(fan)
    fan.come(sale_name)
    fan.see("reserve")
    fan.press("reserve")
    fan.see("waiting")
    fan.see("buy", within_s=15)
    assert seen == ["GET challenge", "POST challenge"]
    fan.press("buy")
    fan.see("won")
    assert seen == ["GET challenge", "POST challenge", "POST purchase"]


def test_a_browser_that_can_not_derive_keys(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a page by plain http, which may not derive keys / When its fan is challenged / Then they are told what to
    do, and nothing is decided."""
    fan.page.add_init_script("Object.defineProperty(Crypto.prototype, 'subtle', {value: undefined})")
    challenged_press(fan, ops, sale_name)
    fan.see("unsolvable")
    assert_switches(fan)
    assert "https" in fan.told
    assert not ops.rows("select 1 from orders where sale = $1", sale_name)
    ops.challenge(sale_name, Challenged.OFF)
    fan.press("try-again")
    fan.see("buy")
    fan.press("buy")
    fan.see("won")


def test_a_mark_that_is_not_taken_costs_nothing(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a fan with a solved challenge / When a process does not take the mark / Then the page presses with their
    own right, solves another one, and they have won."""
    ops.sale(sale_name, top="per_fan_limit = 2")
    ops.challenge(sale_name, Challenged.ALL)
    fan.come(sale_name)
    fan.see("buy")
    fan.press("buy")
    fan.see("won")
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        sent = route.request.headers["authorization"]
        if refused or ".rs." not in sent:
            route.continue_()
            return
        refused.append(sent)
        route.fulfill(status=403, content_type="application/problem+json", body='{"status":403,"outcome":"NO_RIGHT"}')

    fan.page.route("**/purchase*", refuse_once)
    fan.press("more")
    fan.see("buy")
    seen = asked(fan)
    fan.press("buy")
    fan.see("won")
    assert len(refused) == 1
    assert seen == ["POST purchase", "POST purchase", "GET challenge", "POST challenge", "POST purchase"]


def test_a_line_that_breaks_at_the_challenge_leaves_nothing_unknown(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a press that was challenged / When the line breaks while the challenge is fetched / Then the page says that
    nothing is decided, asks again as a first press, and the fan has won."""
    ops.sale(sale_name)
    ops.challenge(sale_name, Challenged.ALL)
    fan.come(sale_name)
    fan.see("buy")
    presses: list[str] = []
    fan.page.on("request", lambda one: presses.append(one.url) if "/purchase" in one.url else None)
    through = Event()
    fan.page.route("**/challenge", lambda one: one.continue_() if through.is_set() else one.abort())
    fan.press("buy")
    fan.see("crowded")
    through.set()
    fan.see("won")
    assert not [url for url in presses if "retry" in url]


def test_a_device_that_fails_at_it_is_told_so(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a browser that fails to derive keys / When its fan is challenged / Then they are told, nothing decided."""
    fan.page.add_init_script("SubtleCrypto.prototype.deriveBits = () => Promise.reject(new DOMException('no'))")
    challenged_press(fan, ops, sale_name)
    fan.see("unsolvable")
    assert not ops.rows("select 1 from orders where sale = $1", sale_name)


def test_signing_out_while_it_is_solved(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a challenge under way / When its fan signs out and somebody else signs in / Then what was solved is not
    theirs: nobody has bought, and the other one's press solves its own."""
    held: list[Route] = []
    through = Event()
    fan.page.route("**/challenge", lambda one: one.continue_() if through.is_set() else held.append(one))
    challenged_press(fan, ops, sale_name)
    fan.see("challenged")
    fan.press("sign-out")
    fan.see("login")
    fan.sign_in("somebody.else")
    fan.see("buy")
    seen = asked(fan)
    through.set()
    for one in held:
        one.continue_()
    fan.press("buy")
    fan.see("won")
    assert [row["fan"] for row in ops.rows("select fan from orders where sale = $1", sale_name)] == ["somebody.else"]
    assert seen[-1] == "POST purchase"
