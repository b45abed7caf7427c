"""Locust: reserved fans and latecomers at a noon spike, against any deployment in sandbox mode.

It behaves like the page: asks politely, keeps one Idempotency-Key for one intent, and after a lost reply asks again
with `?retry=1`. An honest refusal is an outcome, counted apart; a failure is what the engine should never answer.
How to run it and how to read it: README.md beside this file.
"""

import os
import random
import subprocess
import sys
import uuid
from collections import Counter
from typing import Any, Final

import gevent
from locust import FastHttpUser, LoadTestShape, between, events
from locust.event import EventHook
from locust.runners import MasterRunner, WorkerRunner

from flashsale import clock
from flashsale.outcomes import Outcome
from loadtest.locust_answers import ASK_AGAIN, BASE, NOT_KNOWN, Answer, Drop, find_drop, read

PRESSES_MAX: Final = 3
ASKS_PER_PRESS_MAX: Final = 30
CONFIRMED_WITHIN_S: Final = 60.0
PAID_WITHIN_S: Final = 30.0
LOOK_S: Final = 0.5
PAY_SHARE: Final = 0.8
CANCEL_SHARE: Final = 0.1  # the rest lets the time to pay run out
MINDED_S: Final = 2.0  # how long after the opening a fan's finger falls, on average
UNAVAILABLE_EXIT: Final = 3


def drop_of(environment: Any) -> Drop:
    """The sale, looked up once in each process."""
    if environment.drop is None:
        options = environment.parsed_options
        environment.drop = find_drop(environment.host or options.host or "", options.sale or None)
    found: Drop = environment.drop
    return found


class Visitor(FastHttpUser):  # type: ignore[misc] # locust has no types of its own
    """A fan with an account. visit() is one life; afterwards they look at the sale now and then, as people do."""

    abstract = True
    wait_time = between(2, 5)
    network_timeout = 15.0
    connection_timeout = 10.0
    max_retries = 0  # a request that is silently repeated would hide a lost reply

    def on_start(self) -> None:
        """Sign in. Where that can't be done, nothing else can: the run ends."""
        self.drop = drop_of(self.environment)
        self.seen = False
        self.right = ""
        answer = self.ask("POST", "/sandbox/login", "login", json={"fan": f"locust-{uuid.uuid4().hex[:16]}"})
        if answer.status == 404:
            self.environment.process_exit_code = UNAVAILABLE_EXIT
            self.environment.runner.quit()
        self.bearer = f"Bearer {answer.body.get('token', '')}"

    def ask(self, method: str, path: str, name: str, *, auth: str = "", key: str = "", json: Any = None) -> Answer:
        """One request, counted under its name."""
        headers = {"Authorization": auth} if auth else {}
        if key:
            headers["Idempotency-Key"] = key
        address = path if path.startswith(BASE) else BASE + path
        with self.client.request(
            method, address, name=name, headers=headers, json=json, catch_response=True
        ) as response:
            answer = read(response.status_code, response.headers, response.content)
            if answer.fault:
                response.failure(answer.fault)
            else:
                response.success()
        return answer

    def note(self, outcome: str) -> None:
        """Count what a fan was told."""
        self.environment.events.outcome.fire(outcome=outcome)

    def reserve(self) -> None:
        """Into the list, while it is open; a refusal is kept to."""
        for _ in range(ASKS_PER_PRESS_MAX):
            answer = self.ask("POST", f"/sales/{self.drop.sale}/reservation", "reserve", auth=self.bearer)
            if answer.outcome not in NOT_KNOWN | ASK_AGAIN | {Outcome.RESERVATION_NOT_OPEN.name}:
                self.right = f"Right {answer.body['right']}" if "right" in answer.body else ""
                return self.note(answer.outcome)
            polite(answer.retry_after_s)
        return self.note("GAVE_UP_RESERVING")

    def press(self, item: str) -> Answer:
        """One intent: one key, asked with until it is decided."""
        key, retry = uuid.uuid4().hex, ""
        auth = self.right or ("" if self.drop.needs_right else self.bearer)
        for _ in range(ASKS_PER_PRESS_MAX):
            path = f"/sales/{self.drop.sale}/items/{item}/purchase{retry}"
            answer = self.ask("POST", path, "press again" if retry else "press", auth=auth, key=key)
            self.note(answer.outcome)
            if answer.outcome not in NOT_KNOWN | ASK_AGAIN:
                return answer
            retry = "?retry=1" if answer.outcome in NOT_KNOWN else retry
            # Before the opening nobody has to guess: the page counts down to it.
            polite(max(answer.retry_after_s, min(30.0, self.drop.opens_in_s)))
        return Answer(0, "GAVE_UP", {}, 0)

    def buy(self) -> None:
        """Up to three presses, a different item when one is gone."""
        items = random.sample(self.drop.items, k=len(self.drop.items))
        for number in range(PRESSES_MAX):
            answer = self.press(items[number % len(items)])
            if answer.outcome == Outcome.WON.name:
                return self.own(answer.body["order"])
            if answer.outcome != Outcome.SOLD_OUT.name:
                return None
            polite(random.uniform(0.2, 1.0))
        return None

    def own(self, order: str) -> None:
        """What a winner does: see it confirmed, then pay, cancel, or let it go."""
        if not self.reaches(order, {"confirmed", "paid"}, within_s=CONFIRMED_WITHIN_S):
            return
        choice = random.random()
        if choice < PAY_SHARE:
            asked = self.ask("POST", f"/orders/{order}/payment", "pay", auth=self.bearer)
            if asked.body.get("pay_url"):
                self.ask("POST", asked.body["pay_url"], "pay at the sandbox")
                if self.reaches(order, {"paid"}, within_s=PAID_WITHIN_S):
                    self.note("PAID")
        elif choice < PAY_SHARE + CANCEL_SHARE:
            self.ask("POST", f"/orders/{order}/cancellation", "cancel", auth=self.bearer)
            self.note("CANCELLED")

    def reaches(self, order: str, states: set[str], *, within_s: float) -> bool:
        """Whether the order gets there in time. Where it does not, that is a failure: somebody was told WON."""
        ends_ms = clock.now_ms() + within_s * 1000
        while clock.now_ms() < ends_ms:
            answer = self.ask("GET", f"/orders/{order}", "order", auth=self.bearer)
            if answer.body.get("state") in states:
                return True
            polite(max(LOOK_S, answer.retry_after_s))
        self.environment.events.request.fire(
            request_type="ORDER", name=f"is {' or '.join(sorted(states))}", response_time=within_s * 1000,
            response_length=0, exception=TimeoutError(order), context={},
        )  # fmt: skip
        return False

    def look(self) -> None:
        """The sale as everybody sees it."""
        self.ask("GET", f"/sales/{self.drop.sale}", "sale")


