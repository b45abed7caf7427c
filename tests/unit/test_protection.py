"""Protection: whose request it is, and what is told to whom."""

import ipaddress
from http import HTTPStatus

import pytest

from flashsale import limits
from flashsale.api.protection import Protection
from flashsale.api.replies import RefusedError
from flashsale.metrics import ApiMetrics, api_metrics
from flashsale.outcomes import Outcome
from flashsale.sale import Challenged

_PATH = "/api/v1/sales/s/reservation"


class Hand:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """The time on it, in seconds."""
        return self.now


def made(
    *, fan: float = 0, address: float = 0, proxies: str = "10.0.0.0/8", clock: Hand | None = None
) -> tuple[Protection, ApiMetrics]:
    """A protection with its metrics."""
    metrics = api_metrics()
    network = ipaddress.ip_network(proxies)
    protection = Protection(metrics, fan_per_s=fan, address_per_s=address, proxies=(network,), now=clock or Hand())
    return protection, metrics


def passes(protection: Protection, peer: str, forwarded: bytes = b"", path: str = _PATH) -> bool:
    """Whether a request of this address is let in."""
    headers = [(b"host", b"shop"), (b"x-forwarded-for", forwarded)] if forwarded else [(b"host", b"shop")]
    try:
        protection.suspect(peer, path, headers, challenged=Challenged.OFF)
    except RefusedError as refused:
        return refused.reply.status != HTTPStatus.TOO_MANY_REQUESTS
    return True


def test_a_fan_over_the_rate_is_slowed_and_then_refused() -> None:
    """Given a fan who presses a thousand times at once / Then the first are on time, some come last, all others are
    told to go slower; and after what they are told to wait, they are on time again."""
    clock = Hand()
    protection, metrics = made(fan=2, clock=clock)
    told: list[object] = []
    for _ in range(1_000):
        try:
            told.append(protection.slowed("alice"))
        except RefusedError as refused:
            told.append(refused.reply)
    refusal = told[-1]
    on_time, last = told.count(False), told.count(True)
    assert (on_time, last) == (limits.FAN_BURST, 2 * limits.FAN_FAR_S)
    assert told.count(refusal) == 1_000 - on_time - last
    assert metrics.refused_early.counts[Outcome.TOO_OFTEN] == 1_000 - on_time - last
    assert protection.slowed("bob") is False
    assert refusal.status == 429  # type: ignore[attr-defined]
    wait_s = int(dict(refusal.headers)[b"retry-after"])  # type: ignore[attr-defined]
    clock.now += wait_s
    assert protection.slowed("alice") is False


def test_an_address_is_told_to_go_slower_and_others_are_not() -> None:
    """Given an address that asks for too much / Then it is refused until it waits, and another is not."""
    clock = Hand()
    protection, _ = made(address=1, clock=clock)
    assert [passes(protection, "192.0.2.1") for _ in range(6)] == [True] * 5 + [False]
    assert passes(protection, "192.0.2.2")
    clock.now += 1
    assert passes(protection, "192.0.2.1")


def test_where_challenges_are_asked_an_address_may_go_further_but_not_without_end() -> None:
    """Given an address that asks for too much in a sale with challenges / Then it is suspicious and let on, and refused
    from four times its rate on, and others are not."""
    protection, metrics = made(address=1)

    def told(peer: str) -> bool | None:
        try:
            return protection.suspect(peer, _PATH, [], challenged=Challenged.SUSPICIOUS)
        except RefusedError:
            return None

    burst = int(limits.ADDRESS_BURST_S)
    assert [told("192.0.2.1") for _ in range(burst)] == [False] * burst
    assert [told("192.0.2.1") for _ in range(burst * limits.SUSPECT_TIMES)] == [True] * burst * limits.SUSPECT_TIMES
    assert told("192.0.2.1") is None
    assert told("192.0.2.2") is False
    assert metrics.registry.get_sample_value("flashsale_address_refused_total") == 1


@pytest.mark.parametrize(
    ("peer", "forwarded", "same"),
    [
        ("10.1.2.3", [b"192.0.2.1", b"192.0.2.2"], False),
        ("10.1.2.3", [b"198.51.100.1, 192.0.2.1", b"198.51.100.2, 192.0.2.1"], True),
        ("192.0.2.9", [b"198.51.100.1", b"198.51.100.2"], True),
        ("10.1.2.3", [b"", b""], True),
        ("10.1.2.3", [b"2001:db8:0:1::1", b"2001:db8:0:1:ffff::9"], True),
        ("10.1.2.3", [b"2001:db8:0:1::1", b"2001:db8:0:2::1"], False),
        ("10.1.2.3", [b"::ffff:192.0.2.1", b"::ffff:192.0.2.2"], False),
        ("10.1.2.3", [b"no address", b"no address"], True),
    ],
    ids=["proxy", "last-counts", "not-believed", "says-nothing", "one-home", "two-homes", "mapped", "nonsense"],
)
def test_whose_request_it_is(peer: str, forwarded: list[bytes], same: bool) -> None:
    """Given an address that has used up its rate / Then a second request is of the same one, or of another: by what a
    believed proxy added last, by nothing that a client says of itself, and by the network of an IPv6 address."""
    protection, _ = made(address=1)
    while passes(protection, peer, forwarded[0]):
        pass
    assert passes(protection, peer, forwarded[1]) is not same


def test_nothing_is_counted_where_nothing_is_set() -> None:
    """Given no rates / Then everybody may come as often as they like."""
    protection, metrics = made()
    assert not any(protection.slowed("alice") for _ in range(100))
    assert all(passes(protection, "192.0.2.1") for _ in range(100))
    assert metrics.refused_early.counts[Outcome.TOO_OFTEN] == 0


def test_a_payment_provider_may_tell_of_all_payments() -> None:
    """Given an address over its rate / Then its signed messages are let in all the same."""
    protection, _ = made(address=1)
    while passes(protection, "192.0.2.1"):
        pass
    assert passes(protection, "192.0.2.1", path="/api/v1/hooks/payment")
