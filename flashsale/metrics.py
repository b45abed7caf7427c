"""Every metric of every process, declared in one place; names follow the Prometheus guidelines."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from flashsale.outcomes import Outcome

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_REPLY_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


@dataclass(frozen=True, slots=True)
class ApiMetrics:
    """What an api process counts. decided and refused are kept per outcome, so that counting is one addition."""

    registry: CollectorRegistry
    decided: dict[Outcome, Counter]
    refused_early: dict[Outcome, Counter]
    reserved: dict[Outcome, Counter]
    batch_size: Histogram
    reply_seconds: Histogram
    watchers: Gauge


def api_metrics() -> ApiMetrics:
    """A fresh set, for one process."""
    registry = CollectorRegistry()
    by_outcome = {
        name: Counter(f"flashsale_{name}_total", words, ["outcome"], registry=registry)
        for name, words in (
            ("purchase_decided", "Attempts decided by the script, by outcome."),
            ("purchase_refused_early", "Attempts refused by the process itself, by outcome."),
            ("reservation_decided", "Reservation requests, by outcome."),
        )
    }
    children = [{o: c.labels(outcome=o.name) for o in Outcome} for c in by_outcome.values()]
    return ApiMetrics(
        registry=registry,
        decided=children[0],
        refused_early=children[1],
        reserved=children[2],
        batch_size=Histogram(
            "flashsale_batch_attempts",
            "Attempts in one script call.",
            buckets=_BATCH_SIZES,
            registry=registry,
        ),
        reply_seconds=Histogram(
            "flashsale_purchase_reply_seconds",
            "From taking an attempt in to its answer.",
            buckets=_REPLY_SECONDS,
            registry=registry,
        ),
        watchers=Gauge("flashsale_order_watchers", "Open order event streams.", registry=registry),
    )


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """What a worker process counts."""

    registry: CollectorRegistry
    landed: Counter
    landed_again: Counter
    set_aside: Counter
    expired: Counter
    given_back: Counter
    not_given_back: Counter
    outbox_orders: Gauge
    trouble: Counter


def worker_metrics() -> WorkerMetrics:
    """A fresh set, for one process."""
    registry = CollectorRegistry()

    def counter(name: str, words: str, *labels: str) -> Counter:
        return Counter(f"flashsale_{name}_total", words, labels, registry=registry)

    return WorkerMetrics(
        registry=registry,
        landed=counter("orders_landed", "Orders committed in Postgres."),
        landed_again=counter("orders_landed_again", "Orders read again that were committed before."),
        set_aside=counter("orders_set_aside", "Orders that could not be stored; each needs a person."),
        expired=counter("orders_expired", "Orders that were not paid in time."),
        given_back=counter("units_given_back", "Units put back on sale."),
        not_given_back=counter("units_not_given_back", "Returns that a bucket did not know; they stay waiting."),
        outbox_orders=Gauge("flashsale_outbox_orders", "Orders on their way.", ["sale"], registry=registry),
        trouble=counter("worker_trouble", "Loops that failed and were begun again, by loop.", "loop"),
    )
