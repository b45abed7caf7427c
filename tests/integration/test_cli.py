"""The command line when all is well: every verb from draft to closed, JSON for scripts, who did what, the audit."""

import pytest

from flashsale.operations import Operations
from tests.integration.cli_process import Cli
from tests.integration.conftest import Shops
from tests.integration.shop import plan_text

pytestmark = pytest.mark.servers


async def test_every_verb_from_draft_to_closed(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a plan / When ops take it from draft to closed with --json / Then each tells the sale as it is now."""
    (cli.folder / "plan.toml").write_text(plan_text(sale_name, opens="+1h", closes="+2h"), encoding="utf-8")
    told = cli("sale", "create", "plan.toml", "--json", "--as", "ann").json
    assert (told["sale"], told["state"], told["version"]) == (sale_name, "draft", 1)
    states = []
    for number, verb in enumerate(("load", "open", "pause", "resume", "close")):
        told = cli("sale", verb, sale_name, "--json", "--as", f"ops{number}").json
        states.append((verb, told["state"]))
        if verb == "open":
            told = cli("sale", "add-stock", sale_name, "silver", "7", "--json", "--as", "bob").json
            assert [item["loaded"] for item in told["items"]] == [12, 3]
    assert states == [
        ("load", "loaded"), ("open", "open"), ("pause", "paused"), ("resume", "open"), ("close", "closed"),
    ]  # fmt: skip
    shown = cli("sale", "show", sale_name, "--json").json
    assert (shown["free"], shown["in_buckets"], shown["outbox"]) == ({"silver": 12, "black": 3}, True, 0)
    assert [(line["actor"], line["verb"]) for line in shown["log"]] == [
        ("ann", "create"), ("ops0", "load"), ("ops1", "open"), ("bob", "add-stock"), ("ops2", "pause"),
        ("ops3", "resume"), ("ops4", "close"),
    ]  # fmt: skip
    assert shown["log"][3]["detail"] == {"item": "silver", "units": 7, "from": "open"}
    assert sale_name in [sale["sale"] for sale in cli("sale", "list", "--json").json]


async def test_tables_for_people(cli: Cli, shops: Shops) -> None:
    """Given a sale that sold and an operator who gives no name / Then people read tables with all that counts."""
    shop = await shops()
    await shop.crowd(2)
    await shop.land()
    assert cli("sale", "pause", shop.sale).status == 0
    shown = cli("sale", "show", shop.sale)
    assert shown.status == 0
    for word in (shop.sale, "paused", "silver", "199900 CNY", "pause", "create", "  from open"):
        assert word in shown.out
    assert cli("sale", "list").out.count(shop.sale) == 1
    results = cli("sale", "results", shop.sale)
    assert (results.status, "The last order was accepted at" in results.out) == (0, True)


async def test_results(cli: Cli, shops: Shops) -> None:
    """Given what was bought, paid and cancelled / Then the results tell it by item and by channel."""
    shop = await shops()
    _, second, third = [await shop.buy(fan) for fan in ("alice", "bob", "carol")]
    await shop.land()
    await shop.rows("update orders set state = 'paid' where sale = $1 and fan = 'alice' returning 1")
    await shop.post("bob", f"orders/{second['order']}/cancellation")
    told = cli("sale", "results", shop.sale, "--json").json
    assert told["items"][0] == {
        "item": "silver", "loaded": 5, "sold": 2, "paid": 1, "expired": 0, "cancelled": 1, "refunded": 0, "refused": 0,
        "fans": 2, "amount_minor": 199_900,
    }  # fmt: skip
    assert told["channels"] == [{"channel": "web", "lane": "public", "reserved": 3, "sold": 2, "paid": 1}]
    accepted = await shop.order("carol", third["order"])
    assert told["last_accepted_ms"] == accepted["accepted_ms"]


async def test_the_audit_ends_with_one_when_a_unit_vanished(cli: Cli, shops: Shops) -> None:
    """Given a sale that balances / When a unit vanishes / Then exit 1 and it is named, in both forms."""
    shop = await shops(silver=3)
    await shop.buy("alice")
    await shop.land()
    told = cli("audit", shop.sale, "--json")
    assert (told.status, told.json["balanced"]) == (0, True)
    good = cli("audit", shop.sale)
    assert (good.status, "It balances." in good.out) == (0, True)
    await shop.operations.redis.lpop(shop.bucket.free_key("silver"))
    told = cli("audit", shop.sale, "--json")
    assert told.status == 1
    silver = told.json["items"][0]
    assert (told.json["balanced"], silver["difference"], silver["missing_units"]) == (False, 2, [2, 3])
    bad = cli("audit", shop.sale)
    assert bad.status == 1
    assert "silver: units nowhere: 2, 3" in bad.out
    assert "It does not balance." in bad.out


async def test_a_weekly_plan_is_dated(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a weekly plan / When it is created twice / Then the first is the next occurrence, the second refused."""
    text = plan_text(sale_name, top='repeat = "weekly"\ntime_zone = "Asia/Shanghai"', opens="Tuesday 12:00")
    (cli.folder / "plan.toml").write_text(text, encoding="utf-8")
    told = cli("sale", "create", "plan.toml", "--json").json
    assert told["sale"].startswith(f"{sale_name}-20")
    again = cli("sale", "create", "plan.toml")
    assert (again.status, told["sale"] in again.err) == (2, True)


def test_help_shows_an_example(cli: Cli) -> None:
    """Given somebody new / When they ask for help / Then every verb is listed and examples are given."""
    told = cli("--help").out + cli("sale", "--help").out
    for verb in ("demo", "up", "migrate", "serve", "worker", "doctor", "audit", "rehearse", "bench", "plan", "create",
                 "list", "show", "load", "open", "pause", "resume", "close", "add-stock", "release", "results",
                 "payment"):  # fmt: skip
        assert f" {verb} " in told
    for command in (("sale", "create"), ("sale", "add-stock"), ("audit",), ("serve",), ("up",), ("doctor",)):
        assert "Example: " in cli(*command, "--help").out


@pytest.mark.parametrize("verb", ["rehearse", "soak"])
def test_help_names_the_choices(cli: Cli, verb: str) -> None:
    """Given an option that takes one of few words / When somebody asks for help / Then the words stand beside it."""
    told = cli(verb, "--help").out
    for choices in ("<single|cluster>", "<accepted|replicated|fsynced|confirmed>"):
        assert choices in told
