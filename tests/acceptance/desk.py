"""What ops and other fans do while a fan looks at the page. Plain calls, because Playwright's own loop is running."""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

from flashsale import ledger, plan, stores
from flashsale.embedded import Addresses
from flashsale.keys import Bucket
from flashsale.operations import Operations
from flashsale.sale import Challenged, Verb
from tests.integration.rows import clear
from tests.support import leaks
from tests.support.waiting import until

ITEMS: Final = (("silver", "银色 16 GB", "Silver, 16 GB", 199900), ("black", "黑色 64 GB", "Black, 64 GB", 249950))

# Between the plan and its buckets a sale is told as unavailable for a moment.
_READY: Final = ("loaded", "open")


def plan_text(sale: str, *, opens: str, top: str, reservation: str, stock: tuple[int, int]) -> str:
    """A plan of two items whose titles and prices differ, so that a mix-up is seen."""
    items = "".join(
        f'[[items]]\nitem = "{item}"\ntitle = {{ zh = "{zh}", en = "{en}" }}\nprice_minor = {price}\nstock = {units}\n'
        for (item, zh, en, price), units in zip(ITEMS, stock, strict=True)
    )
    return (
        f'sale = "{sale}"\ntitle = {{ zh = "小米手机 3 首发", en = "Mi 3 first release" }}\nopens = "{opens}"\n'
        f'closes = "+1h"\ncurrency = "CNY"\nchannels = ["web", "wechat"]\n{top}\n{reservation}\n{items}'
    )


_OPEN: Final = "select 1 from sales where sale = $1 and state = 'open'"


@asynccontextmanager
async def _no_new_orders(operations: Operations) -> AsyncIterator[None]:
    async with operations.postgres.acquire() as connection, connection.transaction():
        await connection.execute("lock table orders in share mode")
        yield


@dataclass(frozen=True, slots=True)
class Desk:
    """Ops verbs, and a look into Postgres. base_url: the site, which takes a moment to see a new sale."""

    portal: BlockingPortal
    operations: Operations
    base_url: str

    def sale(self, name: str, *, opens: str = "-1s", stock: tuple[int, int] = (20, 20), top: str = "") -> str:
        """A loaded sale that all may buy from. top: more keys of the plan."""
        return self._load(plan_text(name, opens=opens, top=f'entry = "open"\n{top}', reservation="", stock=stock))

    def reserved_sale(
        self, name: str, *, opens: str, closes: str = "-1s", stock: tuple[int, int] = (20, 20), top: str = ""
    ) -> str:
        """A loaded sale for those who reserve, until so long before or after it opens."""
        reservation = f'[reservation]\nopens = "-30d"\ncloses = "{closes}"'
        return self._load(plan_text(name, opens=opens, top=top, reservation=reservation, stock=stock))

    def _load(self, text: str) -> str:
        sale = self.portal.call(self.operations.create, plan.read(text))
        self.portal.call(self.operations.load, sale.sale)
        address = f"{self.base_url}/api/v1/sales/{sale.sale}"
        until(lambda: httpx.get(address).json().get("state") in _READY, what="the site shows the sale")
        return sale.sale

    def move(self, sale: str, verb: Verb) -> None:
        """Open, pause, resume or close."""
        self.portal.call(self.operations.move, sale, verb)

    def challenge(self, sale: str, whose: Challenged) -> None:
        """Say whose presses have to solve a challenge first, and wait until the site knows."""
        self.portal.call(self.operations.challenge, sale, whose)
        address = f"{self.base_url}/api/v1/sales/{sale}"
        until(lambda: httpx.get(address).json()["challenged"] == whose, what="the site challenges them")

    def fill_outbox(self, sale: str) -> None:
        """Let the bucket take no order for now, as when Postgres has been away for long."""
        # The worker is about to tell the bucket of the opening, which would let it take orders again.
        until(lambda: bool(self.rows(_OPEN, sale)), what="the opening is written down")
        self.portal.call(self._level, sale)
        self.portal.call(self.operations.redis.hset, Bucket(sale, 0).sale_key, "outbox_max", "0")

    def count_ended_orders(self, sale: str, *, live: bool) -> None:
        """Let the bucket count a fan's order that has ended as live, as it does until the unit came back; or not."""
        buyers = Bucket(sale, 0).buyers_key
        lines = cast("dict[bytes, bytes]", self.portal.call(self.operations.redis.hgetall, buyers))
        for fan, line in lines.items():
            order, key, _, rest = line.split(b" ", 3)
            self.portal.call(self.operations.redis.hset, buyers, fan, b" ".join((order, key, b"%d" % live, rest)))

    def empty_outbox(self, sale: str) -> None:
        """Let it take orders again."""
        self.portal.call(self.operations.redis.hset, Bucket(sale, 0).sale_key, "outbox_max", "1000")

    async def _level(self, sale: str) -> None:
        async with self.operations.postgres.acquire() as connection:
            found = await ledger.find(connection, sale)
        await self.operations.settle(found)

    @contextmanager
    def landing_held(self) -> Iterator[None]:
        """No order becomes a row meanwhile, as when the worker is slow."""
        with self.portal.wrap_async_context_manager(_no_new_orders(self.operations)):
            yield

    def rows(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        """What Postgres answers."""
        return [dict(row) for row in self.portal.call(self.operations.postgres.fetch, sql, *arguments)]

    def clear(self, sale: str) -> None:
        """Delete all that is kept of a sale. Every key of it must be one that keys.py declares."""
        self.portal.call(clear, self.operations.postgres, sale)
        leaked = self.portal.call(leaks.leaked, self.operations.redis, sale)
        assert not leaked, f"keys that flashsale/keys.py does not declare: {leaked}"


@contextmanager
def desk(addresses: Addresses, base_url: str) -> Iterator[Desk]:
    """A desk on these servers."""
    both = stores.opened(redis_url=addresses.redis_url, postgres_dsn=addresses.postgres_dsn, connections=2)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(both) as opened:
        operations = Operations(redis=opened.redis, postgres=opened.postgres, actor="ops")
        yield Desk(portal, operations, base_url)


@dataclass(frozen=True, slots=True)
class Rival:
    """Another fan, who uses no page."""

    client: httpx.Client
    headers: dict[str, str]

    def buy(self, sale: str, item: str = "silver") -> str:
        """Win a unit; the order."""
        answer = self.client.post(
            f"sales/{sale}/items/{item}/purchase", headers={**self.headers, "idempotency-key": uuid.uuid4().hex}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["order"])

    def cancel(self, order: str) -> bool:
        """Give the unit back; False while the order has not landed."""
        return self.client.post(f"orders/{order}/cancellation", headers=self.headers).is_success

    def orders(self) -> list[dict[str, Any]]:
        """All that this fan holds or held."""
        return list(self.client.get("orders", headers=self.headers).raise_for_status().json()["orders"])


@contextmanager
def rival(base_url: str, name: str) -> Iterator[Rival]:
    """Sign somebody in."""
    with httpx.Client(base_url=f"{base_url}/api/v1", timeout=10) as client:
        token = client.post("sandbox/login", json={"fan": name}).raise_for_status().json()["token"]
        yield Rival(client, {"authorization": f"Bearer {token}"})
