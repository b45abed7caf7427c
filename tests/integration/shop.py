"""A shop for one test: a sale on the real stores, an api on a real socket in front of it, a worker behind it.

The api and the worker run as tasks beside the test, assembled by the same code as the processes; the test talks to
them over HTTP only, and looks into the stores where it has to see that nothing changed.
"""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import httpx

from flashsale import audit, clock, ledger, plan, refund
from flashsale.audit import Audit
from flashsale.config import Settings
from flashsale.identity import Identities
from flashsale.keys import Bucket
from flashsale.metrics import worker_metrics
from flashsale.operations import Operations
from flashsale.purchase import Purchases
from flashsale.settled import Plain
from flashsale.stores import Stores
from flashsale.worker import keep, money, replace
from flashsale.worker.land import Lander
from tests.integration.processes import Working, working
from tests.integration.rows import Snapshot, snapshot
from tests.support.leaks import keys_of
from tests.support.waiting import DEADLINE_S, soon

BASE: Final = "/api/v1"
JSON: Final = {"content-type": "application/json"}
Data = dict[str, Any]


def plan_text(
    sale: str,
    *,
    top: str = "",
    opens: str = "-1s",
    closes: str = "+1h",
    silver: int = 5,
    fcodes: int | None = None,
) -> str:
    """A plan of two items that is open as soon as it is loaded, unless other times are given. top: more keys; fcodes:
    units of silver for F-codes, in a sale that takes them."""
    aside = {"silver": "", "black": ""} if fcodes is None else {"silver": fcodes, "black": 0}
    reservation = "" if 'entry = "open"' in top else '[reservation]\nopens = "-1h"\ncloses = "+0s"\ncapacity = 1000'
    reservation = reservation.replace('"+0s"', f'"{closes}"')
    items = "".join(
        f'[[items]]\nitem = "{item}"\ntitle = {{ zh = "项", en = "{item}" }}\nprice_minor = 199900\nstock = {units}\n'
        + (f"fcode_stock = {aside[item]}\n" if fcodes is not None else "")
        for item, units in (("silver", silver), ("black", 3))
    )
    return (
        f'sale = "{sale}"\ntitle = {{ zh = "场", en = "Sale" }}\nopens = "{opens}"\ncloses = "{closes}"\n'
        f'currency = "CNY"\nchannels = ["web", "wechat"]\n{top}\n{reservation}\n{items}'
    )


