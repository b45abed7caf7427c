"""flashsale outbox: what was set aside is listed, shown, replayed when it is mended, compensated, and written down."""

import json
import uuid
from typing import Any, Final

import pytest

from flashsale import order, outbox
from flashsale.operations import Operations
from tests.integration.cli_process import Cli
from tests.integration.conftest import Shops
from tests.integration.shop import Data, Shop, created, plan_text
from tests.integration.test_cli_errors import assert_refused
from tests.integration.test_replaced import aside, audit_is, live, long_waited, sold_twice
from tests.integration.test_set_aside import HEAD, Odd, line, put

pytestmark = pytest.mark.servers
NOBODY: Final = "0197a5c0-7b1e-7c3a-9f52-3d1b8e6f4a21"
GOLD: Final = Odd("unknown_item", HEAD | {"item": "gold", line(): "1"}, order.NO_SUCH_ITEM)


async def refused(shop: Shop) -> Data:
    """An order that was refused, since no unit was left."""
    (win,) = await sold_twice(shop, ["alice"], ["bob"])
    await long_waited(shop)
    await shop.settle_aside()
    return win


async def logged(shop: Shop, verb: str) -> list[tuple[str, Any]]:
    """Who did this, and to what."""
    rows = await shop.rows("select actor, verb, detail from ops_log where sale = $1 order by id")
    return [(row["actor"], row["detail"]) for row in rows if row["verb"] == verb]


async def numbers(shop: Shop) -> dict[str, str]:
    """State to the number of what was set aside."""
    rows = await shop.rows("select order_id, state from set_aside where sale = $1")
    return {row["state"]: str(row["order_id"]) for row in rows}


async def test_listed_and_shown(cli: Cli, shops: Shops) -> None:
    """Given an order that waits and an entry that can't be read / When they are listed and shown, as text and as JSON /
    Then each says its state, why, what was tried, and what to do."""
    shop = await shops()
    assert "No order" in cli("outbox", "list", shop.sale).out
    (win,) = await sold_twice(shop, ["alice"], ["bob"])
    await put(shop, Odd("other", {"what": "[b]ever"}, order.UNREADABLE))
    await shop.land()
    listed = cli("outbox", "list", shop.sale, "--json").json
    assert [(one["state"], one["fan"], one["tried_units"]) for one in listed] == [
        ("waiting", "bob", [1]), ("unreadable", None, []),
    ]  # fmt: skip
    (only,) = cli("outbox", "list", shop.sale, "--state", "waiting", "--json").json
    assert (only["order"], only["reason"]) == (win["order"], order.UNIT_TAKEN)
    for word in ("waiting", "bob", "silver"):
        assert word in cli("outbox", "list", shop.sale).out
    assert "is refused" in cli("outbox", "list", shop.sale, "--state", "refused").out
    shown = cli("outbox", "show", win["order"])
    for words in ("waits for another unit", order.UNIT_TAKEN, "fan bob", "refused: 1", "as it stood in the outbox"):
        assert words in shown.out
    await shop.settle_aside()
    assert "gave 2" in cli("outbox", "show", win["order"]).out
    assert cli("outbox", "show", win["order"], "--json").json["offered_unit"] == 2
    unreadable = cli("outbox", "show", listed[1]["order"])
    assert "needs a person" in unreadable.out
    assert "[b]ever" in unreadable.out


async def test_compensated(cli: Cli, shops: Shops) -> None:
    """Given a refused order / When ops note what they did for its fan, twice / Then it is noted and logged once;
    another note is refused."""
    shop = await shops(silver=1)
    win = await refused(shop)
    assert_refused(cli("outbox", "replay", win["order"]), "was refused", "outbox compensate")
    note = ("--note", "a coupon of 100", "--as", "ann")
    assert "is compensated: a coupon of 100" in cli("outbox", "compensate", win["order"], *note).out
    assert cli("outbox", "compensate", win["order"], *note, "--json").json["state"] == "compensated"
    assert await logged(shop, "compensate") == [("ann", {"order": win["order"], "note": "a coupon of 100"})]
    assert "note: a coupon of 100" in cli("outbox", "show", win["order"]).out
    before = await shop.snapshot()
    assert_refused(cli("outbox", "compensate", win["order"], "--note", "two"), "compensated already", "a coupon of 100")
    assert_refused(cli("outbox", "replay", win["order"]), "compensated already", "a coupon of 100")
    assert "its fan was told" in cli("outbox", "show", win["order"]).out
    assert await shop.snapshot() == before
    assert (await shop.order("bob", win["order"]))["state"] == "refused"


