"""Money that goes back: ops decide it or it is due, the provider is asked, its signed webhook settles it, once."""

import uuid

import pytest

from flashsale import provider, refund
from flashsale.errors import NotFoundError, StateError
from flashsale.payment import Payment
from flashsale.provider import ProviderAwayError
from tests.integration.cli_process import Cli
from tests.integration.conftest import Shops
from tests.integration.processes import working
from tests.integration.provider import asked, event, paid, refunded, state_of, told
from tests.integration.shop import Data, Shop, assert_problem
from tests.integration.test_worker import landed_without_trim
from tests.support.waiting import soon

pytestmark = pytest.mark.servers

RETURNS = "select unit, reason from returns where sale = $1 order by unit"


async def test_a_refund_from_end_to_end(shops: Shops) -> None:
    """Given a paid order / When ops give its money back / Then the sandbox's provider is asked, its webhook settles
    it, the fan is told at each step, and the unit is sold once again."""
    shop = await shops(silver=1)
    payment = await paid(shop)
    assert (await shop.order("alice", payment["order"]))["payment_state"] == "succeeded"
    await shop.money_back(payment["order"], note="broken on arrival")
    due = await shop.order("alice", payment["order"])
    assert (due["state"], due["payment_state"]) == ("paid", "refund_due")
    worker = await shop.work()
    back = await shop.has_state("alice", payment["order"], "refunded")
    assert (back["payment_state"], back["closed_ms"] is not None) == ("refunded", True)
    assert await shop.rows(RETURNS) == [{"unit": 1, "reason": "refunded"}]
    await shop.shows(lambda sale: sale["items"][0]["stock"] != "sold_out", what="the unit is back")
    assert (await shop.buy("bob"))["unit"] == 1
    assert worker.counted("refunds_asked") >= 1
    assert (await shop.audited()).balanced


async def test_nothing_happens_until_the_provider_says_so(shops: Shops) -> None:
    """Given a refund that is due / When it is decided again / Then it is one, the order stays paid, nobody is told."""
    shop = await shops()
    payment = await paid(shop)
    await shop.money_back(payment["order"])
    before = await shop.snapshot()
    await shop.money_back(payment["order"])
    assert await shop.snapshot() == before
    assert await state_of(shop, payment) == [{"payment": "refund_due", "order": "paid"}]
    assert await shop.rows(RETURNS) == []


async def test_a_webhook_that_comes_again_changes_nothing(shops: Shops) -> None:
    """Given money that went back / When both webhooks come again / Then 204, and nothing changes."""
    shop = await shops()
    payment = await paid(shop)
    await shop.money_back(payment["order"])
    assert (await told(shop, refunded(payment))).status_code == 204
    before = await shop.snapshot()
    for said in (refunded(payment), event(payment), refunded(payment)):
        assert (await told(shop, said)).status_code == 204
    assert await shop.snapshot() == before
    assert await shop.rows(RETURNS) == [{"unit": 1, "reason": "refunded"}]


async def test_the_provider_may_give_money_back_by_itself(shops: Shops) -> None:
    """Given a paid order that nobody refunds here / When the provider says that its money went back / Then it did."""
    shop = await shops()
    payment = await paid(shop)
    assert (await told(shop, refunded(payment))).status_code == 204
    assert await state_of(shop, payment) == [{"payment": "refunded", "order": "refunded"}]
    await shop.give_back()
    found = await shop.audited()
    assert (found.balanced, found.items[0].free) == (True, 5)


async def test_refunded_before_succeeded(shops: Shops) -> None:
    """Given a pending payment / When its refund is told first and its success after / Then the order is not paid, and
    the fan may pay by another payment."""
    shop = await shops()
    payment = await asked(shop)
    for said in (refunded(payment), event(payment)):
        assert (await told(shop, said)).status_code == 204
        assert await state_of(shop, payment) == [{"payment": "refunded", "order": "confirmed"}]
    other = await shop.pay("alice", payment["order"])
    assert other["payment"] != payment["payment"]
    assert (await told(shop, event(other))).status_code == 204
    assert (await shop.order("alice", payment["order"]))["state"] == "paid"
    assert (await told(shop, refunded(payment))).status_code == 204  # the first one's: not this order's money
    assert (await shop.order("alice", payment["order"]))["state"] == "paid"
    await shop.money_back(payment["order"])  # of the one that paid it, not of the one that went back
    assert (await state_of(shop, other))[0] == {"payment": "refund_due", "order": "paid"}


