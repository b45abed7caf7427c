"""F8: the payment provider's webhooks twice, late, out of order, forged and for a wrong amount, while fans buy."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

import httpx
import orjson
from standardwebhooks import Webhook

from flashsale import clock
from flashsale.identity import secrets_of
from flashsale.payment import SUCCEEDED_EVENT
from flashsale.queries import query
from loadtest.faults.base import After, Fault
from loadtest.faults.fans import ask_to_pay, cancel, confirmed, post
from loadtest.faults.scene import Scene

_TOO_OLD = timedelta(minutes=10)

# The payment's state, that of the order it was asked for, and whether its money has paid another order.
Effect = tuple[str, str, bool]
PAID: Final[frozenset[Effect]] = frozenset({("succeeded", "paid", False)})
OVER: Final[frozenset[Effect]] = frozenset(
    (payment, order, moved)
    for order in ("cancelled", "expired")
    for payment, moved in (("late", False), ("refund_due", False), ("refunded", False), ("succeeded", True))
)
UNPAID: Final[frozenset[Effect]] = frozenset(
    ("pending", order, False) for order in ("confirmed", "cancelled", "expired")
)
# What a webhook of each kind may come to; an order that is over can be so by its fan alone.
EFFECTS: Final = {"refused": UNPAID, "paid": PAID | OVER, "late": OVER}


class Webhooks(Fault):
    """Each effect happens once, and what is forged, old or for another amount has none."""

    name = "F8"
    words = "webhooks twice, late, out of order, forged"
    orders: ClassVar[int] = 20
    orders_s: ClassVar[float] = 20.0  # so long they are waited for: few win while another fault is at work
    resumes = False

    async def inject(self, scene: Scene) -> None:
        """Ask for payments, and send their webhooks in every wrong way."""
        self._webhook = Webhook(secrets_of(scene.settings).webhook_secret)
        self.observed |= {"sent": 0, "answers_to_webhooks": {}}
        await scene.until(lambda: self._enough(scene), within_s=self.orders_s)
        rows = list(await scene.patiently(lambda: confirmed(scene, self.orders), what="looking at orders"))
        scene.random.shuffle(rows)
        answers = [(row, await ask_to_pay(scene, row)) for row in rows]
        asked = [(row, payment) for row, payment in answers if payment]
        third = len(asked) // 3
        refused, cancelled, good = asked[:third], asked[third : third + 3], asked[third + 3 :]
        async with httpx.AsyncClient(timeout=10) as client:
            for _, payment in refused:
                await self._refused(scene, client, payment)
            for row, _ in cancelled:
                await cancel(scene, row)
            sends = [self._send(scene, client, "paid", payment) for _, payment in good for _ in range(3)]
            late = [self._send(scene, client, "late", payment) for _, payment in cancelled for _ in range(2)]
            both = [*sends, *late]
            scene.random.shuffle(both)
            await asyncio.gather(*both)
        sent = {"refused": refused, "paid": good, "late": cancelled}
        self._effects = {kind: await self._come_to(scene, found) for kind, found in sent.items()}
        self.observed["effects"] = {kind: sorted(set(found)) for kind, found in self._effects.items()}

    async def _enough(self, scene: Scene) -> bool:
        return len(await confirmed(scene, self.orders)) == self.orders

    async def _come_to(self, scene: Scene, asked: Sequence[tuple[object, Mapping[str, Any]]]) -> list[Effect]:
        payments = [payment for _, payment in asked]
        return await scene.patiently(lambda: _effects(scene, payments), what="looking at payments")

    async def _refused(self, scene: Scene, client: httpx.AsyncClient, payment: Mapping[str, Any]) -> None:
        await self._send(scene, client, "forged", payment, forged=True)
        await self._send(scene, client, "too_old", payment, at=clock.now() - _TOO_OLD)
        await self._send(scene, client, "wrong_amount", payment, amount_off=1)

    async def _send(
        self, scene: Scene, client: httpx.AsyncClient, kind: str, payment: Mapping[str, Any], *,
        forged: bool = False, at: datetime | None = None, amount_off: int = 0,
    ) -> None:  # fmt: skip
        at = at or clock.now()
        data = {name: payment[name] for name in ("payment", "order", "amount_minor", "currency")}
        data["amount_minor"] += amount_off
        body = orjson.dumps({"type": SUCCEEDED_EVENT, "timestamp": at.isoformat(), "data": data})
        message = f"msg_{payment['payment']}"
        signature = self._webhook.sign(message, at, body.decode())
        headers = {
            "content-type": "application/json",
            "webhook-id": message,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": "v1,Zm9yZ2VkIGZvcmdlZCBmb3JnZWQgZm9yZ2VkIGZvcmc=" if forged else signature,
        }
        answer = await post(client, f"{scene.base_url}/api/v1/hooks/payment", headers, body)
        self.observed["sent"] += 1
        told = self.observed["answers_to_webhooks"].setdefault(kind, {})
        told[str(answer.status_code)] = told.get(str(answer.status_code), 0) + 1

    def seen_to_work(self) -> int:
        """Webhooks of every kind that were answered."""
        kinds = {"forged", "too_old", "wrong_amount", "paid", "late"}
        return int(self.observed["sent"]) if set(self.observed["answers_to_webhooks"]) == kinds else 0

    def reasons(self, after: After) -> list[str]:
        """One effect each; what is to be refused is refused."""
        told = self.observed["answers_to_webhooks"]
        found = [f"{kind} webhooks were answered {told[kind]}" for kind in ("forged", "too_old", "wrong_amount")
                 if any(not status.startswith("4") for status in told.get(kind, {}))]  # fmt: skip
        found += [
            f"{kind} webhooks were answered {told[kind]}"
            for kind in ("paid", "late")
            if set(told.get(kind, {})) - {"204"}
        ]
        for kind, effects in self._effects.items():
            if wrong := sorted({effect for effect in effects if effect not in EFFECTS[kind]}):
                found.append(f"{kind} webhooks had the effects {wrong}")
        if any(effect in OVER for effect in self._effects["paid"]) and not self._let_go(after):
            found.append("orders that nobody let go were over when their money came")
        return found

    def _let_go(self, after: After) -> bool:
        """Whether an order may have ended by itself before its money came: fans let orders go, or windows are short."""
        return bool(after.seen.cancelled or after.landed.by_state.get("expired"))


async def _effects(scene: Scene, payments: Sequence[Mapping[str, Any]]) -> list[Effect]:
    """What each of these payments has come to."""
    async with scene.both.postgres.acquire() as connection:
        ids = [payment["payment"] for payment in payments]
        rows = await connection.fetch(query("verdict", "effects_of_payments"), ids)
    return [(row["state"], row["of_order"], row["moved"]) for row in rows]
