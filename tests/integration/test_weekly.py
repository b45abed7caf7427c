"""A weekly sale is planned once: when one week's closes, by the clock or by ops, the next week's is drafted."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from flashsale import ledger, plan
from flashsale.clock import from_ms
from flashsale.config import Settings
from flashsale.errors import BadInputError
from flashsale.operations import Operations
from flashsale.sale import Sale, State, Verb
from tests.integration.processes import working
from tests.integration.shop import plan_text
from tests.support.waiting import soon

pytestmark = pytest.mark.servers

ZONE = ZoneInfo("Asia/Shanghai")
WEEKLY = 'repeat = "weekly"\ntime_zone = "Asia/Shanghai"'


async def this_week(operations: Operations, name: str, *, closes_in: timedelta) -> Sale:
    """The occurrence that opened last Tuesday at noon and closes so much from now; loaded."""
    now = datetime.now(UTC)
    noon = now.astimezone(ZONE).replace(hour=12, minute=0, second=0, microsecond=0)
    opened = noon - timedelta(days=(noon.weekday() - 1) % 7)
    opened -= timedelta(days=7) if opened > now else timedelta()
    closes_ms = round((now + closes_in - opened) / timedelta(milliseconds=1))
    text = plan_text(name, top=WEEKLY, opens="Tuesday 12:00", closes=f"+{closes_ms}ms")
    sale = await operations.create(plan.read(text), now=opened - timedelta(days=1))
    assert from_ms(sale.opens_ms) == opened
    return await operations.load(sale.sale)


async def occurrences(operations: Operations, name: str) -> list[Sale]:
    """All of this plan, by opening time."""
    async with operations.postgres.acquire() as connection:
        every = await ledger.every(connection, drafts=True)
    return [sale for sale in every if sale.sale.startswith(f"{name}-")]


async def drafted(operations: Operations, name: str) -> Sale:
    """The next week's, once it is there."""

    async def is_there() -> bool:
        return len(await occurrences(operations, name)) > 1

    await soon(is_there, what="the next week's sale is drafted")
    first, following = await occurrences(operations, name)
    assert following.opens_ms > first.opens_ms
    return following


def assert_a_week_later(first: Sale, following: Sale) -> None:
    """Tuesday noon on the wall clock, seven days later, under its own date."""
    opens = from_ms(following.opens_ms).astimezone(ZONE)
    assert (opens.weekday(), opens.hour, opens.minute) == (1, 12, 0)
    assert opens.date() - from_ms(first.opens_ms).astimezone(ZONE).date() == timedelta(days=7)
    assert following.sale.endswith(opens.date().isoformat())
    assert following.state is State.DRAFT
    assert following.generation != first.generation


async def test_drafted_when_the_clock_closes(operations: Operations, settings: Settings, sale_name: str) -> None:
    """Given this week's sale / When its end comes / Then next week's is a draft, once, and the log says who did it."""
    first = await this_week(operations, sale_name, closes_in=timedelta(milliseconds=1500))
    async with working(settings):
        following = await drafted(operations, sale_name)
    assert_a_week_later(first, following)
    assert await operations.next_occurrence(first.sale) is None
    assert len(await occurrences(operations, sale_name)) == 2
    async with operations.postgres.acquire() as connection:
        assert [(line.actor, line.verb) for line in await ledger.log_of(connection, following.sale)] == [
            ("worker", "create")
        ]
        closed = [(line.actor, line.verb) for line in await ledger.log_of(connection, first.sale)]
    assert closed == [("ops", "create"), ("ops", "load"), ("clock", "open"), ("clock", "closed")]


async def test_drafted_when_ops_close(operations: Operations, settings: Settings, sale_name: str) -> None:
    """Given this week's sale / When ops close it by command / Then next week's is drafted all the same."""
    first = await this_week(operations, sale_name, closes_in=timedelta(hours=1))
    async with working(settings):
        await operations.move(first.sale, Verb.CLOSE)
        assert_a_week_later(first, await drafted(operations, sale_name))


async def test_drafted_when_somebody_else_noted_the_close(
    operations: Operations, settings: Settings, sale_name: str
) -> None:
    """Given a sale whose end an operator's command noted first / When a worker runs / Then next week's is drafted."""
    first = await this_week(operations, sale_name, closes_in=timedelta(milliseconds=300))

    async def noted() -> bool:
        async with operations.postgres.acquire() as connection:
            current = await ledger.find(connection, first.sale)
        return (await operations.note_clock(current)).state is State.CLOSED

    await soon(noted, what="the end is noted")
    async with working(settings):
        assert_a_week_later(first, await drafted(operations, sale_name))


async def test_the_next_is_there_already(operations: Operations, sale_name: str) -> None:
    """Given next week's sale drafted by hand / When this week's closes / Then nothing is made twice."""
    first = await this_week(operations, sale_name, closes_in=timedelta(hours=1))
    by_hand = await operations.next_occurrence(first.sale)
    assert by_hand is not None
    assert await operations.next_occurrence(first.sale) is None
    with pytest.raises(BadInputError, match="give this one another name"):
        await operations.create(
            plan.read(plan_text(sale_name, top=WEEKLY, opens="Tuesday 12:00")), now=from_ms(first.opens_ms)
        )
    assert_a_week_later(first, by_hand)


async def test_a_sale_of_one_day_has_no_next(operations: Operations, sale_name: str) -> None:
    """Given a sale that is not weekly / Then it has no next occurrence."""
    sale = await operations.create(plan.read(plan_text(sale_name)))
    assert await operations.next_occurrence(sale.sale) is None
