"""Audits each running sale every so often, and tells by metrics and in the log what is off.

An audit of a large sale takes seconds of computing and the memory of all its units. So it is the command that ops
type, in a process of its own that yields to all others; landing goes on beside it. It costs a bounded share of one
core: after each audit comes a rest of many times its length, unless so many sales run that one would wait too long.
The worker that lands a sale's first bucket audits it, so that several workers don't do it several times.
"""

import asyncio
import contextlib
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from flashsale import clock, limits
from flashsale.config import ENV_PREFIX
from flashsale.embedded import Addresses, die_with_parent
from flashsale.metrics import WorkerMetrics
from flashsale.sale import Sale, State
from flashsale.stores import Client

_log = logging.getLogger(__name__)
_DONE: Final = {0, 1}  # exit statuses of an audit that came to its end
_KINDS: Final = ("missing", "doubled", "beyond")
_NICE: Final = 10
_TAIL: Final = 300


class Auditor:
    """One worker's audits. holder: the name under which the worker holds leases. every_s: between two of one sale.

    rest: how many times its own length an audit is followed by none.
    """

    def __init__(
        self,
        addresses: Addresses,
        redis: Client,
        *,
        holder: str,
        metrics: WorkerMetrics,
        every_s: float = limits.AUDIT_EVERY_S,
        rest: float = limits.AUDIT_REST,
    ) -> None:
        self._environment = _environment(addresses)
        self._redis = redis
        self._holder = holder
        self._metrics = metrics
        self._every_s = every_s
        self._rest = rest
        self._resting_until = 0.0
        self._audited: dict[str, float] = {}
        self._off: dict[str, Sequence[Any]] = {}  # what was told of each sale that did not balance

    async def step(self, sales: Sequence[Sale], over: asyncio.Event) -> None:
        """Audit the sale that has waited longest, if one is due. over: the process is to stop, so the audit is too."""
        mine = [sale for sale in sales if _is_of_interest(sale) and await self._is_mine(sale)]
        for name in self._audited.keys() - {sale.sale for sale in mine}:
            self._forget(name)
        now_s = time.monotonic()
        due = [sale for sale in mine if now_s - self._audited.get(sale.sale, -math.inf) >= self._every_s]
        if not due or now_s < self._resting_until:
            return
        sale = min(due, key=lambda one: self._audited.get(one.sale, -math.inf))
        found = await self._audit(sale, over)
        took_s = time.monotonic() - now_s
        self._resting_until = now_s + min(took_s * self._rest, limits.AUDIT_AGE_S / len(mine))
        self._audited[sale.sale] = time.monotonic()
        if not over.is_set():
            await self._tell(sale, found, took_s=took_s)

    async def _is_mine(self, sale: Sale) -> bool:
        """Whether no other worker lands its first bucket."""
        holder = await self._redis.get(sale.all_buckets[0].lease_key)
        return holder is None or cast("bytes", holder).decode() == self._holder

    async def _audit(self, sale: Sale, over: asyncio.Event) -> Mapping[str, Any] | None:
        """What the audit says, or None when it did not come to its end."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "flashsale", "audit", sale.sale, "--json",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=self._environment, preexec_fn=_in_the_background(),
        )  # fmt: skip
        talking = asyncio.ensure_future(process.communicate())
        stopping = asyncio.ensure_future(over.wait())
        try:
            await asyncio.wait({talking, stopping}, timeout=limits.AUDIT_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not talking.done():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        out, err = await talking
        if process.returncode in _DONE and out:  # one that dies says nothing, and its status is 1 as well
            return dict(json.loads(out))
        if not over.is_set():
            _log.warning("audit.not_done sale=%s status=%s: %s", sale.sale, process.returncode, err.decode()[-_TAIL:])
        return None

    async def _tell(self, sale: Sale, found: Mapping[str, Any] | None, *, took_s: float) -> None:
        """Metrics of all, and the log of what is off, once for as long as it stays the same."""
        balanced, units = self._metrics.audit_balanced.labels(sale=sale.sale), self._metrics.audit_units
        # Without a bucket's units nothing is known of them: another alarm tells that the bucket is away.
        if found is None or (found["closed_buckets"] and not found["balanced"]):
            balanced.set(math.nan)
            return
        balanced.set(int(found["balanced"]))
        for kind in _KINDS:
            units.labels(sale=sale.sale, kind=kind).set(sum(len(item[f"{kind}_units"]) for item in found["items"]))
        self._metrics.audit_at_seconds.labels(sale=sale.sale).set(clock.now_s())
        self._metrics.audit_took_seconds.labels(sale=sale.sale).set(took_s)
        off = [] if found["balanced"] else found["items"]
        if off and self._off.get(sale.sale) != off:
            _log_off(sale, off)
        elif self._off.get(sale.sale) and not off:
            _log.warning("audit.balanced_again sale=%s", sale.sale)
        self._off[sale.sale] = off

    def _forget(self, name: str) -> None:
        """Another worker audits it now, or nobody has to any more."""
        del self._audited[name]
        self._off.pop(name, None)
        for gauge in (
            self._metrics.audit_balanced, self._metrics.audit_at_seconds, self._metrics.audit_took_seconds
        ):  # fmt: skip
            with contextlib.suppress(KeyError):
                gauge.remove(name)
        for kind in _KINDS:
            with contextlib.suppress(KeyError):
                self._metrics.audit_units.remove(name, kind)


def _log_off(sale: Sale, items: Sequence[Mapping[str, Any]]) -> None:
    """Name the units."""
    for item in items:
        if item["difference"] or item["counter_off"] or any(item[f"{kind}_units"] for kind in _KINDS):
            _log.error(
                "audit.unbalanced sale=%s item=%s difference=%d counter_off=%d missing=%s doubled=%s beyond=%s",
                sale.sale, item["item"], item["difference"], item["counter_off"],
                *(",".join(map(str, item[f"{kind}_units"])) or "-" for kind in _KINDS),
            )  # fmt: skip


def _is_of_interest(sale: Sale) -> bool:
    """Whether its units may still move: it is not over, or not for long."""
    if not sale.in_buckets:
        return False
    return sale.state is not State.CLOSED or clock.now_ms() - sale.closes_ms < limits.AUDIT_AFTER_CLOSE_S * 1000


def _environment(addresses: Addresses) -> dict[str, str]:
    """Ours, with the stores that the worker itself uses, and no secret."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    stores = {"REDIS_URL": addresses.redis_url, "POSTGRES_DSN": addresses.postgres_dsn}
    return kept | {f"{ENV_PREFIX}{name}": value for name, value in stores.items()}


def _in_the_background() -> Callable[[], None]:
    """What the new process does first: yield to all others, and end with the worker."""
    ask_to_die = die_with_parent(signal.SIGTERM)

    def prepare() -> None:
        os.nice(_NICE)
        ask_to_die()

    return prepare
