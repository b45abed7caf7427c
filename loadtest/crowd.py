"""A crowd: fans who reserve, come at noon and press buy, over the real HTTP API, from a process of its own.

Run as `python -m loadtest.crowd JOB.json`; the key that identity tokens are signed with comes in CROWD_JWT_KEY. One
line of JSON a half second tells how far it is. Everything random comes from the job's seed.
"""

import asyncio
import heapq
import os
import random
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt
import orjson
import uvloop

from flashsale.clock import now_s
from flashsale.outcomes import Outcome
from loadtest.job import Job, read_job
from loadtest.records import OTHER, Answers, Seen
from loadtest.wire import Wire, connect

TOLD_EVERY_S: Final = 0.5
FINAL: Final = {
    Outcome.WON, Outcome.ALREADY_BOUGHT, Outcome.CLOSED, Outcome.NO_RIGHT, Outcome.KEY_REUSED, Outcome.CHALLENGE,
}  # fmt: skip
NOT_YET: Final = {Outcome.UNKNOWN, Outcome.WAIT, Outcome.PAUSED, Outcome.UNAVAILABLE, Outcome.TOO_OFTEN}
LAST_ASKS: Final = 8
ASK_AGAIN_MAX: Final = 200  # a fan who is told to wait asks again, but not for ever
PAY_ASKS_MAX: Final = 60  # what can't be paid by then is for the verdict to find
REPLY_TIMEOUT_S: Final = 20.0
BROKEN_WAIT_S: Final = (0.1, 0.2, 0.4, 0.8, 1.5)  # before a new connection, after so many that broke
CANCEL_AFTER_S: Final = 3.0
AGAIN_S: Final = 1.0
LATE_MAX: Final = 4  # means after noon, by which the last fan has come


@dataclass(slots=True)
class Fan:
    """One fan. item: which one they are after, by its number among the sale's items."""

    name: str
    item: int
    right: bytes = b""
    token: str = ""
    presses: int = 0
    asked_again: int = 0
    intent: int = 0
    retry: bool = False
    broken: int = 0
    order: str = ""
    cancels: bool = False
    comes_at: float = 0.0


@dataclass(order=True, slots=True)
class _Due:
    """A press that is due, or a look at the page. Compared by time, then by the order in which they were planned."""

    at: float
    number: int
    fan: Fan = field(compare=False)
    look: bool = field(compare=False, default=False)


