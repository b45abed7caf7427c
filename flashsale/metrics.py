"""Every metric of every process, declared in one place; names follow the Prometheus guidelines.

What is counted for each press is counted in plain integers and told when Prometheus asks: the library's own counters
take a lock and cost more than checking a right.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from flashsale.outcomes import Outcome

_BATCH_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_REPLY_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class OutcomeTally(Collector):
    """Counts outcomes. Add to counts[outcome] directly; one event loop owns it."""

    def __init__(self, name: str, words: str, registry: CollectorRegistry) -> None:
        self.counts = dict.fromkeys(Outcome, 0)
        self._name, self._words = name, words
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """The counts as a counter with the label outcome."""
        family = CounterMetricFamily(self._name, self._words, labels=["outcome"])
        for outcome, count in self.counts.items():
            family.add_metric([outcome.name], count)
        yield family


class Spread(Collector):
    """A histogram. bounds: upper ends of its buckets, rising."""

    def __init__(self, name: str, words: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._words, self._bounds = name, words, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterable[Metric]:
        """The buckets, cumulative as Prometheus wants them."""
        total, buckets = 0, []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        yield HistogramMetricFamily(self._name, self._words, buckets=buckets, sum_value=self._sum)


@dataclass(frozen=True, slots=True)
class ApiMetrics:
    """What an api process counts."""

    registry: CollectorRegistry
    decided: OutcomeTally
    refused_early: OutcomeTally
    reserved: OutcomeTally
    redeemed: OutcomeTally
    batch_size: Spread
    batch_wait_seconds: Spread
    reply_seconds: Spread
    sold_out_seconds: Spread
    back_seconds: Spread
    watchers: Gauge
    slowed: Counter
    address_refused: Counter
    challenges: Counter
    connections: Gauge
    connections_ended: Counter

    def batch(self, size: int, waited_s: float) -> None:
        """Count one script call."""
        self.batch_size.observe(size)
        self.batch_wait_seconds.observe(waited_s)


def api_metrics() -> ApiMetrics:
    """A fresh set, for one process."""
    registry = CollectorRegistry()

    def tally(name: str, words: str) -> OutcomeTally:
        return OutcomeTally(f"flashsale_{name}", words, registry)

    def seconds(name: str, words: str) -> Spread:
        return Spread(f"flashsale_{name}_seconds", words, _REPLY_SECONDS, registry)

    def counter(name: str, words: str, *labels: str) -> Counter:
        return Counter(f"flashsale_{name}_total", words, labels, registry=registry)

    return ApiMetrics(
        registry=registry,
        decided=tally("purchase_decided", "Attempts decided by the script, by outcome."),
        refused_early=tally("purchase_refused_early", "Attempts refused by the process itself, by outcome."),
        reserved=tally("reservation_decided", "Reservation requests, by outcome."),
        redeemed=tally("fcode_decided", "F-codes that fans sent, by outcome."),
        batch_size=Spread("flashsale_batch_attempts", "Attempts in one script call.", _BATCH_SIZES, registry),
        batch_wait_seconds=seconds(
            "batch_wait", "How long the first attempt of a script call waited for the one before it."
        ),
        reply_seconds=seconds("purchase_reply", "From taking an attempt in to its answer."),
        sold_out_seconds=seconds(
            "sold_out_learned", "How long after an item's last unit the process refused by itself, at most."
        ),
        back_seconds=seconds(
            "stock_back_learned", "How long after units were back the process let presses through, at most."
        ),
        watchers=Gauge("flashsale_order_watchers", "Open order event streams.", registry=registry),
        slowed=counter("purchase_slowed", "Attempts decided last, of fans over their rate."),
        address_refused=counter("address_refused", "Requests refused because of their address's rate."),
        challenges=counter(
            "challenges",
            "Challenges, by what became of them: given, solved, unreadable, forged, expired, foreign, wrong.",
            "what",
        ),
        connections=Gauge("flashsale_connections", "Open connections of clients.", registry=registry),
        connections_ended=counter(
            "connections_ended",
            "Connections that the process ended by itself, by what it waited for: head, body, read, idle, place.",
            "awaited",
        ),
    )


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """What a worker process counts."""

    registry: CollectorRegistry
    landed: Counter
    landed_again: Counter
    set_aside: Counter
    aside: Gauge
    expired: Counter
    given_back: Counter
    held: Counter
    not_given_back: Counter
    late_payments: Counter
    refunds_asked: Counter
    refunds_due: Gauge
    outbox_orders: Gauge
    audit_balanced: Gauge
    audit_units: Gauge
    audit_at_seconds: Gauge
    audit_took_seconds: Gauge
    memory_used_share: Gauge
    memory_short: Gauge
    moved: Counter
    recovered: Counter
    buckets_closed: Gauge
    trouble: Counter


def worker_metrics() -> WorkerMetrics:
    """A fresh set, for one process."""
    registry = CollectorRegistry()

    def counter(name: str, words: str, *labels: str) -> Counter:
        return Counter(f"flashsale_{name}_total", words, labels, registry=registry)

    def gauge(name: str, words: str, *labels: str) -> Gauge:
        return Gauge(f"flashsale_{name}", words, labels, registry=registry)

    return WorkerMetrics(
        registry=registry,
        landed=counter("orders_landed", "Orders committed in Postgres."),
        landed_again=counter("orders_landed_again", "Orders read again that were committed before."),
        set_aside=counter("orders_set_aside", "Orders that could not be stored, whatever became of them."),
        aside=Gauge(
            "flashsale_orders_aside",
            "Orders that were set aside, by what became of them.",
            ["sale", "state"],
            registry=registry,
        ),
        expired=counter("orders_expired", "Orders that were not paid in time."),
        given_back=counter("units_given_back", "Units put back on sale."),
        held=counter("units_held", "Units that came back and are held."),
        not_given_back=counter("units_not_given_back", "Returns that a bucket did not know; they stay waiting."),
        late_payments=counter("late_payments", "Late payments settled, by what became of them.", "state"),
        refunds_asked=counter("refunds_asked", "Refunds handed to the provider, repeats included."),
        refunds_due=Gauge(
            "flashsale_refunds_due", "Payments whose money is to go back and has not.", ["sale"], registry=registry
        ),
        outbox_orders=Gauge("flashsale_outbox_orders", "Orders on their way.", ["sale"], registry=registry),
        audit_balanced=gauge("audit_balanced", "1 when every unit is in one place, 0 when not, NaN: unknown.", "sale"),
        audit_units=gauge("audit_units", "Units that the last audit named, at most 20 of an item.", "sale", "kind"),
        audit_at_seconds=gauge("audit_at_seconds", "When the last audit ended, in seconds since 1970.", "sale"),
        audit_took_seconds=gauge("audit_took_seconds", "How long the last audit took.", "sale"),
        memory_used_share=gauge("memory_used_share", "Share of its maxmemory that a Valkey has used.", "server"),
        memory_short=gauge("memory_short_buckets", "Buckets that take nothing in: memory is nearly used up.", "sale"),
        moved=counter("units_moved", "Units moved from one bucket to another."),
        recovered=counter("buckets_recovered", "Buckets that were rebuilt because they were older than Postgres."),
        buckets_closed=Gauge(
            "flashsale_buckets_closed",
            "Buckets that sell nothing until they are recovered, by condition: empty, fenced, strange.",
            ["sale", "condition"],
            registry=registry,
        ),
        trouble=counter("worker_trouble", "Loops that failed and were begun again, by loop.", "loop"),
    )