class Fan(Visitor):
    """Reserved in time, waits for noon, presses."""

    def visit(self) -> None:
        """Reserve, wait, buy; later only look."""
        if self.seen:
            return self.look()
        self.seen = True
        self.reserve()
        while self.drop.opens_in_s > 1:
            self.look()
            polite(min(10.0, self.drop.opens_in_s))
        gevent.sleep(max(0.0, self.drop.opens_in_s) + random.expovariate(1 / MINDED_S))
        return self.buy()

    tasks = [visit]  # noqa: RUF012 (locust reads it from the class)


class Latecomer(Visitor):
    """Heard of it at noon: tries to reserve all the same, and presses with or without a right."""

    def visit(self) -> None:
        """Look, try, press; later only look."""
        self.look()
        if not self.seen:
            self.seen = True
            self.reserve()
            self.buy()

    tasks = [visit]  # noqa: RUF012 (locust reads it from the class)


class NoonSpike(LoadTestShape):  # type: ignore[misc] # locust has no types of its own
    """Fans gather until the sale opens; at that moment the latecomers come, all at once."""

    use_common_options = True

    def tick(self) -> tuple[int, float, list[type[Visitor]]] | None:
        """How many there should be now; None at the end."""
        options = self.runner.environment.parsed_options
        opens_in_s = drop_of(self.runner.environment).opens_in_s
        if options.run_time and self.get_run_time() > options.run_time:
            return None
        if not options.run_time and -opens_in_s > options.after_s:
            return None
        users, rate = options.num_users or 100, options.spawn_rate or 50
        fans = round(users * (1 - options.late_share))
        if opens_in_s > 1:
            return fans, rate, [Fan]
        late = users - fans
        # Who comes while it is open already finds no gathering: then the fans come with the latecomers.
        gathered = self.get_current_user_count() >= fans
        return (users, max(rate, late), [Latecomer]) if gathered else (fans, max(rate, fans), [Fan])


def polite(seconds: float) -> None:
    """Wait at least so long, and up to a third longer, so that a crowd spreads out."""
    gevent.sleep(seconds * random.uniform(1.0, 1.3))


def on_options(parser: Any) -> None:
    """Our own options, beside --users, --spawn-rate, --run-time and --host."""
    more = parser.add_argument_group("flashsale")
    more.add_argument("--sale", env_var="LOCUST_SALE", default="", help="The sale; else the first that is not over")
    more.add_argument("--late-share", env_var="LOCUST_LATE_SHARE", type=float, default=0.3, help="Of all users")
    more.add_argument("--after-s", env_var="LOCUST_AFTER_S", type=float, default=60.0, help="End, without --run-time")


def on_init(environment: Any, **_: Any) -> None:
    """What a run keeps, and how its workers' counts come together."""
    environment.drop = None
    environment.outcomes = Counter()
    environment.events.outcome = EventHook()
    environment.events.outcome.add_listener(lambda outcome: environment.outcomes.update([outcome]))
    if isinstance(environment.runner, WorkerRunner):
        environment.events.report_to_master.add_listener(lambda client_id, data: hand_over(environment, data))
    if isinstance(environment.runner, MasterRunner):
        environment.events.worker_report.add_listener(
            lambda client_id, data: environment.outcomes.update(data.get("outcomes", {}))
        )


def hand_over(environment: Any, data: dict[str, Any]) -> None:
    """A worker's counts since the last time."""
    data["outcomes"] = dict(environment.outcomes)
    environment.outcomes.clear()


def on_quitting(environment: Any, **_: Any) -> None:
    """Say what the crowd was told, then ask the stores themselves where every unit is."""
    if isinstance(environment.runner, WorkerRunner) or environment.drop is None:
        return
    told = "\n".join(f"  {outcome:<24}{count:>10,}" for outcome, count in environment.outcomes.most_common())
    sys.stdout.write(f"\nWhat the crowd was told:\n{told}\n\n")
    sys.stdout.flush()
    settings = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    program = [sys.executable, "-c", "from flashsale.cli import main; main()", "audit", environment.drop.sale]
    audited = subprocess.run(program, env=settings, check=False)  # noqa: S603 (our own program)
    if audited.returncode == 1:
        environment.process_exit_code = 1
    elif audited.returncode:
        sys.stdout.write("The audit could not be run from here; run it where the stores can be reached.\n")


events.init_command_line_parser.add_listener(on_options)
events.init.add_listener(on_init)
events.quitting.add_listener(on_quitting)
