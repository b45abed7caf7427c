"""flashsale recover as a person and a script use it: a look first, then the rebuilding, then nothing more to do."""

import pytest

from tests.integration.cli_process import Cli
from tests.integration.conftest import Shops
from tests.integration.hall import Halls

pytestmark = pytest.mark.servers


async def test_from_an_empty_bucket_to_a_whole_one(cli: Cli, halls: Halls) -> None:
    """Given a bucket of two that is emptied / When ops look, recover, and look again / Then each tells it as it is."""
    shop = await halls(2)
    sold = len(await shop.sell(shop.fans_of(0, 3) + shop.fans_of(1, 2)))
    await shop.lose(shop.sale.all_buckets[0])
    name = shop.sale.sale

    looked = cli("recover", name, "--dry-run", "--json").json
    assert [(one["condition"], one["wins"], one["known_wins"], one["rebuilt"]) for one in looked["buckets"]] == [
        ("empty", 0, 3, False), ("whole", 2, 2, False),
    ]  # fmt: skip
    seen = cli("recover", name, "--dry-run")
    assert (seen.status, "1 of 2 would be rebuilt" in seen.out) == (0, True)
    assert "closed until it is recovered" in cli("sale", "show", name).out

    made = cli("recover", name, "--as", "ann", "--json").json
    assert [(one["rebuilt"], one["fans"]) for one in made["buckets"]] == [(True, 3), (False, None)]
    assert sum(one["free"]["silver"] for one in made["buckets"]) == 40 - sold
    assert cli("sale", "show", name, "--json").json["log"][-1] == {
        **cli("sale", "show", name, "--json").json["log"][-1],
        "actor": "ann", "verb": "recover", "detail": {"buckets": {"0": "empty"}},
    }  # fmt: skip
    again = cli("recover", name)
    assert (again.status, "nothing to recover" in again.out) == (0, True)
    assert cli("audit", name).status == 0


async def test_all_buckets_on_demand(cli: Cli, halls: Halls) -> None:
    """Given whole buckets / When ops want all of them rebuilt / Then a person reads each step, and it balances."""
    shop = await halls(2)
    await shop.sell(shop.fans_of(0, 2))
    looked = cli("recover", shop.sale.sale, "--all", "--dry-run")
    assert f"flashsale recover {shop.sale.sale} --all" in " ".join(looked.out.split())
    made = cli("recover", shop.sale.sale, "--all")
    assert made.status == 0
    for words in ("Fenced bucket 0, which is whole", "41 free units", "Recovered: 2 of 2 rebuilt", "flashsale audit"):
        assert words in made.out, words
    assert await shop.balanced()


async def test_refusals_say_what_to_do(cli: Cli, shops: Shops) -> None:
    """Given no such sale, or Valkey with another sale of the name / Then exit 2, a sentence, and nothing is changed."""
    assert (unknown := cli("recover", "nosuch")).status == 2
    assert "flashsale sale list" in unknown.err
    shop = await shops()
    await shop.operations.redis.hset(shop.bucket.sale_key, "generation", "another")
    before = await shop.snapshot()
    strange = cli("recover", shop.sale, "--all")
    assert (strange.status, "FLASHSALE_REDIS_URL" in strange.err) == (2, True)
    assert await shop.snapshot() == before
