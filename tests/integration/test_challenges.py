"""A challenge in a sale: asked of whom ops say, solved by a device, and no way around it."""

import asyncio
from typing import Any

import altcha
import httpx
import pytest

from flashsale import limits
from flashsale.errors import StateError
from flashsale.sale import Challenged, Verb
from tests.integration.conftest import Shops
from tests.integration.shop import BASE, JSON, Shop, assert_problem

pytestmark = pytest.mark.servers


async def challenged(shop: Shop, whose: Challenged) -> None:
    """Ops say whose presses have to solve one, and the api knows."""
    await shop.operations.challenge(shop.sale, whose)
    await shop.shows(lambda sale: bool(sale["challenged"] == whose), what=f"the api challenges {whose}")


async def asked(shop: Shop, authorization: str) -> httpx.Response:
    """A challenge for a fan."""
    return await shop.client.get(f"{BASE}/sales/{shop.sale}/challenge", headers={"authorization": authorization})


async def sent(shop: Shop, authorization: str, body: Any) -> httpx.Response:
    """A fan sends what is to be a solution."""
    headers = {"authorization": authorization}
    return await shop.client.post(f"{BASE}/sales/{shop.sale}/challenge", headers=headers, json=body)


async def solved(shop: Shop, authorization: str) -> str:
    """The right with the mark, after work that was really done."""
    given = await asked(shop, authorization)
    assert given.status_code == 200, given.text
    challenge = altcha.Challenge.from_dict(given.json())
    solution = await asyncio.to_thread(altcha.solve_challenge, challenge)
    assert solution is not None
    taken = await sent(shop, authorization, {"payload": altcha.Payload(challenge, solution).to_base64()})
    assert taken.status_code == 200, taken.text
    assert taken.headers["cache-control"] == "no-store"
    return str(taken.json()["right"])


async def test_everybody_is_challenged(shops: Shops) -> None:
    """Given a sale in which all are challenged / Then a press is refused and takes nothing until its fan has solved
    one; then they win; and when ops stop it, everybody presses as before."""
    shop = await shops(challenge_tries=20)
    alice, bob, carol = [await shop.reserve(fan) for fan in ("alice", "bob", "carol")]
    await challenged(shop, Challenged.ALL)
    before = await shop.snapshot()
    refused = assert_problem(await shop.press(alice, key="noon"), 428, "challenge")
    assert refused["outcome"] == "CHALLENGE"
    assert await shop.snapshot() == before
    right = await solved(shop, f"Right {alice}")
    won = await shop.press(right, key="noon")
    assert won.status_code == 201, won.text
    again = await shop.press(right, key="noon")
    assert again.json() == won.json()
    assert_problem(await shop.press(bob), 428, "challenge")
    await challenged(shop, Challenged.OFF)
    assert (await shop.press(carol)).status_code == 201


async def test_who_presses_within_the_rate_is_not_suspicious(shops: Shops) -> None:
    """Given a sale that challenges who is suspicious / Then a fan within the rate presses as always; one who is over it
    is challenged, and after solving one is decided."""
    shop = await shops(challenge_tries=20, silver=1)
    await challenged(shop, Challenged.SUSPICIOUS)
    await shop.buy("alice")
    bob = await shop.reserve("bob")
    told: list[int] = []
    while 428 not in told and len(told) < 300:
        told.append((await shop.press(bob)).status_code)
    assert set(told[:-1]) == {409}, "sold out, by the script"
    assert (told[-1], len(told) > limits.FAN_BURST) == (428, True)
    right = await solved(shop, f"Right {bob}")
    assert_problem(await shop.press(right), 409, "sold-out")


async def test_an_address_over_its_rate_is_challenged_instead_of_refused(shops: Shops) -> None:
    """Given fans behind one address that asks for too much / When the sale challenges who is suspicious / Then they are
    challenged instead of turned away, and who solves one buys."""
    shop = await shops(challenge_tries=20, address_requests_per_s=1)
    alice, *others = [await shop.reserve(fan) for fan in ("alice", "bob", "carol", "dave")]
    told = [(await shop.press(alice)).status_code for _ in range(10)]
    assert 429 in told
    await challenged(shop, Challenged.SUSPICIOUS)
    # One of them may come just when the address may ask once more; that one is let through.
    answers = {right: await shop.press(right) for right in [alice] * 3 + others}
    refused = [right for right in others if answers[right].status_code == 428]
    assert len(refused) >= 2
    assert_problem(answers[refused[0]], 428, "challenge")
    assert (await shop.press(await solved(shop, f"Right {refused[0]}"))).status_code == 201
    other = f"{BASE}/sales/{shop.sale}/reservation"
    told = [(await shop.client.post(other, headers=shop.bearer("erin"))).status_code for _ in range(10)]
    assert 429 in told, "where no challenge counts, it is refused as ever"


