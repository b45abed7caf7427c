"""Bad input over HTTP: each gets the right status and a problem of the right type, and changes nothing at all.

One shop serves the whole file, since nothing may change in it: alice has an order on its way and one that landed.
"""

import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import jwt
import pytest
import pytest_asyncio

from flashsale import limits, stores
from flashsale.config import parse_right_keys
from flashsale.embedded import Addresses
from flashsale.operations import Operations
from flashsale.rights import LANE_PUBLIC, Kind, Right
from tests.integration.bad_requests import CASES, TOKENS, Case, sent
from tests.integration.processes import serving, settings_for
from tests.integration.rows import clear
from tests.integration.shop import BASE, Shop, assert_problem, created, plan_text
from tests.support import leaks

pytestmark = [pytest.mark.servers, pytest.mark.asyncio(loop_scope="module")]

SALE = f"bad{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Ground:
    """The shop and what the requests name in it."""

    shop: Shop
    names: Mapping[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(migrated: Addresses, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """The one shop. Its keys and rows are deleted at the end."""
    settings = settings_for(migrated, tmp_path_factory.mktemp("bad") / "state")
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(
            stores.opened(redis_url=settings.redis_url, postgres_dsn=settings.postgres_dsn)
        )
        operations = Operations(redis=opened.redis, postgres=opened.postgres, actor="ops")
        await created(operations, plan_text(SALE, top="per_fan_limit = 2"))
        client = await stack.enter_async_context(serving(settings))
        shop = Shop(sale=SALE, client=client, operations=operations, settings=settings, stack=stack)
        landed = await shop.buy("alice")
        assert await shop.land() == 1
        way = await shop.buy("alice")
        names = {"sale": SALE, "landed": landed["order"], "accepted": way["order"], "right": await shop.reserve("bob")}
        known = {fan: shop.bearer(fan)["authorization"] for fan in ("alice", "bob")}
        yield Ground(shop, names | known | _tokens(shop) | _rights(shop))
        assert not await leaks.leaked(opened.redis, SALE)
        await clear(opened.postgres, SALE)


def _tokens(shop: Shop) -> dict[str, str]:
    """Identity tokens that are no good, by name."""
    now, key = int(time.time()), shop.settings.jwt_key
    good = {"sub": "bob", "iat": now, "exp": now + 600}

    def signed(key: str = key, algorithm: str = "HS256", **changed: object) -> str:
        claims = {name: value for name, value in (good | changed).items() if value is not None}
        return f"Bearer {jwt.encode(claims, key, algorithm=algorithm)}"

    found = {
        "none": f"Bearer {jwt.encode(good, '', algorithm='none')}",
        "other_algorithm": signed(key=key * 2, algorithm="HS512"),
        "wrong_key": signed(key="another key, just as long as the shop's"),
        "expired": signed(exp=now - 3600),
        "not_yet": signed(nbf=now + 3600),
        "without_expiry": signed(exp=None),
        "without_sub": signed(sub=None),
        "sub_with_space": signed(sub="bob smith"),
        "sub_empty": signed(sub=""),
        "sub_too_long": signed(sub="b" * (limits.FAN_LENGTH_MAX + 1)),
        "sub_with_line": signed(sub="bob\n"),
        "sub_number": signed(sub=7),
        "garbage": "Bearer what.is.this",
        "empty": "Bearer",
        "basic": "Basic Ym9iOmJvYg==",
        "very_long": f"Bearer {'x' * 8000}",
    }
    assert found.keys() == TOKENS
    return found


def _rights(shop: Shop) -> dict[str, str]:
    """Rights that are no good, by name."""
    keys = parse_right_keys(shop.settings.right_keys)
    soon = int(time.time()) + 600

    def right(sale: str = SALE, expires_s: int = soon) -> str:
        return keys.sign(Right(Kind.RESERVATION, sale, "bob", LANE_PUBLIC, "web", expires_s))

    good = right()
    others = parse_right_keys(f"k1:{'66' * 32}").sign(Right(Kind.RESERVATION, SALE, "bob", LANE_PUBLIC, "web", soon))
    return {
        "right_expired": right(expires_s=int(time.time()) - 1),
        "right_foreign": right(sale="another-sale"),
        "right_forged": good[:-1] + ("0" if good[-1] != "0" else "1"),
        "right_of_other_fan": good.replace(".bob.", ".eve."),
        "right_longer": good.replace(str(soon), str(soon + 9)),
        "right_other_key": others,
        "right_unknown_key": good.replace(".k1.", ".k9."),
    }


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
async def test_is_refused_and_changes_nothing(ground: Ground, case: Case) -> None:
    """Given a shop / When this is sent / Then it is this problem, and every key and row is as before."""
    before = await ground.shop.snapshot()
    answer = await sent(ground.shop.client, case, ground.names)
    refused = assert_problem(answer, case.status, case.slug)
    if case.status == 401 and case.slug == "no-identity":
        assert answer.headers["www-authenticate"] == "Bearer"
    if case.status == 405:
        assert answer.headers["allow"]
    assert "Traceback" not in str(refused)
    assert await ground.shop.snapshot() == before


async def test_the_good_ones_are_good(ground: Ground) -> None:
    """Given the same shop / Then what the bad requests were made of is taken: the guard of this file."""
    bearer = {"authorization": ground.names["bob"]}
    answer = await ground.shop.client.post(f"{BASE}/sales/{SALE}/reservation", headers=bearer, json={"channel": "web"})
    assert (answer.status_code, answer.json()["right"]) == (200, ground.names["right"])
    assert (await ground.shop.press(ground.names["right"], key="k" * limits.IDEMPOTENCY_KEY_LENGTH_MAX)).is_success
    for order in (ground.names["landed"], ground.names["accepted"]):
        assert (await ground.shop.order("alice", order))["order"] == order


@pytest.mark.parametrize("path", ["sandbox/login", f"sandbox/payments/{uuid.UUID(int=1)}"])
async def test_no_sandbox_no_play_money(ground: Ground, path: str) -> None:
    """Given an api that is not in sandbox mode / When the sandbox is asked / Then there is nothing."""
    settings = ground.shop.settings.model_copy(update={"sandbox": False})
    before = await ground.shop.snapshot()
    async with serving(settings) as client:
        assert_problem(await client.post(f"{BASE}/{path}", json={"fan": "bob"}), 404, "not-found")
        described = (await client.get("/openapi.json")).json()
        assert described["openapi"]
    assert await ground.shop.snapshot() == before