async def test_the_audit_knows_a_refunded_order_that_was_not_trimmed(shops: Shops) -> None:
    """Given an order that landed, was paid and refunded before a worker trimmed it / When its unit is free again / Then
    the order in the outbox does not hold it any more, and it balances."""
    shop = await shops(silver=1)
    won = await shop.buy("alice")
    assert await landed_without_trim(shop) == 1
    payment = await shop.pay("alice", won["order"])
    for said in (event(payment), refunded(payment)):
        await told(shop, said)
    await shop.give_back()
    found = (await shop.audited()).items[0]
    assert (found.balanced, found.free, found.outbox) == (True, 1, 0)


@pytest.mark.parametrize(
    "changed", [{"amount_minor": 1}, {"currency": "USD"}, {"order": str(uuid.UUID(int=1))}], ids=str
)
async def test_a_refund_of_something_else_is_refused(shops: Shops, changed: Data) -> None:
    """Given a refund that is due / When the provider names another amount, currency or order / Then nothing changes."""
    shop = await shops()
    payment = await paid(shop)
    await shop.money_back(payment["order"])
    before = await shop.snapshot()
    assert_problem(await told(shop, refunded(payment, **changed)), 422, "payment-mismatch")
    assert_problem(await told(shop, refunded(payment), secret="whsec_c29tZWJvZHkgZWxzZSdz"), 401, "forged")
    assert await shop.snapshot() == before


async def test_a_refund_for_another_fans_order_is_refused(shops: Shops) -> None:
    """Given two paid orders / When the money of one is said to be for the other / Then neither changes."""
    shop = await shops()
    one, other = await paid(shop, "alice"), await paid(shop, "bob")
    before = await shop.snapshot()
    for said in (refunded(one, order=other["order"]), event(one, order=other["order"])):
        assert_problem(await told(shop, said), 422, "payment-mismatch")
    assert await shop.snapshot() == before


async def test_what_can_not_be_refunded(shops: Shops) -> None:
    """Given orders that are unknown, unpaid or refunded / When ops refund them / Then refused, and nothing changes."""
    shop = await shops()
    unpaid, gone = await asked(shop, "alice"), await paid(shop, "bob")
    await told(shop, refunded(gone))
    before = await shop.snapshot()
    for order, fault, words in (
        (str(uuid.UUID(int=1)), NotFoundError, "There is no order"),
        ("nonsense", NotFoundError, "is not an order's number"),
        (unpaid["order"], StateError, "is confirmed and no payment"),
        (gone["order"], StateError, "has gone back already"),
    ):
        with pytest.raises(fault, match=words):
            await shop.money_back(order)
    assert await shop.snapshot() == before


async def test_the_provider_is_asked_again(shops: Shops) -> None:
    """Given a provider that forgot a refund / When its time is over / Then it is asked again, and not before."""
    shop = await shops()
    payment = await paid(shop)
    await shop.money_back(payment["order"])
    heard: list[str] = []

    class Forgetful:
        """Takes a refund, and says nothing."""

        async def refund(self, due: Payment) -> bool:
            """Note it."""
            heard.append(due.payment)
            return True

    postgres = shop.operations.postgres
    assert await refund.ask_provider(postgres, Forgetful()) == 1
    assert await refund.ask_provider(postgres, Forgetful()) == 0
    await postgres.execute(
        "update payments set refund_asked_at = now() - interval '2 minutes' where payment = $1",
        uuid.UUID(payment["payment"]),
    )
    assert await refund.ask_provider(postgres, provider.BY_HAND) == 0
    assert await refund.ask_provider(postgres, Forgetful()) == 1
    assert heard == [payment["payment"]] * 2


