"""The verdict on a rehearsal: what the crowd was told against what the stores hold."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flashsale.audit import Audit
from flashsale.outcomes import Outcome
from flashsale.queries import Pool, query
from flashsale.sale import Sale
from loadtest.records import COLUMNS, Answers, Seen

LEVELS: Final = ("accepted", "replicated", "fsynced", "confirmed")
_LIVE: Final = ("confirmed", "paid")
_REFUSED: Final = "refused"
_MAYBE: Final = {Outcome.WAIT.value, Outcome.UNKNOWN.value}
_LOST: Final = _MAYBE | {Outcome.SOLD_OUT.value}


@dataclass(frozen=True, slots=True)
class Landed:
    """What Postgres holds of a sale. orders: order id -> fan, item, unit, of all orders whatever their state.

    live: the ids of the live ones; refused: of those that got an apology instead of a unit; aside: of those set aside.
    set_aside: how many of these are not settled. duplicate: live orders beyond what their fan may have; oversold: units
    in two live orders or never loaded.
    """

    orders: Mapping[str, tuple[str, str, int]]
    by_state: Mapping[str, int]
    duplicate: int
    oversold: int
    set_aside: int
    returned: int
    first_accepted_ms: int | None
    last_accepted_ms: Mapping[str, int]
    last_confirmed_ms: int | None
    live: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    aside: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the faults of a run may do to it, and no more.

    ack: the level that the sale promises; lose: levels at which a win may be lost; set_aside: orders that were made
    unstorable; unsold: whether units may be left, as where the crowd goes home before the end.
    """

    ack: str = LEVELS[0]
    lose: frozenset[str] = frozenset()
    set_aside: int = 0
    unsold: bool = False


async def look_at_postgres(postgres: Pool, sale: Sale) -> Landed:
    """Read all orders of a sale and count what the promises forbid."""
    async with postgres.acquire() as connection:
        rows = await connection.fetch(query("verdict", "orders_of_sale"), sale.sale)
        aside = len(await connection.fetch(query("set_aside", "open_units"), sale.sale))
        returned = await connection.fetchval(query("verdict", "returned"), sale.sale)
        known_aside = await connection.fetch(query("verdict", "set_aside_orders"), sale.sale)
    live = [(row["item"], row["unit"]) for row in rows if row["state"] in _LIVE]
    loaded = {item.item: item.loaded for item in sale.items}
    beyond = sum(1 for item, unit in live if unit > loaded.get(item, 0))
    by_state: dict[str, int] = {}
    last_accepted: dict[str, int] = {}
    for row in rows:
        by_state[row["state"]] = by_state.get(row["state"], 0) + 1
        last_accepted[row["item"]] = max(row["accepted_ms"], last_accepted.get(row["item"], 0))
    return Landed(
        orders={str(row["order_id"]): (row["fan"], row["item"], row["unit"]) for row in rows},
        by_state=by_state,
        duplicate=_beyond_limit(Counter(row["fan"] for row in rows if row["state"] in _LIVE), sale.per_fan_limit),
        oversold=len(live) - len(set(live)) + beyond,
        set_aside=aside,
        returned=returned,
        first_accepted_ms=min((row["accepted_ms"] for row in rows), default=None),
        last_accepted_ms=last_accepted,
        last_confirmed_ms=max((row["confirmed_ms"] for row in rows), default=None),
        live=frozenset(str(row["order_id"]) for row in rows if row["state"] in _LIVE),
        refused=frozenset(str(row["order_id"]) for row in rows if row["state"] == _REFUSED),
        aside=frozenset(str(row["order_id"]) for row in known_aside),
    )


async def waiting(postgres: Pool, sale: Sale) -> int:
    """Orders that were set aside and wait for another unit: they are not over yet."""
    async with postgres.acquire() as connection:
        return int(await connection.fetchval(query("verdict", "waiting"), sale.sale))


def _beyond_limit(live_by_fan: Mapping[str, int], limit: int) -> int:
    """How many live orders there are beyond what each fan may have."""
    return sum(max(0, orders - limit) for orders in live_by_fan.values())


