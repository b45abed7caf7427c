"""What locustfile.py makes of the engine's replies: which are honest, which call for asking again, which are faults.

Apart from it, because importing locust changes how the whole process does its input and output.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from flashsale import clock
from flashsale.outcomes import Outcome

BASE: Final = "/api/v1"
# Not decided yet: the same key again. After the first two the press may have won, so the bucket itself is asked.
NOT_KNOWN: Final = frozenset({"LOST", Outcome.UNKNOWN.name})
ASK_AGAIN: Final = frozenset({Outcome.WAIT.name, Outcome.PAUSED.name, Outcome.NOT_OPEN.name, "SLOWED"})
HONEST_5XX: Final = frozenset({Outcome.WAIT.name, Outcome.PAUSED.name, Outcome.UNKNOWN.name})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. outcome: the engine's word; LOST without a reply, SLOWED from the edge, else the status."""

    status: int
    outcome: str
    body: dict[str, Any]
    retry_after_s: float

    @property
    def fault(self) -> str:
        """Why this should never have been answered; empty when it is in order."""
        if self.outcome == "LOST":
            return "no reply"
        if self.status >= 500 and self.outcome not in HONEST_5XX:
            return f"{self.status} {self.body.get('type', '')}"
        return ""


@dataclass(frozen=True, slots=True)
class Drop:
    """The sale that the crowd has come for. Times in ms since 1970 UTC; ahead_ms: how far its clock is before ours."""

    sale: str
    items: tuple[str, ...]
    opens_ms: int
    needs_right: bool
    ahead_ms: int

    @property
    def opens_in_s(self) -> float:
        """Seconds until it opens by the server's clock; negative afterwards."""
        return (self.opens_ms - self.ahead_ms - clock.now_ms()) / 1000


def find_drop(host: str, wanted: str | None) -> Drop:
    """The sale of that name, or the first that is not over. Raises SystemExit with what to do."""
    try:
        with httpx.Client(base_url=host, timeout=10) as client:
            sales = client.get(f"{BASE}/sales").raise_for_status().json()["sales"]
            ahead_ms = client.get(f"{BASE}/time").json()["now_ms"] - clock.now_ms()
    except (httpx.HTTPError, ValueError, KeyError) as trouble:
        raise SystemExit(f"{host} does not answer like flashsale ({trouble}); is --host right?") from trouble
    for sale in sales:
        if sale["sale"] == wanted or (wanted is None and sale["state"] not in {"closed", "unavailable"}):
            items = tuple(item["item"] for item in sale["items"])
            return Drop(sale["sale"], items, sale["opens_ms"], sale["entry"] == "reservation", ahead_ms)
    raise SystemExit(f"{host} has no sale {wanted or 'that is not over'}; plan and load one: flashsale sale --help")


def read(status: int | None, headers: Mapping[str, str] | None, content: bytes | None) -> Answer:
    """A reply in the engine's words. Without one, status is 0 or None."""
    body: dict[str, Any] = {}
    if status and headers and "json" in (headers.get("content-type") or ""):
        body = json.loads(content or b"{}")
    outcome = body.get("outcome") or {0: "LOST", 429: "SLOWED"}.get(status or 0, str(status))
    return Answer(status or 0, outcome, body, float(body.get("retry_after_s", 1)))
