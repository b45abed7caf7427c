"""F-codes from a batch to the order: each is spent once, has its unit, and lands as any order does."""

import asyncio
from collections import Counter

import pytest

from flashsale import clock
from flashsale.errors import BadInputError, StateError
from flashsale.fcode import Code, CodeKeys
from flashsale.identity import code_keys_of
from flashsale.issuing import Range
from flashsale.sale import UnitPool, Verb
from tests.integration.codes import HOUR_MS, balanced, batch_of, exported, issuing, redeem
from tests.integration.conftest import Shops
from tests.integration.shop import BASE, Shop
from tests.support.waiting import soon

pytestmark = pytest.mark.servers


async def test_a_code_buys_its_unit(shops: Shops) -> None:
    """Given a batch / When a fan redeems a code / Then they have a unit that was set aside, the order lands in the lane
    of F-codes, and the audit has both pools."""
    shop = await shops(fcodes=3)
    await shop.work()
    made = await batch_of(shop, 3)
    code, *_ = await exported(shop, made)
    answer = await redeem(shop, "alice", code)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert (told["outcome"], told["sale"], told["item"]) == ("WON", shop.sale, "silver")
    assert told["unit"] in {6, 7, 8}
    await shop.has_state("alice", told["order"], "confirmed")
    (row,) = await shop.rows("select lane, channel, key, bucket, place, live_place from orders where sale = $1")
    assert tuple(row.values()) == ("fcode", "wechat", f"{made.batch:08x}00000000", 1, 1, None)
    audited = await shop.audited()
    assert audited.balanced
    pools = {one.pool: (one.loaded, one.free, one.live) for one in audited.items if one.item == "silver"}
    assert pools == {UnitPool.PUBLIC: (5, 5, 0), UnitPool.FCODE: (3, 2, 1)}


async def test_the_same_code_is_the_same_win_for_its_fan_alone(shops: Shops) -> None:
    """Given a code that was redeemed / When its fan sends it again, before and after it landed / Then it is the same
    win; for anybody else it is spent."""
    shop = await shops(fcodes=2)
    code, _ = await exported(shop, await batch_of(shop, 2))
    first = (await redeem(shop, "alice", code)).json()
    again = await redeem(shop, "alice", code.lower().replace("-", " "))
    assert again.status_code == 201
    assert again.json() == first
    other = await redeem(shop, "bob", code)
    assert (other.status_code, other.json()["outcome"]) == (409, "CODE_SPENT")
    await shop.work()
    await shop.has_state("alice", first["order"], "confirmed")
    assert (await redeem(shop, "alice", code)).json()["order"] == first["order"]
    assert (await redeem(shop, "bob", code)).json()["outcome"] == "CODE_SPENT"


async def test_everybody_sends_every_code_at_once(shops: Shops) -> None:
    """Given ten codes / When twenty fans send each of them twice at the same time / Then each code has one order, ten
    fans have them, and all units are accounted for."""
    shop = await shops(fcodes=10)
    codes = await exported(shop, await batch_of(shop, 10))
    await redeem(shop, "first", codes[0])
    sent = [redeem(shop, f"fan{n}", code) for code in codes for n in range(20) for _ in range(2)]
    answers = await asyncio.gather(*sent)
    outcomes = Counter(answer.json()["outcome"] for answer in answers)
    won = {answer.json()["order"] for answer in answers if answer.status_code == 201}
    assert len(won) == 9
    assert outcomes == {"WON": 18, "CODE_SPENT": 400 - 18}
    await shop.work()
    await soon(lambda: _landed(shop, 10), what="all landed")
    assert (await shop.audited()).balanced


async def _landed(shop: Shop, orders: int) -> bool:
    return len(await shop.rows("select key from orders where sale = $1 and lane = 'fcode'")) == orders


