"""How a sale's states are told over HTTP, by whom an answer may be kept, and what the watcher of an order hears."""

import json

import pytest

from flashsale.sale import Verb
from tests.integration.conftest import Shops
from tests.integration.shop import BASE, assert_problem, until_status

pytestmark = pytest.mark.servers

SHARED = "public, max-age=1"


async def test_pause_resume_close(shops: Shops) -> None:
    """Given an open sale / When ops pause, resume and close it / Then fans are told so, with when to ask again."""
    shop = await shops()
    right = await shop.reserve("alice")
    await shop.operations.move(shop.sale, Verb.PAUSE)
    paused = assert_problem(await shop.press(right), 503, "paused")
    assert (paused["outcome"], paused["retry_after_s"]) == ("PAUSED", 3)
    await shop.shows(lambda sale: sale["state"] == "paused", what="it shows as paused")
    await shop.operations.move(shop.sale, Verb.RESUME)
    assert (await shop.press(right)).status_code == 201
    await shop.shows(lambda sale: sale["state"] == "open", what="it shows as open")
    await shop.operations.move(shop.sale, Verb.CLOSE)
    bob = shop.bearer("bob")
    reservation = await shop.client.post(f"{BASE}/sales/{shop.sale}/reservation", headers=bob)
    assert_problem(reservation, 410, "reservation-closed")
    await shop.shows(lambda sale: sale["state"] == "closed", what="it shows as closed")


async def test_opened_before_its_time(shops: Shops) -> None:
    """Given a sale that opens in an hour / When ops open it now / Then it sells at once."""
    shop = await shops(opens="+1h", closes="+2h")
    right = await shop.reserve("alice")
    assert_problem(await shop.press(right), 409, "not-open")
    await shop.operations.move(shop.sale, Verb.OPEN)
    assert (await shop.press(right)).status_code == 201


async def test_added_units_are_sold(shops: Shops) -> None:
    """Given a sold-out item / When ops add units / Then the next numbers are sold."""
    shop = await shops(silver=1)
    await shop.buy("alice")
    right = await shop.reserve("bob")
    assert_problem(await shop.press(right), 409, "sold-out")
    await shop.operations.add_stock(shop.sale, "silver", 2)
    assert (await shop.press(right)).json()["unit"] == 2


async def test_a_sale_open_to_all(shops: Shops) -> None:
    """Given a sale with entry "open" / Then who signed in may buy; in one with reservation they may not."""
    shop = await shops(top='entry = "open"')
    bearer = shop.bearer("alice")["authorization"]
    won = await shop.press(bearer, key="k")
    assert won.status_code == 201
    assert (await shop.press(bearer, key="k")).json() == won.json()
    assert (await shop.shown())["entry"] == "open"


async def test_an_identity_is_no_reservation(shops: Shops) -> None:
    """Given a sale by reservation / When a fan who only signed in presses / Then they have no right."""
    shop = await shops()
    assert_problem(await shop.press(shop.bearer("alice")["authorization"]), 403, "no-right")


async def test_early_refusals_may_be_kept_a_second(shops: Shops) -> None:
    """Given a sold-out item, a pause, a close / Then the process's own refusals are public, and a retry goes past."""
    shop = await shops(silver=1)
    right = await shop.reserve("alice")
    won = await shop.press(right, key="noon")
    assert won.headers["cache-control"] == "no-store"

    async def early(slug: str, status: int) -> None:
        nobody = await until_status(lambda: shop.press("none", retry=False), status)
        assert_problem(nobody, status, slug)
        assert nobody.headers["cache-control"] == SHARED
        again = await shop.press(right, key="noon")
        assert (again.json(), again.headers["cache-control"]) == (won.json(), "no-store")

    await early("sold-out", 409)
    await shop.operations.move(shop.sale, Verb.PAUSE)
    await early("paused", 503)
    await shop.operations.move(shop.sale, Verb.CLOSE)
    await early("closed", 410)


