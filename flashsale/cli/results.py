"""flashsale sale results: what was loaded and sold, to how many, through which channel, when the last unit went."""

from collections.abc import Mapping
from typing import Any

from flashsale import ledger, payment, stock
from flashsale.cli import show
from flashsale.cli.options import Json, Name
from flashsale.cli.run import opened, run
from flashsale.queries import query
from flashsale.rights import LANE_PUBLIC
from flashsale.sale import Sale


def results(
    sale: Name,
    json: Json = False,
) -> None:
    """What was sold, to how many fans, for how much, through which channel."""
    data = run(_gather(sale))
    if json:
        show.json(data)
    else:
        shown(data)


def shown(data: Mapping[str, Any]) -> None:
    """The results for a person."""
    sale = data["sale"]
    show.table(
        ("item", "loaded", "sold", "paid", "fans", "amount (minor)"),
        [(i["item"], i["loaded"], i["sold"], i["paid"], i["fans"], i["amount_minor"]) for i in data["items"]],
        title=f"Results of {sale}, {data['currency']}",
    )
    show.table(
        ("item", "expired", "cancelled", "refunded", "refused"),
        [(i["item"], i["expired"], i["cancelled"], i["refunded"], i["refused"]) for i in data["items"]],
        title="Orders that are over",
    )
    show.table(
        ("channel", "lane", "reserved", "sold", "paid"),
        [(c["channel"], c["lane"], c["reserved"], c["sold"], c["paid"]) for c in data["channels"]],
    )
    show.table(
        ("payments", "number", "amount (minor)"),
        [(state, p["payments"], p["amount_minor"]) for state, p in data["payments"].items()],
    )
    if due := data["payments"][payment.State.REFUND_DUE]["payments"]:
        show.text(f"[yellow]{due} payments are to go back: flashsale payment list {sale} --state refund_due[/yellow]")
    show.text(_last(data))


def _last(data: Mapping[str, Any]) -> str:
    """When the last order came; that was the last unit where all are sold."""
    if not data["last_accepted_ms"]:
        return "Nothing was sold yet."
    gone = all(item["sold"] == item["loaded"] for item in data["items"])
    return f"The last {'unit went' if gone else 'order was accepted'} at {show.moment(data['last_accepted_ms'])}."


async def _gather(name: str) -> dict[str, Any]:
    async with opened() as both, both.postgres.acquire() as connection:
        sale = await ledger.find(connection, name)
        totals = await connection.fetch(query("orders", "totals"), name)
        channels = await connection.fetch(query("orders", "by_channel"), name)
        payments = await connection.fetch(query("payments", "payments_by_item"), name)
        facts = await stock.facts(both.redis, sale.all_buckets)
    return {
        "sale": name,
        "state": sale.state,
        "currency": sale.currency,
        "reserved": sum(one.reserved for one in facts),
        "items": [_item(item.item, item.loaded, totals) for item in sale.items],
        "payments": {state: _payments(state, payments) for state in payment.State},
        "channels": [
            {
                "channel": row["channel"],
                "lane": row["lane"],
                "reserved": _reserved(sale, facts, row["channel"]) if row["lane"] == LANE_PUBLIC else 0,
                "sold": row["live"],
                "paid": row["paid"],
            }
            for row in channels
        ],
        "last_accepted_ms": max((row["last_accepted_ms"] for row in totals), default=None),
    }


def _item(item: str, loaded: int, totals: list[Any]) -> dict[str, Any]:
    by_state = {row["state"]: row for row in totals if row["item"] == item}

    def count(*states: str, of: str = "orders") -> int:
        return sum(by_state[state][of] for state in states if state in by_state)

    return {
        "item": item,
        "loaded": loaded,
        "sold": count("confirmed", "paid"),
        "paid": count("paid"),
        "expired": count("expired"),
        "cancelled": count("cancelled"),
        "refunded": count("refunded"),
        "refused": count("refused"),
        "fans": count("confirmed", "paid", of="fans"),
        "amount_minor": count("paid", of="amount_minor"),
    }


def _payments(state: payment.State, rows: list[Any]) -> dict[str, int]:
    """How many payments are in this state, and their sum."""
    found = [row for row in rows if row["state"] == state]
    return {
        "payments": sum(row["payments"] for row in found),
        "amount_minor": sum(row["amount_minor"] for row in found),
    }


def _reserved(sale: Sale, facts: list[stock.BucketFacts], channel: str) -> int:
    if channel not in sale.channels:
        return 0
    number = sale.channels.index(channel)
    return sum(one.reserved_by_channel.get(number, 0) for one in facts)