async def test_codes_take_none_of_a_fans_places(shops: Shops) -> None:
    """Given a limit of one / When a fan has bought, and redeems two codes / Then all three are theirs."""
    shop = await shops(fcodes=2)
    await shop.work()
    codes = await exported(shop, await batch_of(shop, 2))
    bought = await shop.buy("alice")
    redeemed = [(await redeem(shop, "alice", code)).json() for code in codes]
    for one in (bought, *redeemed):
        await shop.has_state("alice", one["order"], "confirmed")
    listed = (await shop.client.get(f"{BASE}/orders", headers=shop.bearer("alice"))).json()
    assert {one["order"] for one in listed["orders"]} == {one["order"] for one in (bought, *redeemed)}


async def test_an_order_by_a_code_is_seen_before_it_lands(shops: Shops) -> None:
    """Given a redeemed code and no worker / When its fan looks / Then the order is there, accepted."""
    shop = await shops(fcodes=1)
    (code,) = await exported(shop, await batch_of(shop, 1))
    order = (await redeem(shop, "alice", code)).json()["order"]
    assert (await shop.order("alice", order))["state"] == "accepted"


async def test_codes_are_good_before_the_opening_and_not_while_it_is_paused(shops: Shops) -> None:
    """Given a sale that has not opened / Then a code is good; while it is paused it is not, and afterwards it is."""
    shop = await shops(opens="+20m", fcodes=2)
    first, second = await exported(shop, await batch_of(shop, 2))
    assert (await redeem(shop, "alice", first)).status_code == 201
    await shop.operations.move(shop.sale, Verb.OPEN)
    await shop.operations.move(shop.sale, Verb.PAUSE)
    paused = await redeem(shop, "bob", second)
    assert (paused.status_code, paused.json()["outcome"]) == (503, "PAUSED")
    await shop.operations.move(shop.sale, Verb.RESUME)
    assert (await redeem(shop, "bob", second)).status_code == 201
    await shop.operations.move(shop.sale, Verb.CLOSE)
    assert (await redeem(shop, "carol", second)).json()["outcome"] == "CLOSED"