async def test_nobody_is_told_of_what_nobody_can_read(cli: Cli, shops: Shops) -> None:
    """Given entries of no fan, and of an item that is none / When ops settle them with a note / Then they read that
    nobody was told; and a replay names the note and does not ask for one."""
    shop = await shops()
    await put(shop, Odd("other", {"what": "ever"}, order.UNREADABLE))
    await put(shop, GOLD)
    await shop.land()
    rows = cli("outbox", "list", shop.sale, "--json").json
    assert {row["fan"] for row in rows} == {None, "mallory"}
    for row in rows:
        assert cli("outbox", "compensate", row["order"], "--note", "nothing to do").status == 0
        shown = cli("outbox", "show", row["order"]).out
        assert ("nobody was told" in shown, "its fan was told" in shown) == (True, False)
        replayed = cli("outbox", "replay", row["order"])
        assert_refused(replayed, "compensated already", "nothing to do")
        assert "outbox compensate" not in replayed.err


async def test_what_needs_a_person_is_compensated(cli: Cli, shops: Shops) -> None:
    """Given orders that a person must see to / When ops give up on them and compensate their fans / Then an order whose
    item is there is refused, so that its fan is told and its unit comes back; the audit balances."""
    shop = await shops(silver=2)
    win = await shop.buy("bob")
    await strange(shop, win)
    await put(shop, GOLD)
    await shop.land()
    await audit_is(shop, free=1, live=0, set_aside=2)
    for row in cli("outbox", "list", shop.sale, "--json").json:
        assert row["state"] == "unreadable"
        assert cli("outbox", "compensate", row["order"], "--note", "sent one by post").status == 0
    assert (await shop.order("bob", win["order"]))["state"] == "refused"
    await shop.settle_aside()
    assert await shop.give_back() == 1
    await audit_is(shop, free=2, live=0)


async def strange(shop: Shop, win: Data) -> None:
    """An order is set aside for a reason that this version does not know."""
    entries = await outbox.read(shop.operations.redis, shop.bucket, after="0", count=9)
    (wins,) = [entry.wins for entry in entries]
    await shop.operations.postgres.execute(
        "insert into set_aside (order_id, sale, bucket, entry, content, reason, state, win, tried)"
        " values ($1, $2, 0, '1-1', 'text', 'a constraint refuses it: of_tomorrow', 'unreadable', $3, $4)",
        uuid.UUID(win["order"]), shop.sale, wins[0]._asdict(), [win["unit"]],
    )  # fmt: skip
    await outbox.trim(shop.operations.redis, shop.bucket, entries)


async def gold(shop: Shop, units: int) -> None:
    """The item that was not there is there, with so many units."""
    await shop.operations.postgres.execute(
        "insert into items (sale, item, place, title, price_minor, loaded)"
        " select sale, 'gold', 9, title, 5, $2 from items where sale = $1 and item = 'silver'", shop.sale, units,
    )  # fmt: skip


async def test_replayed_when_the_cause_is_mended(cli: Cli, shops: Shops) -> None:
    """Given an order of an item that was not there / When it is replayed before, and after the item is there / Then it
    is refused with the reason, then it lands; a repeat changes nothing."""
    shop = await shops()
    await put(shop, GOLD)
    await shop.land()
    number = (await numbers(shop))["unreadable"]
    before = await shop.snapshot()
    assert_refused(cli("outbox", "replay", number), "still can't land", order.NO_SUCH_ITEM)
    assert await shop.snapshot() == before
    await gold(shop, 1)
    assert "1 orders have landed" in cli("outbox", "replay", number, "--as", "ann").out
    assert await live(shop) == {"mallory": 1}
    assert await numbers(shop) == {"replayed": number}
    before = await shop.snapshot()
    assert cli("outbox", "replay", number, "--json").json[0]["state"] == "replayed"
    assert await shop.snapshot() == before
    assert await logged(shop, "replay") == [("ann", {"order": number, "landed": 1, "waiting": 0})]
    assert_refused(cli("outbox", "compensate", number, "--note", "x"), "landed with unit 1")


async def test_replayed_and_its_unit_is_gone(cli: Cli, shops: Shops) -> None:
    """Given an order of an item that was not there / When the item is there, its unit in another order, and it is
    replayed / Then it waits for another unit, for that reason, and gets one."""
    shop = await shops()
    await put(shop, GOLD)
    await shop.land()
    await gold(shop, 2)
    await put(shop, Odd("rival", HEAD | {"item": "gold", line(fan="rival"): "1"}, ""))
    await shop.land()
    number = (await numbers(shop))["unreadable"]
    assert "waits for another unit" in cli("outbox", "replay", number).out
    assert await aside(shop) == [("waiting", order.UNIT_TAKEN, [1])]
    await shop.operations.redis.rpush(shop.bucket.free_key("gold"), "2-2")
    await shop.settle_aside()
    await shop.land()
    assert await live(shop) == {"rival": 1, "mallory": 2}


