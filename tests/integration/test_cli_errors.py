"""Bad input on the command line: exit 2, one sentence that names what is wrong, and nothing changed."""

from dataclasses import dataclass
from typing import Final

import pytest

from flashsale import limits
from flashsale.operations import Operations
from flashsale.queries import Pool
from tests.integration.cli_process import Cli, Done
from tests.integration.conftest import Shops
from tests.integration.rows import snapshot
from tests.integration.shop import created, plan_text

pytestmark = pytest.mark.servers

BAD_INPUT: Final = 2


def assert_refused(done: Done, *words: str) -> None:
    """Exit 2 with these words, and no traceback."""
    assert "Traceback" not in done.err, done.err
    assert done.status == BAD_INPUT, done
    assert done.out == ""
    for word in words:
        assert word in done.err, done.err


@dataclass(frozen=True, slots=True)
class BadPlan:
    """A good plan with one change, and what the refusal must name."""

    name: str
    old: str
    new: str
    words: tuple[str, ...]


PLANS: Final = (
    BadPlan("typo_in_a_key", "per_fan_limit", "per_fan_limt", ("per_fan_limt", "is it a typo?")),
    BadPlan("typo_in_an_item", "price_minor", "price", ("items.0.price", "is it a typo?")),
    BadPlan("ends_before_it_opens", 'closes = "+1h"\ncurrency', 'closes = "-2h"\ncurrency', ("closes", "not after")),
    BadPlan("reservation_backwards", 'opens = "-1h"', 'opens = "+2h"', ("reservation.closes", "after")),
    BadPlan("is_over", 'opens = "-1s"', "opens = 2020-01-01T12:00:00Z", ("closes", "in the past")),
    BadPlan("negative_stock", "stock = 5", "stock = -1", ("items.0.stock", "-1")),
    BadPlan("huge_stock", "stock = 5", f"stock = {10**40}", ("items.0.stock",)),
    BadPlan("too_much_stock", "stock = 5", f"stock = {limits.UNITS_PER_ITEM_MAX + 1}", ("items.0.stock",)),
    BadPlan("stock_in_words", "stock = 5", 'stock = "5"', ("items.0.stock",)),
    BadPlan("short_pay_window", "per_fan_limit = 1", "pay_window_s = 1", ("pay_window_s",)),
    BadPlan("no_toml", "sale = ", "sale ", ("not valid TOML",)),
    BadPlan("no_time", '"-1s"', '"noon"', ("opens", "'noon' is not a time")),
    BadPlan("a_day_for_a_time", '"-1s"', "2026-11-24", ("opens",)),
    BadPlan("at_the_end_of_time", '"-1s"', '"+999999999d"', ("opens",)),
    BadPlan("before_all_time", '"-1s"', '"-999999999d"', ("opens",)),
    BadPlan("a_title_that_cant_be_kept", 'en = "Sale"', 'en = "Sa\\u0000le"', ("title",)),
)


@pytest.mark.parametrize("bad", PLANS, ids=lambda one: one.name)
async def test_a_bad_plan(cli: Cli, operations: Operations, sale_name: str, bad: BadPlan) -> None:
    """Given a plan with a fault / When it is to be created / Then the key is named and no sale is there."""
    good = plan_text(sale_name, top="per_fan_limit = 1")
    assert bad.old in good
    (cli.folder / "plan.toml").write_text(good.replace(bad.old, bad.new, 1), encoding="utf-8")
    before = await snapshot(operations.redis, operations.postgres, sale_name)
    assert_refused(cli("sale", "create", "plan.toml"), *bad.words)
    assert await snapshot(operations.redis, operations.postgres, sale_name) == before


