"""What ops are told is what fans see: closed buckets, units that are not on sale yet, times that ops have changed."""

from datetime import datetime, timedelta

import pytest

from flashsale import order
from flashsale.clock import from_ms
from flashsale.operations import Operations
from tests.integration.cli_process import Cli
from tests.integration.conftest import Shops
from tests.integration.hall import Halls
from tests.integration.shop import created, plan_text
from tests.integration.test_set_aside import Odd, put

pytestmark = pytest.mark.servers


async def test_a_sale_with_a_closed_bucket(cli: Cli, halls: Halls) -> None:
    """Given a sale of which one bucket of two is empty / When ops look / Then it is unavailable, as for fans, and how
    many units are free is not known; when it is recovered, both are told again."""
    shop = await halls(2)
    name = shop.sale.sale
    assert (told := cli("sale", "show", name, "--json").json)["unavailable"] is False
    assert told["free"] == {"silver": 40, "black": 3}
    await shop.lose(shop.sale.all_buckets[0])
    told = cli("sale", "show", name, "--json").json
    assert (told["state"], told["unavailable"], told["free"]) == ("open", True, {"silver": None, "black": None})
    shown = cli("sale", "show", name).out
    assert "state unavailable: 1 of 2 buckets is closed until recovered (else open)" in shown
    (line,) = [line for line in cli("sale", "list").out.splitlines() if name in line.split()]
    assert line.split()[1] == "unavailable"
    assert {one["sale"]: one["unavailable"] for one in cli("sale", "list", "--json").json}[name] is True
    assert "1 bucket is closed until it is recovered, and not counted" in shown
    (silver,) = [line.split() for line in shown.splitlines() if line.startswith("silver")]
    assert silver == ["silver", "199900", "CNY", "40", "?", "0"]
    await shop.recover()
    assert "state open\n" in cli("sale", "show", name).out


async def test_the_audit_tells_of_closed_buckets_first(cli: Cli, halls: Halls) -> None:
    """Given a sale without one bucket, then without both / When it is audited / Then that stands before the units that
    are nowhere for it."""
    shop = await halls(2)
    for bucket, words in zip(shop.sale.all_buckets, ("1 bucket is closed", "2 buckets are closed"), strict=True):
        await shop.lose(bucket)
        told = cli("audit", shop.sale.sale)
        assert told.status == 1
        assert 0 < told.out.index(words) < told.out.index("units nowhere"), told.out


async def test_one_order_that_is_set_aside(cli: Cli, shops: Shops) -> None:
    """Given an entry that can't be read / When ops look at the sale, or audit it / Then both tell it."""
    shop = await shops()
    await put(shop, Odd("other", {"what": "ever"}, order.UNREADABLE))
    await shop.land()
    assert cli("sale", "show", shop.sale, "--json").json["set_aside"] == 1
    for verb in (("sale", "show"), ("audit",)):
        assert f"1 order is set aside and not settled: flashsale outbox list {shop.sale}" in cli(*verb, shop.sale).out


async def test_more_units_are_on_sale_when_they_are(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a sale that opens later, is open, and paused / When units are added / Then each says whether they are on
    sale, or when they will be."""
    await created(operations, plan_text(sale_name, opens="+1h", closes="+2h"))
    add = ("sale", "add-stock", sale_name, "silver")
    assert "1 more unit of silver: loaded, on sale when it opens at 20" in cli(*add, "1").out
    assert cli("sale", "open", sale_name).status == 0
    assert "2 more units of silver: on sale." in cli(*add, "2").out
    assert cli("sale", "pause", sale_name).status == 0
    assert f"The sale is paused; go on with: flashsale sale resume {sale_name}" in cli(*add, "2").out


async def test_more_units_while_a_bucket_is_closed(cli: Cli, halls: Halls) -> None:
    """Given a sale without one bucket / When units are added / Then they are noted and on sale when it is recovered."""
    shop = await halls(2)
    name = shop.sale.sale
    await shop.lose(shop.sale.all_buckets[0])
    told = cli("sale", "add-stock", name, "silver", "3").out
    assert f"noted, loaded once 1 bucket is recovered. See: flashsale recover {name} --dry-run" in told
    await shop.recover()
    await shop.operations.settle(shop.sale)
    assert cli("sale", "show", name, "--json").json["free"]["silver"] == 43


async def test_a_draft_tells_its_planned_units(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a plan of eight units / When it is written down / Then they are told as planned, and when it opens."""
    (cli.folder / "plan.toml").write_text(plan_text(sale_name, opens="+1h", closes="+2h"), encoding="utf-8")
    told = cli("sale", "create", "plan.toml").out
    assert f"Sale {sale_name} is draft; 8 units planned, opens 20" in told
    assert f"Next: flashsale sale load {sale_name}" in told


async def test_times_that_ops_have_changed(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a sale that opens in an hour / When ops open and close it now / Then that is told, with the plan beside it;
    each line of the log has its time with its zone for scripts, and words for people."""
    await created(operations, plan_text(sale_name, opens="+1h", closes="+2h"))
    assert "state loaded\nopens 20" in cli("sale", "show", sale_name).out
    assert "8 units, closes 20" in cli("sale", "open", sale_name, "--as", "ann").out
    assert cli("sale", "close", sale_name, "--as", "bob").out.strip().endswith("is closed; 8 units.")
    shown = cli("sale", "show", sale_name).out
    for words in (
        "state closed\nopened 20",
        " UTC by ann (planned 20",
        ", closed 20",
        " UTC by bob (planned 20",
        "from open",
    ):
        assert words in shown
    told = cli("sale", "show", sale_name, "--json").json
    at = datetime.fromisoformat(told["log"][-1]["at"])
    assert at.utcoffset() == timedelta(0)
    assert timedelta(0) < from_ms(told["closes_ms"]) - at < timedelta(hours=3)