async def test_an_entry_that_a_newer_version_can_read(cli: Cli, shops: Shops) -> None:
    """Given entries of which nothing could be read / When a sale is replayed / Then those that can be read now land, or
    wait for another unit; the others say why, and the exit status is 2."""
    shop = await shops()
    await shop.buy("alice")
    await put(shop, Odd("other", {"what": "ever"}, order.UNREADABLE))
    await put(shop, Odd("later", {"when": "noon"}, order.UNREADABLE))
    await shop.land()
    good = HEAD | {line(fan="bob"): "2", line(fan="carol"): "1"}
    pairs = [[name.encode().hex(), value.encode().hex()] for name, value in good.items()]
    await shop.operations.postgres.execute(
        "update set_aside set fields = $2 where sale = $1 and content like 'when%'", shop.sale, {"pairs": pairs}
    )
    told = cli("outbox", "replay", "--sale", shop.sale, "--json")
    assert (told.status, "1 of 2" in told.err) == (2, True)
    by_state = {one["state"]: one for one in json.loads(told.out)}
    assert (by_state["replayed"]["landed"], by_state["replayed"]["waiting"]) == (1, 1)
    assert "still can't be read" in by_state["unreadable"]["refusal"]
    assert await live(shop) == {"alice": 1, "bob": 2}
    assert set(await numbers(shop)) == {"replayed", "unreadable", "waiting"}


async def test_a_row_from_before(cli: Cli, shops: Shops) -> None:
    """Given a row that an older version wrote for a unit that was another's / When it is replayed / Then it waits for
    another unit, and gets one; one of which only text is kept says so."""
    shop = await shops()
    (win,) = await sold_twice(shop, ["alice"], ["bob"])
    await shop.rows("update set_aside set state = 'unreadable' where sale = $1 returning 1")
    await shop.rows("insert into set_aside (order_id, sale, bucket, entry, content, reason, state) values"
                    " (gen_random_uuid(), $1, 0, '1-1', 'text', 'the entry can''t be read: x', 'unreadable')"
                    " returning 1")  # fmt: skip
    told = cli("outbox", "replay", "--sale", shop.sale)
    assert (told.status, "1 of 2" in told.err) == (2, True)
    assert "waits for another unit" in told.out
    assert "only a text is kept" in told.out
    await shop.settle_aside()
    await shop.land()
    assert (await shop.order("bob", win["order"]))["state"] == "confirmed"


async def test_what_can_not_be(cli: Cli, shops: Shops, operations: Operations) -> None:
    """Given bad input, or an order with which there is nothing to do / Then a clear refusal, and nothing is changed."""
    shop = await shops()
    (win,) = await sold_twice(shop, ["alice"], ["bob"])
    fine = str((await shop.rows("select order_id from orders where sale = $1"))[0]["order_id"])
    before = await shop.snapshot()
    assert_refused(cli("outbox", "list", "nosuch"), "There is no sale nosuch")
    assert_refused(cli("outbox", "list", shop.sale, "--state", "lost"), "--state", "'lost'", "waiting")
    for verb in (("show",), ("replay",), ("compensate", "--note", "x")):
        assert_refused(cli("outbox", verb[0], "abc", *verb[1:]), "'abc'", "not an order's number")
        assert_refused(cli("outbox", verb[0], NOBODY, *verb[1:]), NOBODY, "outbox list")
        assert_refused(cli("outbox", verb[0], fine, *verb[1:]), "never set aside", "confirmed")
    assert_refused(cli("outbox", "replay", win["order"]), "waits for another unit")
    assert_refused(cli("outbox", "replay"), "--sale")
    assert_refused(cli("outbox", "replay", win["order"], "--sale", shop.sale), "--sale")
    assert_refused(cli("outbox", "replay", "--sale", "nosuch"), "There is no sale nosuch")
    assert_refused(cli("outbox", "compensate", win["order"], "--note", "x"), "waits for another unit", "by itself")
    for note in ("", "  ", "x" * 501):
        assert_refused(cli("outbox", "compensate", win["order"], "--note", note), "--note")
    assert await shop.snapshot() == before
    await shop.settle_aside()
    await shop.land()
    await shop.settle_aside()
    assert_refused(cli("outbox", "replay", win["order"]), "has landed with unit 2")
    assert_refused(cli("outbox", "compensate", win["order"], "--note", "x"), "has landed with unit 2")


async def test_nothing_needs_a_person(cli: Cli, operations: Operations, sale_name: str) -> None:
    """Given a sale without trouble / When it is replayed / Then it says so, with exit 0."""
    await created(operations, plan_text(sale_name))
    told = cli("outbox", "replay", "--sale", sale_name)
    assert (told.status, "needs a person" in told.out) == (0, True)
    assert cli("outbox", "replay", "--sale", sale_name, "--json").json == []