async def test_a_plan_that_cant_be_read(cli: Cli, postgres: Pool) -> None:
    """Given no file, a folder, or bytes that are no text / When it is to be created / Then the file is named."""
    (cli.folder / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    (cli.folder / "folder.toml").mkdir()
    for name in ("bytes.toml", "folder.toml"):
        assert_refused(cli("sale", "create", name), f"{name} can't be read: ")
    assert cli("sale", "create", "none.toml").err.strip() == "none.toml: there is no such file"
    assert "Errno" not in cli("sale", "create", "folder.toml").err


async def test_created_twice(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a sale / When one of its name is created / Then it is refused and the first is as it was."""
    (cli.folder / "plan.toml").write_text(plan_text(sale_name), encoding="utf-8")
    assert cli("sale", "create", "plan.toml").status == 0
    before = await snapshot(operations.redis, operations.postgres, sale_name)
    assert_refused(cli("sale", "create", "plan.toml"), sale_name, "another name")
    assert await snapshot(operations.redis, operations.postgres, sale_name) == before


async def test_what_does_not_fit_a_draft(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a draft / When it is opened, paused, resumed, closed or added to / Then: load it first."""
    (cli.folder / "plan.toml").write_text(plan_text(sale_name), encoding="utf-8")
    assert cli("sale", "create", "plan.toml").status == 0
    before = await snapshot(operations.redis, operations.postgres, sale_name)
    for verb in ("open", "pause", "resume", "close"):
        assert_refused(cli("sale", verb, sale_name), f"is draft; {verb} needs", f"flashsale sale load {sale_name}")
    assert_refused(cli("sale", "add-stock", sale_name, "silver", "1"), "is draft", "load it first".capitalize())
    assert await snapshot(operations.redis, operations.postgres, sale_name) == before


async def test_what_does_not_fit_a_loaded_sale(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a loaded sale that opens later / When it is loaded again, paused or resumed / Then nothing changes."""
    await created(operations, plan_text(sale_name, opens="+1h", closes="+2h"))
    before = await snapshot(operations.redis, operations.postgres, sale_name)
    for verb in ("load", "pause", "resume"):
        assert_refused(cli("sale", verb, sale_name), f"{sale_name} is loaded; {verb} needs", "opens by itself")
    assert await snapshot(operations.redis, operations.postgres, sale_name) == before


async def test_what_does_not_fit_a_closed_sale(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a closed sale / When anything is to be done to it / Then it stays closed and nothing changes."""
    await created(operations, plan_text(sale_name))
    assert cli("sale", "close", sale_name).status == 0
    before = await snapshot(operations.redis, operations.postgres, sale_name)
    for verb in ("load", "open", "pause", "resume", "close"):
        assert_refused(cli("sale", verb, sale_name), f"{sale_name} is closed", "stays closed")
    assert_refused(cli("sale", "add-stock", sale_name, "silver", "1"), "is closed")
    assert await snapshot(operations.redis, operations.postgres, sale_name) == before


@pytest.mark.parametrize("name", ["nosuch", "a" * 5000, "Robert'); drop table sales;--", "米", "[/red]", ""])
async def test_an_unknown_sale(cli: Cli, postgres: Pool, name: str) -> None:
    """Given no sale of that name / When any verb names it / Then it says so, and how to see all."""
    for verb in ("show", "load", "open", "results"):
        assert_refused(cli("sale", verb, name), f"There is no sale {name}", "flashsale sale list")
    assert_refused(cli("sale", "add-stock", name, "silver", "1"), "There is no sale")
    assert_refused(cli("audit", name), "There is no sale")


async def test_bad_stock(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a sale / When no, too many or unreadable units are added, or to an unknown item / Then nothing changes."""
    await created(operations, plan_text(sale_name, opens="+1h", closes="+2h"))
    before = await snapshot(operations.redis, operations.postgres, sale_name)
    most = limits.UNITS_PER_ITEM_MAX
    for item, units, words in (
        ("gold", "1", "has no item gold"),
        ("silver", "0", f"must be 1 to {most}, not 0"),
        ("silver", str(most + 1), "must be 1 to"),
        ("silver", str(10**40), "must be 1 to"),
        ("silver", str(most), "more than"),  # five are loaded already
        ("silver", "-5", "-5"),
        ("silver", "many", "'UNITS'"),
    ):
        assert_refused(cli("sale", "add-stock", sale_name, item, units), words)
    # After "--" a number below zero is a number and not an option.
    assert_refused(cli("sale", "add-stock", sale_name, "silver", "--", "-5"), "must be 1 to")
    assert await snapshot(operations.redis, operations.postgres, sale_name) == before


async def test_loading_what_is_over(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a draft whose end has come / When it is loaded / Then it is refused and stays a draft without units."""
    (cli.folder / "plan.toml").write_text(plan_text(sale_name), encoding="utf-8")
    assert cli("sale", "create", "plan.toml").status == 0
    await operations.postgres.execute("update sales set opens_ms = 1, closes_ms = 2 where sale = $1", sale_name)
    before = await snapshot(operations.redis, operations.postgres, sale_name)
    assert_refused(cli("sale", "load", sale_name), "should have closed at 1970")
    assert await snapshot(operations.redis, operations.postgres, sale_name) == before


async def test_words_in_brackets_are_shown(cli: Cli, shops: Shops) -> None:
    """Given a title and an operator with [brackets] in their names / When the sale is shown / Then they stand there."""
    shop = await shops()
    await shop.rows('update sales set title = \'{"zh": "[/新]", "en": "Mi 3 [/new]"}\' where sale = $1 returning 1')
    assert cli("sale", "add-stock", shop.sale, "silver", "1", "--as", "ann [/ops]").status == 0
    done = cli("sale", "show", shop.sale)
    assert done.status == 0, done.err
    assert "Mi 3 [/new]" in done.out
    assert "ann [/ops]" in done.out
