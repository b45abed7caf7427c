"""A sale sold through the edge: the real api on real stores behind a real nginx."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import Shops
from tests.integration.shop import BASE, Shop, assert_problem, until_status
from tests.support.edge import cached, edge
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


@asynccontextmanager
async def through_edge(shop: Shop, folder: Path) -> AsyncIterator[Shop]:
    """The same shop, its fans coming in by the edge."""
    port = shop.client.base_url.port
    assert port
    with edge(folder / "edge", api_port=port) as address:
        async with httpx.AsyncClient(base_url=address, timeout=10) as fans:
            yield replace(shop, client=fans)


async def test_the_last_unit_through_the_edge(shops: Shops, tmp_path: Path) -> None:
    """Given one unit / When two fans press / Then one has it, the edge tells the other, and each hears their own."""
    async with through_edge(await shops(silver=1), tmp_path) as shop:
        alice, bob = await shop.reserve("alice"), await shop.reserve("bob")
        won = await shop.press(alice, key="noon", retry=False)
        assert (won.status_code, won.headers["cache-control"]) == (201, "no-store")

        async def told_by_edge() -> bool:
            answer = await shop.press(bob, retry=False)
            return assert_problem(answer, 409, "sold-out")["outcome"] == "SOLD_OUT" and cached(answer)

        await soon(told_by_edge, what="the edge says sold out by itself")
        again = await shop.press(alice, key="noon")
        assert (again.status_code, again.json()) == (201, won.json()), "a retry gets past the cached refusal"
        refused = await shop.press(alice, "black", key="more", retry=False)
        assert assert_problem(refused, 409, "already-bought")["order"] == won.json()["order"]
        other = await shop.press(bob, "black", key="noon", retry=False)
        assert (other.status_code, other.json()["item"]) == (201, "black"), "alice's refusal did not reach bob"


async def test_a_unit_that_comes_back_is_sold_through_the_edge(shops: Shops, tmp_path: Path) -> None:
    """Given sold out at the edge / When the winner cancels / Then the next press through the edge has it."""
    async with through_edge(await shops(silver=1), tmp_path) as shop:
        await shop.work()
        order = (await shop.buy("alice"))["order"]
        bob = await shop.reserve("bob")
        await until_status(lambda: shop.press(bob, retry=False), 409)
        await shop.has_state("alice", order, "confirmed")
        assert (await shop.post("alice", f"orders/{order}/cancellation")).status_code == 200
        won = await until_status(lambda: shop.press(bob, key="noon", retry=False), 201)
        assert won.json()["unit"] == 1


async def test_the_page_and_an_orders_events_through_the_edge(shops: Shops, tmp_path: Path) -> None:
    """Given a fan at the edge / Then the page comes, and the order's first event while the stream is still open."""
    async with through_edge(await shops(), tmp_path) as shop:
        assert (await shop.client.get(f"/s/{shop.sale}")).status_code == 200
        assert (await shop.client.get("/metrics")).status_code == 404
        order = (await shop.buy("alice"))["order"]
        path = f"{BASE}/orders/{order}/events"
        async with shop.client.stream("GET", path, headers=shop.bearer("alice")) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            async for line in stream.aiter_lines():
                if line.startswith("data:"):
                    break
            assert order in line