def figures(
    *, seen: Seen, landed: Landed, sale: Sale, audited: Audit, opens_ms: int, allowed: Allowed | None = None
) -> dict[str, Any]:
    """The measured part of the result, as docs/REHEARSAL.md describes it. Seconds, and ms where named so."""
    allowed = allowed or Allowed()
    live = landed.by_state.get("confirmed", 0) + landed.by_state.get("paid", 0)
    last_unit = max(landed.last_accepted_ms.values(), default=None)
    selling_s = max((last_unit - opens_ms) / 1000, 0.001) if last_unit else None
    span_s = _span_s(seen.purchases)
    return {
        "units": {
            "loaded": sum(item.loaded for item in sale.items),
            "sold": live,
            "returned": landed.returned,
            "free": sum(item.free for item in audited.items),
        },
        "attempts": {
            "offered": seen.offered,
            "answered": len(seen.purchases),
            "by_outcome": seen.purchases.by_outcome(),
            "transport_errors": seen.transport_errors,
        },
        "orders": {
            "accepted": len(seen.wins),
            "confirmed": len(landed.orders),
            "paid": landed.by_state.get("paid", 0),
            "expired": landed.by_state.get("expired", 0),
            "missing": len(missing(seen, landed, allowed)),
            "lost": len(lost(seen, landed, allowed)),
            "replaced": replaced(seen, landed),
            "refused": len(landed.refused),
            "untold": len(untold(seen, landed)),
            "duplicate": landed.duplicate,
            "oversold": landed.oversold,
            "set_aside": landed.set_aside,
        },
        "seconds": {
            "open_to_first_win": _since(opens_ms, landed.first_accepted_ms),
            "open_to_last_unit": _since(opens_ms, last_unit),
            "open_to_last_confirmed": _since(opens_ms, landed.last_confirmed_ms),
        },
        "sold_out_bound_ms": _sold_out_bound(seen.purchases, sale, landed),
        "latency_ms": {"reservation": _latency(seen.reservations), "purchase": _latency(seen.purchases)},
        "rates": {
            "attempts_per_s": round(len(seen.purchases) / span_s) if span_s else 0,
            "wins_per_s": round(len(seen.wins) / selling_s) if selling_s else 0,
            "confirmed_per_s": round(len(landed.orders) / (_since(opens_ms, landed.last_confirmed_ms) or math.inf)),
        },
        **_moments(seen, opens_ms / 1000),
    }


def _moments(seen: Seen, opens_s: float) -> dict[str, Any]:
    """The busiest second from the crowd's side, and the first."""
    sent = (at for answers in (seen.looks, seen.purchases) for at in answers.sent)
    seconds = Counter(math.floor(at - opens_s) for at in sent)
    busiest = max(seconds.items(), key=lambda one: (one[1], -one[0]), default=(0, 0))[0]
    return {"peak": _second(seen, opens_s, busiest), "opening": _second(seen, opens_s, 0)}


def _second(seen: Seen, opens_s: float, number: int) -> dict[str, Any]:
    """What was sent in one second, counted from the opening: looks and presses, and how the presses were answered."""
    begin, end = opens_s + number, opens_s + number + 1
    presses = Answers()
    for code, item, sent, answered in zip(*(getattr(seen.purchases, name) for name in COLUMNS), strict=True):
        if begin <= sent < end:
            presses.add(code, item, sent, answered)
    looks = sum(begin <= sent < end for sent in seen.looks.sent)
    return {
        "at_s": number,
        "requests": looks + len(presses),
        "looks": looks,
        "by_outcome": presses.by_outcome(),
    }


def gone(seen: Seen, landed: Landed) -> list[str]:
    """Orders that a fan was told of and that Postgres does not hold for this fan and item, not even set aside."""
    return [
        order
        for order, win in seen.wins.items()
        if order not in landed.aside and landed.orders.get(order, ("", ""))[:2] != win[:2]
    ]


def missing(seen: Seen, landed: Landed, allowed: Allowed) -> list[str]:
    """Orders that a fan was told of at the sale's level or above, and that are not there though none may be lost.

    One that was refused is as good as not there, unless its fan has another: then the refusal kept the limit.
    """
    with_order = {landed.orders[order][:2] for order in landed.live}
    refused = [order for order in seen.wins if order in landed.refused and seen.wins[order][:2] not in with_order]
    return [order for order in [*gone(seen, landed), *refused] if _counts(seen.wins[order][3], allowed)]