async def test_a_code_at_the_wrong_time(shops: Shops) -> None:
    """Given a code that is not valid yet, and one whose time was set to be over / Then they are told so; nothing is
    spent, and a later end makes the second good again."""
    shop = await shops(fcodes=2)
    now_ms = clock.now_ms()
    early = await batch_of(shop, 1, valid_ms=now_ms + HOUR_MS // 4)
    (code,) = await exported(shop, early)
    answer = await redeem(shop, "alice", code)
    assert (answer.status_code, answer.json()["outcome"]) == (409, "CODE_NOT_YET")
    late = await batch_of(shop, 1)
    (code,) = await exported(shop, late)
    await issuing(shop).extend(late.batch, expires_ms=now_ms - 1)
    answer = await redeem(shop, "alice", code)
    assert (answer.status_code, answer.json()["outcome"]) == (410, "CODE_EXPIRED")
    await issuing(shop).extend(late.batch, expires_ms=now_ms + HOUR_MS // 2)
    assert (await redeem(shop, "alice", code)).status_code == 201


async def test_a_code_that_another_key_made(shops: Shops) -> None:
    """Given a batch, and a key that is known beside its own / When somebody writes its codes with that key / Then they
    are forged: what is done with a key that got lost reaches no batch of another."""
    both = "new:" + "2" * 64 + ",old:" + "1" * 64
    shop = await shops(fcodes=1, fcode_keys=both)
    made = await batch_of(shop, 1)
    keys = code_keys_of(shop.settings)
    assert made.key_id == keys.first == "new"
    forged = keys.write(Code(made.batch, 0), key_id="old")
    answer = await redeem(shop, "mallory", forged)
    assert (answer.status_code, answer.json()["outcome"]) == (404, "CODE_FORGED")
    assert (await redeem(shop, "alice", keys.write(Code(made.batch, 0), key_id="new"))).status_code == 201


async def test_what_is_no_code_reaches_no_store(shops: Shops) -> None:
    """Given a typo, a swap, a forged code and no code / Then each is told for what it is, and nothing changes."""
    shop = await shops(fcodes=1)
    (code,) = await exported(shop, await batch_of(shop, 1))
    before = await shop.snapshot()
    forged = CodeKeys({"k": b"\x07" * 32}).write(Code(1, 0), key_id="k")
    place = next(i for i in range(2, 6) if code[i] != code[i + 1])
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    typo = ("F-0" if code[2] != "0" else "F-1") + code[3:]
    for text, status, outcome in (
        (typo, 422, "CODE_MISTYPED"), (swapped, 422, "CODE_MISTYPED"), ("hello", 422, "CODE_MISTYPED"),
        (forged, 404, "CODE_FORGED"),
    ):  # fmt: skip
        answer = await redeem(shop, "alice", text)
        assert (answer.status_code, answer.json()["outcome"]) == (status, outcome), text
    assert "group 1" in (await redeem(shop, "bob", typo)).json()["detail"]
    assert await shop.snapshot() == before
    for body in ({"code": 1}, {}, {"code": code, "more": 1}):
        answer = await shop.client.post(f"{BASE}/fcodes/redeem", headers=shop.bearer("alice"), json=body)
        assert answer.status_code == 400
    assert (await shop.client.post(f"{BASE}/fcodes/redeem", json={"code": code})).status_code == 401


async def test_who_guesses_is_not_listened_to(shops: Shops) -> None:
    """Given a fan who sends codes that are none / When they have sent twenty / Then the next is not looked at; a good
    one still is."""
    shop = await shops(fcodes=1)
    (code,) = await exported(shop, await batch_of(shop, 1))
    keys = CodeKeys({"k": b"\x07" * 32})
    codes = [keys.write(Code(1, serial), key_id="k") for serial in range(22)]
    outcomes = [(await redeem(shop, "mallory", one)).json()["outcome"] for one in codes]
    assert outcomes[:20] == ["CODE_FORGED"] * 20
    assert outcomes[21] == "TOO_OFTEN"
    assert (await redeem(shop, "mallory", code)).status_code == 201


async def test_a_batch_is_no_larger_than_its_pool(shops: Shops) -> None:
    """Given five units set aside / When codes are made for more / Then it is refused and says how to get more; with
    more units it is not. Nothing of a refused batch stays."""
    shop = await shops(fcodes=5)
    await batch_of(shop, 3)
    before = await shop.rows("select batch from fcode_batches where sale = $1")
    with pytest.raises(BadInputError, match=r"silver=3: only 2 units .* add-stock .* 1 --pool fcode"):
        await batch_of(shop, 3)
    assert await shop.rows("select batch from fcode_batches where sale = $1") == before
    await shop.operations.add_stock(shop.sale, "silver", 1, pool=UnitPool.FCODE)
    await batch_of(shop, 3)
    assert (await shop.audited()).balanced


async def test_a_sale_that_takes_no_codes(shops: Shops) -> None:
    """Given a sale whose plan says nothing of codes / Then neither codes nor units for them can be made."""
    shop = await shops()
    with pytest.raises(BadInputError, match="takes no F-codes"):
        await batch_of(shop, 1)
    with pytest.raises(BadInputError, match="takes no F-codes"):
        await shop.operations.add_stock(shop.sale, "silver", 1, pool=UnitPool.FCODE)


async def test_codes_leave_the_house_once(shops: Shops) -> None:
    """Given four codes / When they are taken in parts / Then no code is taken twice, and what was taken is written
    again as it was."""
    shop = await shops(fcodes=4)
    made = await batch_of(shop, 4)
    first, rest = await exported(shop, made, 1), await exported(shop, made)
    assert len({*first, *rest}) == 4
    ops = issuing(shop)
    with pytest.raises(StateError, match="All 4 codes"):
        await ops.take(made.batch, 1)
    again = [text for some in await ops.taken(made.batch) for text, _ in ops.codes_of(some)]
    assert again == [*first, *rest]


async def test_unused_codes_units_go_on_sale(shops: Shops) -> None:
    """Given a sold out sale and three codes, one redeemed / When the batch is released / Then its two other units are
    sold to everybody, its codes are not taken any more, and it balances."""
    shop = await shops(silver=1, fcodes=3)
    await shop.work()
    made = await batch_of(shop, 3)
    codes = await exported(shop, made)
    assert (await redeem(shop, "alice", codes[0])).status_code == 201
    await shop.buy("first")
    assert (await shop.press(await shop.reserve("second"))).json()["outcome"] == "SOLD_OUT"
    await issuing(shop).release(made.batch)
    gone = await redeem(shop, "bob", codes[1])
    assert (gone.status_code, gone.json()["outcome"]) == (410, "CODE_EXPIRED")
    await shop.shows(lambda data: data["items"][0]["stock"] != "sold_out", what="units on sale again")

    async def both_sold() -> bool:
        answers = [await shop.press(await shop.reserve(fan)) for fan in ("second", "third")]
        return all(answer.json()["outcome"] in {"WON", "ALREADY_BOUGHT"} for answer in answers)

    await soon(both_sold, what="two more fans have one")
    assert (await shop.press(await shop.reserve("fourth"))).json()["outcome"] == "SOLD_OUT"
    await soon(lambda: balanced(shop), what="it balances")


async def test_a_batch_is_released_at_its_time(shops: Shops) -> None:
    """Given a batch whose release time has come / Then the worker releases it, and its units are everybody's."""
    shop = await shops(silver=0, fcodes=2)
    made = await batch_of(shop, 2, release_ms=clock.now_ms() + 500)
    await shop.work()
    await shop.shows(lambda data: data["items"][0]["stock"] != "sold_out", what="units on sale")
    (row,) = await shop.rows("select released_at from fcode_batches where sale = $1")
    assert row["released_at"] is not None
    log = [row["verb"] for row in await shop.rows("select verb from ops_log where sale = $1 order by id")]
    assert log.count("fcode-release") == 1
    assert made.batch


async def test_units_without_a_code_stay_aside(shops: Shops) -> None:
    """Given units for which no code was made / When a batch beside them is released / Then those stay for codes."""
    shop = await shops(silver=0, fcodes=5)
    await shop.work()
    made = await batch_of(shop, 2)
    await issuing(shop).release(made.batch)

    async def two_are_public() -> bool:
        audited = await shop.audited()
        return {one.pool: one.free for one in audited.items if one.item == "silver"} == {
            UnitPool.PUBLIC: 2, UnitPool.FCODE: 3,
        }  # fmt: skip

    await soon(two_are_public, what="two units are everybody's")
    later = await batch_of(shop, 3)
    codes = await exported(shop, later)
    assert [(await redeem(shop, f"fan{n}", code)).status_code for n, code in enumerate(codes)] == [201] * 3


async def test_an_unpaid_code_stays_spent_and_its_unit_is_everybodys(shops: Shops) -> None:
    """Given a redeemed code whose order was let go / Then its unit is sold to everybody and the code stays spent."""
    shop = await shops(silver=0, fcodes=1)
    await shop.work()
    (code,) = await exported(shop, await batch_of(shop, 1))
    won = (await redeem(shop, "alice", code)).json()
    await shop.has_state("alice", won["order"], "confirmed")
    assert (await shop.post("alice", f"orders/{won['order']}/cancellation")).status_code == 200
    await shop.shows(lambda data: data["items"][0]["stock"] != "sold_out", what="the unit is on sale")
    assert (await redeem(shop, "bob", code)).json()["outcome"] == "CODE_SPENT"
    assert (await shop.buy("carol"))["unit"] == won["unit"]


async def test_ranges_of_a_batch_of_two_items(shops: Shops) -> None:
    """Given a batch for two items / Then each code buys its own."""
    shop = await shops(fcodes=1)
    await shop.operations.add_stock(shop.sale, "black", 1, pool=UnitPool.FCODE)
    made = await batch_of(shop, 0, codes={"silver": 1, "black": 1})
    ops = issuing(shop)
    some = await ops.take(made.batch, None)
    assert some == Range(made, 0, 1)
    codes = {item: code for code, item in ops.codes_of(some)}
    for item in ("silver", "black"):
        assert (await redeem(shop, f"fan-of-{item}", codes[item])).json()["item"] == item