class Crowd:
    """All fans of one job."""

    def __init__(self, job: Job, *, jwt_key: str) -> None:
        self._job = job
        self._jwt_key = jwt_key
        self._random = random.Random(job.seed)
        self._host = f"host: {job.host}\r\n".encode()
        self._fans = self._make_fans()
        self._due: list[_Due] = []
        self._planned = 0
        self._busy = 0
        self._ports = (job.port, *job.ports)
        self._connections = 0
        self._leaving = False
        self.seen = Seen()
        self.phase = "reserving"

    async def run(self) -> None:
        """Reserve, wait for noon, press, pay."""
        await self._reserve_all()
        self.phase = "waiting"
        self._plan_presses()
        await asyncio.gather(*(self._presser() for _ in range(self._job.connections)))
        self.phase = "paying"
        await self._pay()
        self.phase = "done"

    def leave(self) -> None:
        """Go home: only who may have won and does not know it asks again, a few times."""
        self._leaving = True
        self._due = [due for due in self._due if due.fan.retry and not due.fan.order and not due.look]
        for due in self._due:
            due.fan.asked_again = max(due.fan.asked_again, ASK_AGAIN_MAX - LAST_ASKS)
        heapq.heapify(self._due)

    def told(self) -> dict[str, Any]:
        """How far it is."""
        return {
            "phase": self.phase,
            "reserved": len(self.seen.reservations),
            "offered": self.seen.offered,
            "answered": len(self.seen.purchases),
            "looked": len(self.seen.looks),
            "won": len(self.seen.wins),
            "waiting": len(self._due),
            "in_flight": self._busy,
            "broken": self.seen.transport_errors,
        }

    def _make_fans(self) -> list[Fan]:
        job = self._job
        items = self._random.choices(range(len(job.items)), job.weights, k=job.last - job.first + job.without_right)
        fans = [Fan(f"{job.name}{number}", items[at]) for at, number in enumerate(range(job.first, job.last))]
        late = [Fan(f"{job.name}late{job.first + at}", items[len(fans) + at]) for at in range(job.without_right)]
        for fan in late:
            fan.right = b"authorization: Right v1.r.none.0.public.web.none.none.00\r\n"
        return fans + late

    async def _reserve_all(self) -> None:
        """Every fan who reserves does so, over as many connections as there are."""
        waiting = [fan for fan in self._fans if not fan.right]
        self._random.shuffle(waiting)

        async def reserver() -> None:
            wire = Wire()
            while waiting:
                fan = waiting.pop()
                wire = await self._reserve(wire, fan)
            wire.close()

        await asyncio.gather(*(reserver() for _ in range(min(self._job.connections, len(waiting) or 1))))

    async def _reserve(self, wire: Wire, fan: Fan) -> Wire:
        job = self._job
        token = self._token(fan)
        body = b'{"channel":"%s"}' % self._random.choice(job.channels).encode()
        request = (
            b"POST /api/v1/sales/%s/reservation HTTP/1.1\r\n%sauthorization: Bearer %s\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
        ) % (job.sale.encode(), self._host, token.encode(), len(body), body)
        for _ in range(ASK_AGAIN_MAX):
            wire, status, reply = await self._ask(wire, request, self.seen.reservations, fan)
            if status == 200:
                right = orjson.loads(reply)["right"]
                fan.right = f"authorization: Right {right}\r\n".encode()
                return wire
            if status and status != 503:
                raise RuntimeError(f"a reservation was answered {status}: {reply!r}")
            await asyncio.sleep(AGAIN_S * self._random.random())
        raise RuntimeError("a reservation was never decided")

    def _plan_presses(self) -> None:
        """When each fan presses first: a few before noon, the others after it, more and more seldom or evenly. Some
        have reserved and stay away; those who come look at the page before."""
        for fan in self._fans:
            if self._job.come_share < 1 and self._random.random() >= self._job.come_share:
                continue
            if self._random.random() < self._job.early_share:
                at = self._job.opens_s - self._random.random() * 2
            elif self._job.arrive_even_s:
                at = self._job.opens_s + self._random.random() * self._job.arrive_even_s
            else:
                at = self._job.opens_s + min(
                    self._random.expovariate(1 / self._job.arrive_mean_s), self._job.arrive_mean_s * LATE_MAX
                )
            self._plan(fan, at)
            if self._job.look_ahead_s:
                fan.comes_at = at
                self._plan_look(fan, at - self._random.random() * self._job.look_ahead_s)

    def _plan_look(self, fan: Fan, at: float) -> None:
        """A look at the page, unless the fan presses before it."""
        if at < fan.comes_at and not self._leaving:
            self._planned += 1
            heapq.heappush(self._due, _Due(at, self._planned, fan, look=True))

    def _plan(self, fan: Fan, at: float) -> None:
        if self._leaving and not fan.retry:
            return
        self._planned += 1
        heapq.heappush(self._due, _Due(at, self._planned, fan))

    async def _presser(self) -> None:
        """One connection: takes the next press that is due, until nobody is left."""
        wire = Wire()
        while self._due or self._busy:
            wait_s = self._due[0].at - now_s() if self._due else AGAIN_S / 20
            if wait_s > 0:
                await asyncio.sleep(min(wait_s, 0.2))
                continue
            due = heapq.heappop(self._due)
            deed = self._look if due.look else self._cancel if due.fan.cancels else self._press
            self._busy += 1
            try:
                wire = await deed(wire, due.fan)
            finally:
                self._busy -= 1
        wire.close()

    async def _look(self, wire: Wire, fan: Fan) -> Wire:
        """The sale, as the page asks for it again and again."""
        request = b"GET /api/v1/sales/%s HTTP/1.1\r\n%s\r\n" % (self._job.sale.encode(), self._host)
        wire, _, _ = await self._ask(wire, request, self.seen.looks, fan)
        self._plan_look(fan, now_s() + self._job.look_every_s * (0.5 + self._random.random()))
        return wire

    async def _press(self, wire: Wire, fan: Fan) -> Wire:
        job = self._job
        self.phase = "pressing"
        self.seen.offered += 1
        request = b"POST /api/v1/sales/%s/items/%s/purchase%s HTTP/1.1\r\n%s%sidempotency-key: %d\r\n\r\n" % (
            job.sale.encode(),
            job.items[fan.item].encode(),
            b"?retry=1" if fan.retry else b"",
            self._host,
            fan.right,
            fan.intent,
        )
        wire, status, reply = await self._ask(wire, request, self.seen.purchases, fan)
        self._after_press(fan, status, reply)
        return wire

    def _after_press(self, fan: Fan, status: int, reply: bytes) -> None:
        """What a fan does with an answer: keep the win, ask again, press again, or go."""
        now = now_s()
        data = orjson.loads(reply) if reply else {}
        outcome = Outcome[data["outcome"]] if "outcome" in data else None
        if status == 0 or outcome in NOT_YET:
            # The same intent, the same key; past the early refusals when it may have been a win.
            fan.retry = fan.retry or status == 0 or outcome is Outcome.UNKNOWN
            fan.asked_again += 1
            if fan.asked_again < ASK_AGAIN_MAX:
                wait_s = (
                    data.get("retry_after_s", 1) if status else BROKEN_WAIT_S[min(fan.broken, len(BROKEN_WAIT_S)) - 1]
                )
                self._plan(fan, now + wait_s * (0.2 + self._random.random()))
            return
        if outcome is Outcome.NOT_OPEN:
            early_s = max(0.0, self._job.opens_s - now)
            self._plan(fan, now + max(0.05, (early_s or AGAIN_S) * self._random.random()))
            return
        retried, fan.retry = fan.retry, False
        fan.presses += 1
        if outcome is Outcome.WON:
            fan.order = data["order"]
            self.seen.wins[data["order"]] = (fan.name, data["item"], data["unit"], data.get("level", ""))
            self.seen.won_on_retry += retried
            if self._random.random() < self._job.cancel_share:
                fan.cancels = True
                self._plan(fan, now + CANCEL_AFTER_S * self._random.random())
            elif fan.presses == 1 and self._random.random() < self._job.repeat_share:
                fan.intent += 1  # a new intent, which the limit must refuse
                self._plan(fan, now + self._random.random())
        elif outcome is Outcome.ALREADY_BOUGHT:
            self.seen.told_of[data["order"]] = fan.name
        elif outcome not in FINAL and (
            fan.presses < self._job.presses_max or now < self._job.opens_s + self._job.stay_s
        ):
            self._plan(fan, now + 0.3 + self._random.random())

    async def _cancel(self, wire: Wire, fan: Fan) -> Wire:
        """A winner lets the order go; once it is written down, and when the api is there."""
        bearer = b"authorization: Bearer %s\r\ncontent-length: 0\r\n\r\n" % self._token(fan).encode()
        request = b"POST /api/v1/orders/%s/cancellation HTTP/1.1\r\n%s%s" % (fan.order.encode(), self._host, bearer)
        wire, status, reply = await self._ask(wire, request, None, fan)
        self.seen.cancelled += status == 200
        fan.asked_again += 1
        if status != 200 and not is_over(status, reply) and fan.asked_again < ASK_AGAIN_MAX and not self._leaving:
            self._plan(fan, now_s() + AGAIN_S * (0.5 + self._random.random()))
        return wire

    async def _pay(self) -> None:
        """Some of the winners pay in the sandbox."""
        payers = [
            fan for fan in self._fans if fan.order and not fan.cancels and self._random.random() < self._job.pay_share
        ]

        async def payer() -> None:
            wire = Wire()
            while payers:
                wire = await self._pay_one(wire, payers.pop())
            wire.close()

        await asyncio.gather(*(payer() for _ in range(min(8, len(payers)))))

    async def _pay_one(self, wire: Wire, fan: Fan) -> Wire:
        bearer = b"authorization: Bearer %s\r\ncontent-length: 0\r\n\r\n" % self._token(fan).encode()
        ask = b"POST /api/v1/orders/%s/payment HTTP/1.1\r\n%s%s" % (fan.order.encode(), self._host, bearer)
        for _ in range(PAY_ASKS_MAX):
            wire, status, reply = await self._ask(wire, ask, None, fan)
            if status == 201:
                pay = b"POST %s HTTP/1.1\r\n%s%s" % (orjson.loads(reply)["pay_url"].encode(), self._host, bearer)
                wire, status, _ = await self._ask(wire, pay, None, fan)
                self.seen.paid += status == 202
                return wire
            if is_over(status, reply):
                return wire
            await asyncio.sleep(0.2)
        return wire

    async def _ask(self, wire: Wire, request: bytes, answers: Answers | None, fan: Fan) -> tuple[Wire, int, bytes]:
        """Send one request; status 0 when the connection broke, then with a new connection."""
        sent = now_s()
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                if not wire.usable:
                    self._connections += 1
                    wire = await connect(self._job.host, self._ports[self._connections % len(self._ports)])
                status, reply = await wire.ask(request)
        except (OSError, TimeoutError):
            self.seen.transport_errors += 1
            fan.broken += 1
            wire.close()
            return wire, 0, b""
        fan.broken = 0
        if answers is not None:
            answers.add(_code(reply), fan.item, sent, now_s())
        return wire, status, reply

    def _token(self, fan: Fan) -> str:
        if not fan.token:
            claims = {"sub": fan.name, "exp": int(self._job.opens_s) + 86_400}
            fan.token = jwt.encode(claims, self._jwt_key, algorithm="HS256")
        return fan.token