async def test_a_sale_that_is_open_to_all(shops: Shops) -> None:
    """Given fans who buy by their identity / When all are challenged / Then it is solved and pressed all the same."""
    shop = await shops(challenge_tries=20, top='entry = "open"')
    await challenged(shop, Challenged.ALL)
    bearer = shop.bearer("alice")["authorization"]
    assert_problem(await shop.press(bearer), 428, "challenge")
    assert (await shop.press(await solved(shop, bearer))).status_code == 201


async def test_no_way_around_it(shops: Shops) -> None:
    """Given a sale that challenges all / When a solution is another's, is none, or comes without a right / Then it
    brings nothing, each is told why, and nobody's press is let through."""
    shop = await shops(challenge_tries=20)
    alice, bob = f"Right {await shop.reserve('alice')}", f"Right {await shop.reserve('bob')}"
    await challenged(shop, Challenged.ALL)
    challenge = altcha.Challenge.from_dict((await asked(shop, alice)).json())
    solution = altcha.solve_challenge(challenge)
    assert solution is not None
    payload = altcha.Payload(challenge, solution).to_base64()
    before = await shop.snapshot()
    foreign = assert_problem(await sent(shop, bob, {"payload": payload}), 428, "challenge")
    assert "somebody else" in foreign["detail"]
    solution.derived_key = solution.derived_key[:-1] + ("0" if solution.derived_key[-1] != "0" else "1")
    wrong = altcha.Payload(challenge, solution).to_base64()
    assert "looked for" in assert_problem(await sent(shop, alice, {"payload": wrong}), 428, "challenge")["detail"]
    for body in ({}, {"payload": 5}, {"payload": payload, "more": 1}, {"other": payload}):
        assert_problem(await sent(shop, alice, body), 400, "bad-input")
    assert_problem(await sent(shop, alice, {"payload": "x" * limits.BODY_BYTES_MAX}), 413, "body-too-large")
    for authorization in ("Right nothing", shop.bearer("alice")["authorization"], ""):
        assert_problem(await asked(shop, authorization), 403, "no-right")
        assert_problem(await sent(shop, authorization, {"payload": payload}), 403, "no-right")
    assert_problem(await shop.press(alice.removeprefix("Right ").replace("v1.r.", "v1.rs.")), 403, "no-right")
    assert await shop.snapshot() == before
    assert_problem(await shop.client.put(f"{BASE}/sales/{shop.sale}/challenge"), 405, "method-not-allowed")
    assert_problem(await shop.client.get(f"{BASE}/sales/nothing/challenge"), 404, "unknown-sale")
    plain = await shop.client.post(
        f"{BASE}/sales/{shop.sale}/challenge", headers={"authorization": alice, **JSON}, content=b"not json"
    )
    assert_problem(plain, 400, "bad-input")


async def test_who_asks_for_challenges_all_the_time_is_told_to_go_slower(shops: Shops) -> None:
    """Given a fan who does nothing but ask for challenges / Then it counts as pressing does."""
    shop = await shops(challenge_tries=20)
    alice = f"Right {await shop.reserve('alice')}"
    told: list[int] = []
    while 429 not in told and len(told) < 300:
        told.append((await asked(shop, alice)).status_code)
    assert (told[0], told[-1]) == (200, 429)
    assert len(told) > limits.FAN_BURST


async def test_ops_say_whose(shops: Shops) -> None:
    """Given ops who change whose presses are challenged / Then it is in the log, the sale sells on, and a sale that is
    over has no use for it."""
    shop = await shops()
    for whose in (Challenged.ALL, Challenged.SUSPICIOUS, Challenged.OFF):
        assert (await shop.operations.challenge(shop.sale, whose)).challenged is whose
    await shop.buy("alice")
    async with shop.operations.postgres.acquire() as connection:
        rows = await connection.fetch(
            "select detail from ops_log where sale = $1 and verb = 'challenge' order by id", shop.sale
        )
    assert [row["detail"]["challenged"] for row in rows] == ["all", "suspicious", "off"]
    await shop.operations.move(shop.sale, Verb.CLOSE)
    with pytest.raises(StateError):
        await shop.operations.challenge(shop.sale, Challenged.ALL)
