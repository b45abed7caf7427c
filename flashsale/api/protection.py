"""How often a fan and an address may ask.

A fan who presses more often than the rate is decided last; one who hammers is told to go slower, and so is an address.
The limits are each process's own: a fan whose connections lie in several processes has the rate in each.
"""

import ipaddress
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from flashsale import limits
from flashsale.api.replies import BY_OUTCOME, PREFIX, Headers, RefusedError, refusal
from flashsale.config import Network, Settings
from flashsale.metrics import ApiMetrics
from flashsale.outcomes import Outcome
from flashsale.rates import Rates
from flashsale.sale import Challenged

_TOO_OFTEN: Final = BY_OUTCOME[Outcome.TOO_OFTEN]
_ADDRESS_TOO_OFTEN: Final = refusal(Outcome.TOO_OFTEN, retry_after_s=2)
_SIGNED: Final = f"{PREFIX}hooks/"  # a payment provider tells of all payments from a few addresses
_HOME_BITS: Final = 64  # of an IPv6 address: the rest is its holder's to choose


class Protection:
    """fan_per_s, address_per_s: 0 for any number. proxies: those whose X-Forwarded-For is believed."""

    def __init__(
        self,
        metrics: ApiMetrics,
        *,
        fan_per_s: float,
        address_per_s: float,
        proxies: Sequence[Network] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._now = now
        self._fans = Rates(per_s=fan_per_s, burst=limits.FAN_BURST, far_s=limits.FAN_FAR_S) if fan_per_s else None
        burst = max(1, int(address_per_s * limits.ADDRESS_BURST_S))
        self._addresses = Rates(per_s=address_per_s, burst=burst) if address_per_s else None
        more = address_per_s * limits.SUSPECT_TIMES
        self._suspects = Rates(per_s=more, burst=max(1, int(more * limits.ADDRESS_BURST_S))) if address_per_s else None
        self._believed = lru_cache(4096)(lambda peer: _within(peer, proxies))

    def slowed(self, fan: str) -> bool:
        """Count one press of a fan: whether it is to be decided last. Raises RefusedError when it is one too many."""
        if self._fans is None:
            return False
        early_s = self._fans.early_s(fan, self._now())
        if early_s > limits.FAN_FAR_S:
            self._metrics.refused_early.counts[Outcome.TOO_OFTEN] += 1
            raise RefusedError(_TOO_OFTEN)
        return early_s > 0

    def suspect(self, peer: str, path: str, headers: Headers, *, challenged: Challenged) -> bool:
        """Count one request that costs something: whether it is one too many of its address. peer: the other end of the
        connection, "" for none. Raises RefusedError when it is; where a solved challenge can speak for its fan, when it
        is one too many of several times the rate."""
        if self._addresses is None or path.startswith(_SIGNED):
            return False
        address, now = self._address(peer, headers), self._now()
        if not self._addresses.early_s(address, now):
            return False
        if challenged is Challenged.OFF or self._suspects is None or self._suspects.early_s(address, now):
            self._metrics.address_refused.inc()
            raise RefusedError(_ADDRESS_TOO_OFTEN)
        return True

    def _address(self, peer: str, headers: Headers) -> str:
        """Whose request it is: what a believed proxy says, which is the last that was added; else the peer."""
        if not self._believed(peer):
            return _home(peer)
        told = [value for name, value in headers if name == b"x-forwarded-for"]
        return _home(told[-1].decode("latin-1").rpartition(",")[2].strip() if told else peer)


def protection_of(settings: Settings, metrics: ApiMetrics) -> Protection:
    """As the settings have it."""
    return Protection(
        metrics,
        fan_per_s=settings.fan_presses_per_s,
        address_per_s=settings.address_requests_per_s,
        proxies=settings.proxy_networks,
    )


def _within(address: str, networks: Sequence[Network]) -> bool:
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(known in network for network in networks)


@lru_cache(4096)
def _home(address: str) -> str:
    """An IPv4 address as it is; of an IPv6 address, the network that its holder was given."""
    if ":" not in address:
        return address
    try:
        whole = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(whole.ipv4_mapped or ipaddress.IPv6Network((whole, _HOME_BITS), strict=False))