def lost(seen: Seen, landed: Landed, allowed: Allowed) -> list[str]:
    """The lost tail: orders that a fan was told of at a level at which these faults may lose them."""
    return [order for order in gone(seen, landed) if not _counts(seen.wins[order][3], allowed)]


def _counts(level: str, allowed: Allowed) -> bool:
    """Whether a win told at this level has to be there. A level that is unknown, or none, is held to everything."""
    if level not in LEVELS:
        return True
    return level not in allowed.lose and LEVELS.index(level) >= LEVELS.index(allowed.ack)


def replaced(seen: Seen, landed: Landed) -> int:
    """How many fans got another unit than they were told."""
    return sum(
        1
        for order, (fan, item, unit, _) in seen.wins.items()
        if order not in landed.refused and landed.orders.get(order, (fan, item, unit)) != (fan, item, unit)
    )


def untold(seen: Seen, landed: Landed) -> list[str]:
    """Live orders whose fans were told of none: a retry did not tell the truth.

    By fan, since a late payment may have brought a new order in the place of the one that was told.
    """
    told = {win[0] for win in seen.wins.values()} | set(seen.told_of.values())
    return sorted(order for order in landed.live if landed.orders[order][0] not in told)


def by_level(seen: Seen) -> dict[str, int]:
    """How many wins were told at each level."""
    return dict(Counter(win[3] for win in seen.wins.values()))


def reasons(result: Mapping[str, Any], *, audited: Audit, bound_s: float, allowed: Allowed | None = None) -> list[str]:
    """Why a rehearsal fails; empty when it passes."""
    allowed = allowed or Allowed()
    orders, units = result["orders"], result["units"]
    broken = ("missing", "duplicate", "oversold", "untold")
    found = [f"{orders[name]} orders {name.replace('_', ' ')}" for name in broken if orders[name]]
    if orders["set_aside"] > allowed.set_aside:
        found.append(f"{orders['set_aside']} orders set aside")
    if not audited.balanced:
        found.append("the audit does not balance")
    if units["sold"] + units["free"] != units["loaded"]:
        found.append(f"{units['loaded']} loaded, but {units['sold']} sold and {units['free']} free")
    if units["free"] and not allowed.unsold:
        found.append(f"{units['free']} units were not sold although the crowd is larger than the stock")
    took_s = result["seconds"]["open_to_last_confirmed"]
    if took_s is None or took_s > bound_s:
        found.append(f"open to last confirmed took {took_s} s, the bound is {bound_s} s")
    return found


def _since(opens_ms: int, at_ms: int | None) -> float | None:
    return None if at_ms is None else round((at_ms - opens_ms) / 1000, 3)


def _span_s(answers: Answers) -> float:
    return max(answers.answered) - min(answers.sent) if len(answers) else 0.0


def _latency(answers: Answers) -> dict[str, float]:
    """From sending to the whole answer, in ms."""
    took = sorted((done - sent) * 1000 for sent, done in zip(answers.sent, answers.answered, strict=True))
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {name: _at(took, share) for name, share in shares.items()}


def _sold_out_bound(answers: Answers, sale: Sale, landed: Landed) -> dict[str, float]:
    """How long after the last unit of an item went a fan was still kept from knowing, in ms.

    Of each attempt that lost and was answered after that moment: from then, or from its sending where that is later,
    to its answer; of one that was answered "maybe", always from that moment.
    """
    last_s = [landed.last_accepted_ms.get(item.item, 0) / 1000 for item in sale.items]
    columns = zip(answers.codes, answers.items, answers.sent, answers.answered, strict=True)
    kept = sorted(
        (answered - (last_s[item] if code in _MAYBE else max(last_s[item], sent))) * 1000
        for code, item, sent, answered in columns
        if last_s[item] and code in _LOST and answered > last_s[item]
    )
    return {"p50": _at(kept, 0.5), "p99": _at(kept, 0.99), "max": _at(kept, 1.0)}


def _at(ordered: Sequence[float], share: float) -> float:
    """The value below which that share of them lies (nearest rank)."""
    if not ordered:
        return 0.0
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)