async def test_one_that_the_provider_refuses_is_in_nobodys_way(shops: Shops) -> None:
    """Given two refunds, the first of which the provider does not take / Then the second is asked for all the same."""
    shop = await shops()
    first, second = await paid(shop, "alice"), await paid(shop, "bob")
    for one in (first, second):
        await shop.money_back(one["order"])
    heard: list[str] = []

    class Picky:
        """Refuses the first."""

        async def refund(self, due: Payment) -> bool:
            """Take it or not."""
            if due.payment == first["payment"]:
                raise ProviderAwayError("not this one")
            heard.append(due.payment)
            return True

    with pytest.raises(ProviderAwayError):
        await refund.ask_provider(shop.operations.postgres, Picky())
    assert heard == [second["payment"]]


async def test_a_provider_that_is_away_is_asked_when_it_is_back(shops: Shops) -> None:
    """Given an api that is not there to take the sandbox's webhook / Then the worker goes on and asks again later."""
    shop = await shops()
    payment = await paid(shop)
    await shop.money_back(payment["order"])
    away = shop.settings.model_copy(update={"public_url": "http://127.0.0.1:1"})
    async with working(away) as worker:

        async def in_trouble() -> bool:
            found = worker.metrics.registry.get_sample_value("flashsale_worker_trouble_total", {"loop": "refund"})
            return bool(found)

        await soon(in_trouble, what="the provider is away")
        assert worker.metrics.registry.get_sample_value("flashsale_refunds_due", {"sale": shop.sale}) == 1
    assert await state_of(shop, payment) == [{"payment": "refund_due", "order": "paid"}]
    await shop.work()
    await shop.has_state("alice", payment["order"], "refunded")


async def test_by_the_command_line(cli: Cli, shops: Shops) -> None:
    """Given payments / When ops list and refund them / Then tables, JSON, the log and the results tell the same."""
    shop = await shops()
    payment, unpaid = await paid(shop, "alice"), await asked(shop, "bob")
    told_it = cli("payment", "refund", payment["order"], "--as", "ann", "--note", "broken", "--json")
    assert (told_it.status, told_it.json["state"], told_it.json["amount_minor"]) == (0, "refund_due", 199_900)
    due = cli("payment", "list", shop.sale, "--state", "refund_due", "--json").json
    assert [(one["payment"], one["fan"], one["reason"]) for one in due] == [
        (payment["payment"], "alice", "ann decided it: broken")
    ]
    assert len(cli("payment", "list", shop.sale, "--json").json) == 2
    for word in ("refund_due", "ann decided it", "alice"):
        assert word in cli("payment", "list", shop.sale).out
    log = cli("sale", "show", shop.sale, "--json").json["log"]
    assert (log[-1]["actor"], log[-1]["verb"], log[-1]["detail"]["note"]) == ("ann", "refund", "broken")
    results = cli("sale", "results", shop.sale, "--json").json
    assert results["payments"]["refund_due"] == {"payments": 1, "amount_minor": 199_900}
    assert "--state refund_due" in cli("sale", "results", shop.sale).out
    await told(shop, refunded(payment))
    results = cli("sale", "results", shop.sale, "--json").json
    assert (results["items"][0]["refunded"], results["items"][0]["paid"]) == (1, 0)
    assert results["payments"]["refunded"] == {"payments": 1, "amount_minor": 199_900}
    assert results["payments"]["pending"]["payments"] == 1
    await _refused(cli, shop, unpaid)


async def _refused(cli: Cli, shop: Shop, unpaid: Data) -> None:
    before = await shop.snapshot()
    for words, status in (
        (("payment", "refund", unpaid["order"]), 2),
        (("payment", "refund", "nonsense"), 2),
        (("payment", "refund", unpaid["order"], "--note", "x" * 501), 2),
        (("payment", "list", "no-such-sale"), 2),
        (("payment", "list", shop.sale, "--state", "lost"), 2),
    ):
        answer = cli(*words)
        assert (answer.status, bool(answer.err)) == (status, True)
    assert await shop.snapshot() == before
    assert "Example: " in cli("payment", "refund", "--help").out + cli("payment", "list", "--help").out