async def test_long_before_the_opening(shops: Shops) -> None:
    """Given a sale that opens in an hour / Then a press is refused at once, publicly, with when it opens."""
    shop = await shops(opens="+1h", closes="+2h")
    answer = await shop.press("none", retry=False)
    refused = assert_problem(answer, 409, "not-open")
    assert (answer.headers["cache-control"], answer.headers["retry-after"]) == (SHARED, "30")
    assert refused["opens_ms"] == (await shop.shown())["opens_ms"]
    assert (await shop.shown())["ask_again_s"] == 30


async def test_personal_answers_are_kept_by_nobody(shops: Shops) -> None:
    """Given a fan / Then their right, their refusals and their orders are no-store."""
    shop = await shops(silver=1)
    bearer = shop.bearer("alice")
    answers = [
        await shop.client.post(f"{BASE}/sales/{shop.sale}/reservation", headers=bearer),
        await shop.client.post(f"{BASE}/sales/{shop.sale}/reservation"),
        await shop.press("v1.r.bad"),
        won := await shop.press(await shop.reserve("alice")),
        await shop.press(await shop.reserve("alice")),
        await shop.press(await shop.reserve("bob")),
        await shop.client.get(f"{BASE}/orders", headers=bearer),
        await shop.client.get(f"{BASE}/orders/{won.json()['order']}", headers=bearer),
        await shop.client.get(f"{BASE}/orders/{won.json()['order']}"),
        await shop.client.get(f"{BASE}/time"),
        await shop.client.post(f"{BASE}/sandbox/login", json={"fan": "alice"}),
    ]
    assert [answer.headers["cache-control"] for answer in answers] == ["no-store"] * len(answers)


@pytest.mark.parametrize("path", ["sales", "sales/{sale}"])
async def test_the_status_is_sent_when_it_changed(shops: Shops, path: str) -> None:
    """Given a page that has the status / When it asks again / Then 304 until something changed."""
    shop = await shops()
    address = f"{BASE}/{path.format(sale=shop.sale)}"
    first = await shop.client.get(address)
    assert first.headers["cache-control"] == SHARED
    etag = {"if-none-match": first.headers["etag"]}
    same = await shop.client.get(address, headers=etag)
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", first.headers["etag"])
    assert same.headers["cache-control"] == SHARED
    await shop.operations.move(shop.sale, Verb.PAUSE)
    changed = await until_status(lambda: shop.client.get(address, headers=etag), 200)
    assert changed.headers["etag"] != first.headers["etag"]


async def test_the_status_says_no_numbers_of_stock(shops: Shops) -> None:
    """Given a sale / Then fans read available, low or sold_out, and how the contract names the rest."""
    shop = await shops(silver=10)
    shown = await shop.shown()
    assert shown.keys() == {
        "sale", "title", "state", "entry", "opens_ms", "closes_ms", "reservation", "per_fan_limit", "pay_window_s",
        "currency", "channels", "items", "challenged", "ask_again_s",
    }  # fmt: skip
    assert [item["stock"] for item in shown["items"]] == ["available", "available"]
    assert shown["items"][0].keys() == {"item", "title", "price_minor", "stock"}
    for number in range(9):
        await shop.buy(f"fan{number}")
    await shop.shows(lambda sale: sale["items"][0]["stock"] == "low", what="one of ten shows as low")


async def test_a_watcher_hears_of_every_state(shops: Shops) -> None:
    """Given a page that watches an order / When it is confirmed and paid / Then an event tells of each, in order."""
    shop = await shops()
    won = await shop.buy("alice")
    states: list[str] = []
    address = f"{BASE}/orders/{won['order']}/events"
    async with shop.client.stream("GET", address, headers=shop.bearer("alice")) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                told = json.loads(line.removeprefix("data: "))
                assert told["order"] == won["order"]
                states.append(told["state"])
                if told["state"] == "accepted":
                    await shop.work()
                elif told["state"] == "confirmed":
                    await shop.client.post((await shop.pay("alice", won["order"]))["pay_url"])
                else:
                    break
    assert states == ["accepted", "confirmed", "paid"]