_CODES: Final = {outcome.name.encode(): outcome.value for outcome in Outcome}


def _code(reply: bytes) -> int:
    """The outcome in a reply, found without decoding all of it."""
    _, found, rest = reply.partition(b'"outcome":"')
    return _CODES.get(rest[: rest.find(b'"')], OTHER) if found else OTHER


def is_over(status: int, reply: bytes) -> bool:
    """Whether an order can be neither paid nor let go any more: it has ended, or a fault has lost it."""
    return status == 404 or (status == 409 and b"order-over" in reply)


async def _run(job: Job, jwt_key: str) -> None:
    crowd = Crowd(job, jwt_key=jwt_key)

    async def tell() -> None:
        while True:
            sys.stdout.write(orjson.dumps(crowd.told()).decode() + "\n")
            sys.stdout.flush()
            await asyncio.sleep(TOLD_EVERY_S)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, crowd.leave)
    telling = asyncio.create_task(tell())
    try:
        await crowd.run()
    finally:
        telling.cancel()
    sys.stdout.write(orjson.dumps(crowd.told()).decode() + "\n")
    crowd.seen.write(Path(job.out))


def main() -> None:
    """Run the job whose file is the first argument."""
    uvloop.run(_run(read_job(Path(sys.argv[1])), os.environ["CROWD_JWT_KEY"]))


if __name__ == "__main__":
    main()
