"""The ledger on a real Postgres: sales are written down whole or not at all, and who did what stays."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from flashsale import ledger, plan
from flashsale.errors import BadInputError, NotFoundError, StateError
from flashsale.plan import Plan
from flashsale.queries import Pool
from flashsale.sale import Entry, Sale, State, Verb
from tests.support.samples import PLAN

pytestmark = pytest.mark.servers
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def written(name: str) -> Plan:
    """The sample plan under this name."""
    return plan.read(PLAN.replace('"mi3"', f'"{name}"', 1))


async def created(postgres: Pool, name: str) -> Sale:
    """The sample sale as a draft."""
    read = written(name)
    async with postgres.acquire() as connection:
        return await ledger.create(connection, read, plan.times(read, now=NOW), weekly_from=None, actor="tester")


async def test_a_sale_is_read_back_as_it_was_planned(postgres: Pool, sale_name: str) -> None:
    """Given the sample plan / When it is created / Then the sale has all of it, as a draft without units."""
    sale = await created(postgres, sale_name)
    assert (sale.sale, sale.state, sale.version, sale.entry) == (sale_name, State.DRAFT, 1, Entry.RESERVATION)
    assert [(item.item, item.title.zh, item.price_minor, item.loaded) for item in sale.items] == [
        ("silver", "银色", 199900, 0),
        ("black", "黑色", 199900, 0),
    ]
    assert sale.reservation is not None
    assert sale.reservation.closes_ms < sale.opens_ms < sale.closes_ms
    async with postgres.acquire() as connection:
        stored, weekly = await ledger.plan_of(connection, sale_name)
        assert plan.times(plan.from_data(stored), now=NOW) == plan.times(written(sale_name), now=NOW)
        assert weekly is None
        assert sale_name not in {one.sale for one in await ledger.every(connection, drafts=False)}
        assert sale_name in {one.sale for one in await ledger.every(connection, drafts=True)}


async def test_a_name_is_taken_once(postgres: Pool, sale_name: str) -> None:
    """When a sale of that name is created again / Then it is refused, and the first is as it was."""
    first = await created(postgres, sale_name)
    with pytest.raises(BadInputError, match="already"):
        await created(postgres, sale_name)
    async with postgres.acquire() as connection:
        assert await ledger.find(connection, sale_name) == first
        assert [line.verb for line in await ledger.log_of(connection, sale_name)] == ["create"]


async def test_moves_are_logged_and_refusals_change_nothing(postgres: Pool, sale_name: str) -> None:
    """Given a draft / When it is loaded, loaded twice, opened / Then the state, version and log tell what was done."""
    await created(postgres, sale_name)
    async with postgres.acquire() as connection:
        loaded = await ledger.move(connection, sale_name, Verb.LOAD, actor="ann", detail={"by": "hand"})
        assert (loaded.state, loaded.version) == (State.LOADED, 2)
        with pytest.raises(StateError):
            await ledger.move(connection, sale_name, Verb.LOAD, actor="bob", detail={})
        assert await ledger.find(connection, sale_name) == loaded
        opened = await ledger.move(connection, sale_name, Verb.OPEN, actor="ann", detail={})
        assert (opened.state, opened.version) == (State.OPEN, 3)
        log = await ledger.log_of(connection, sale_name)
        assert [(line.actor, line.verb) for line in log] == [("tester", "create"), ("ann", "load"), ("ann", "open")]
        assert log[1].detail == {"by": "hand", "from": "draft"}


async def test_an_unknown_sale(postgres: Pool, sale_name: str) -> None:
    """Given no sale of that name / Then finding, moving and stocking say so."""
    async with postgres.acquire() as connection:
        with pytest.raises(NotFoundError, match=sale_name):
            await ledger.find(connection, sale_name)
        with pytest.raises(NotFoundError):
            await ledger.move(connection, sale_name, Verb.OPEN, actor="ann", detail={})
        with pytest.raises(NotFoundError):
            await ledger.plan_of(connection, sale_name)


async def test_the_clock_loses_against_a_hand(postgres: Pool, sale_name: str) -> None:
    """Given a loaded sale / When ops close it just before the clock's opening is noted / Then closed stays."""
    await created(postgres, sale_name)
    async with postgres.acquire() as connection:
        loaded = await ledger.move(connection, sale_name, Verb.LOAD, actor="ann", detail={})
        await ledger.move(connection, sale_name, Verb.CLOSE, actor="ann", detail={})
        assert await ledger.settle(connection, loaded, State.OPEN) is None
        assert (await ledger.find(connection, sale_name)).state is State.CLOSED


async def test_units_are_numbered_on_without_gaps(postgres: Pool, sale_name: str) -> None:
    """When many add stock at once / Then the ranges join up, each unit is made once, and loads wait until applied."""
    sale = await created(postgres, sale_name)

    async def make(units: int) -> list[ledger.StockLoad]:
        async with postgres.acquire() as connection:
            return await ledger.make_units(connection, sale, "silver", units)

    loads = [load for made in await asyncio.gather(*map(make, (5, 1, 7, 3))) for load in made]
    units = sorted(unit for load in loads for unit in range(load.unit_from, load.unit_to + 1))
    assert units == list(range(1, 17))
    async with postgres.acquire() as connection:
        waiting = await ledger.loads_waiting(connection, sale_name)
        assert {load.load for load in waiting} == {load.load for load in loads}
        for load in (*waiting, *waiting):
            await ledger.load_applied(connection, load)
        assert await ledger.loads_waiting(connection, sale_name) == []
        with pytest.raises(NotFoundError):
            await ledger.make_units(connection, sale, "gold", 1)


async def test_an_item_has_at_most_seven_digits_of_units(postgres: Pool, sale_name: str) -> None:
    """Given an item with all units that there may be / When one more is made / Then Postgres refuses it."""
    sale = await created(postgres, sale_name)
    async with postgres.acquire() as connection:
        await ledger.make_units(connection, sale, "silver", 9_999_999)
        with pytest.raises(asyncpg.CheckViolationError):
            await ledger.make_units(connection, sale, "silver", 1)
        assert (await ledger.find(connection, sale_name)).items[0].loaded == 9_999_999