@dataclass(frozen=True, slots=True)
class Shop:
    """One loaded sale with its api. What fans do is here; what ops do is in operations."""

    sale: str
    client: httpx.AsyncClient
    operations: Operations
    settings: Settings
    stack: AsyncExitStack

    @property
    def bucket(self) -> Bucket:
        """Where it is sold."""
        return Bucket(self.sale, 0)

    def bearer(self, fan: str) -> dict[str, str]:
        """The headers of a fan who signed in."""
        token = Identities(self.settings, self.settings.jwt_key).sign(fan, now_s=clock.now_ms() // 1000)
        return {"authorization": f"Bearer {token}"}

    async def reserve(self, fan: str, channel: str | None = None) -> str:
        """The fan's right."""
        answer = await self.client.post(
            f"{BASE}/sales/{self.sale}/reservation",
            headers=self.bearer(fan),
            json={"channel": channel} if channel else None,
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["right"])

    async def press(self, right: str, item: str = "silver", *, key: str = "", retry: bool = True) -> httpx.Response:
        """One press of buy. right: a right, or whole headers' worth of "Bearer …". retry: past the early refusal."""
        headers = {"authorization": right if right.startswith("Bearer ") else f"Right {right}"}
        if key:
            headers["idempotency-key"] = key
        address = f"{BASE}/sales/{self.sale}/items/{item}/purchase"
        return await self.client.post(address, headers=headers, params={"retry": "1"} if retry else None)

    async def buy(self, fan: str, item: str = "silver") -> Data:
        """A win of this fan's."""
        answer = await self.press(await self.reserve(fan), item)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def crowd(self, fans: int, item: str = "silver") -> list[Data]:
        """The wins of so many fans who press at once; each presses with a key of their own."""
        return list(await asyncio.gather(*(self.buy(f"fan{number}", item) for number in range(fans))))

    async def order(self, fan: str, order: str) -> Data:
        """The fan's order as it is told now."""
        answer = await self.client.get(f"{BASE}/orders/{order}", headers=self.bearer(fan))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def has_state(self, fan: str, order: str, state: str) -> Data:
        """The fan's order, once it is in that state."""

        async def is_so() -> bool:
            return bool((await self.order(fan, order))["state"] == state)

        await soon(is_so, what=f"the order is {state}")
        return await self.order(fan, order)

    async def post(self, fan: str, path: str) -> httpx.Response:
        """A fan's POST without a body."""
        return await self.client.post(f"{BASE}/{path}", headers=self.bearer(fan))

    async def pay(self, fan: str, order: str) -> Data:
        """A payment asked for, not yet settled."""
        answer = await self.post(fan, f"orders/{order}/payment")
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def shown(self) -> Data:
        """The sale as the public sees it."""
        answer = await self.client.get(f"{BASE}/sales/{self.sale}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def shows(self, true: Callable[[Data], bool], *, what: str) -> None:
        """Wait until the public sees it so."""

        async def is_so() -> bool:
            return true(await self.shown())

        await soon(is_so, what=what)

    async def work(self) -> Working:
        """Start a worker; it works until the test ends or it is stopped."""
        return await self.stack.enter_async_context(working(self.reached))

    @property
    def reached(self) -> Settings:
        """The settings of a process that has to know where this api is, as the worker for the sandbox's webhooks."""
        return self.settings.model_copy(update={"public_url": str(self.client.base_url)})

    async def settle_late(self) -> int:
        """Take late payments as far as they go now. How many came to their end."""
        async with self.operations.postgres.acquire() as connection:
            sale = await ledger.find(connection, self.sale)
        purchases = Purchases(self.operations.redis)
        return await money.settle_all_late(self._stores, purchases, [sale], worker_metrics())

    async def money_back(self, order: str, *, note: str = "") -> None:
        """Ops decide that an order's money goes back."""
        async with self.operations.postgres.acquire() as connection:
            await refund.decide(connection, order=order, actor="ops", note=note)

    async def land(self, *, bucket: int = 0) -> int:
        """Do once what a worker does all the time: land what is in the outbox. How many orders were read."""
        lander = Lander(
            redis=self.operations.redis,
            postgres=self.operations.postgres,
            bucket=Bucket(self.sale, bucket),
            holder="test",
            metrics=worker_metrics(),
        )
        return await lander.land()

    async def settle_aside(self) -> None:
        """Take what is set aside as far as it goes now."""
        async with self.operations.postgres.acquire() as connection:
            sale = await ledger.find(connection, self.sale)
        await replace.settle_all(self._stores, [sale], worker_metrics())

    async def remembered(self) -> dict[str, bytes]:
        """All that the sale's buckets hold now, as the server dumps it."""
        kept = (await self.snapshot()).keys
        return {key: value for key, value in kept.items() if value is not None and not key.endswith(":lease")}

    async def roll_back(self, remembered: dict[str, bytes]) -> None:
        """The buckets have forgotten all that came since, as a replica that lagged does when it takes over."""
        for key in await keys_of(self.operations.redis, self.sale):
            await self.operations.redis.delete(key)
        for key, value in remembered.items():
            await self.operations.redis.restore(key, 0, value)

    async def expire(self) -> int:
        """End what is past its time to pay."""
        return await keep.expire(self._stores, worker_metrics())

    async def give_back(self) -> int:
        """Put the units of ended orders back on sale."""
        async with self.operations.postgres.acquire() as connection:
            sale = await ledger.find(connection, self.sale)
        return await keep.give_back(self.operations.postgres, Plain(self.operations.redis), sale, worker_metrics())

    @property
    def _stores(self) -> Stores:
        return Stores(redis=self.operations.redis, postgres=self.operations.postgres)

    async def audited(self) -> Audit:
        """Where every unit is."""
        return await audit.audit(self.operations.redis, self.operations.postgres, self.sale)

    async def snapshot(self) -> Snapshot:
        """All that is kept of this sale."""
        return await snapshot(self.operations.redis, self.operations.postgres, self.sale)

    async def rows(self, sql: str) -> list[Data]:
        """What Postgres answers to a query about this sale, which is its $1."""
        return [dict(row) for row in await self.operations.postgres.fetch(sql, self.sale)]

    async def landed(self, orders: int, *, deadline_s: float = DEADLINE_S) -> None:
        """Wait until so many orders are in Postgres and the outbox is empty."""

        async def is_so() -> bool:
            found = await self.rows("select order_id from orders where sale = $1")
            waiting = await self.operations.redis.xlen(self.bucket.outbox_key)
            return len(found) >= orders and not waiting

        await soon(is_so, what=f"{orders} orders have landed", deadline_s=deadline_s)


async def created(operations: Operations, text: str) -> str:
    """Write a sale down and load it; its name."""
    sale = await operations.create(plan.read(text))
    await operations.load(sale.sale)
    return sale.sale


async def until_status(press: Callable[[], Awaitable[httpx.Response]], status: int) -> httpx.Response:
    """Ask again until it is answered so."""
    answers: list[httpx.Response] = []

    async def is_so() -> bool:
        answers.append(await press())
        return answers[-1].status_code == status

    await soon(is_so, what=f"the answer is {status}")
    return answers[-1]


def is_uuid(text: str) -> bool:
    """Whether the text is an id in its usual form."""
    return str(uuid.UUID(text)) == text


def assert_problem(answer: httpx.Response, status: int, slug: str) -> Data:
    """The refusal's content; RFC 9457 with that status and type."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    data: Data = json.loads(answer.text)
    assert (data["type"], data["status"]) == (f"/problems/{slug}", status)
    assert data["title"]
    if "retry_after_s" in data:
        assert answer.headers["retry-after"] == str(data["retry_after_s"])
    return data
