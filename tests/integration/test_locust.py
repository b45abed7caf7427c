"""Locust, headless, as a process of its own against a real shop: orders land, the audit balances, the exit tells."""

import asyncio
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

import flashsale
from tests.integration.conftest import Shops
from tests.integration.shop import Shop

pytestmark = [pytest.mark.servers, pytest.mark.slow]

LOCUSTFILE: Final = Path(flashsale.__file__).parent.parent / "loadtest" / "locustfile.py"
TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended and what it said."""

    status: int
    said: str

    def told(self, outcome: str) -> int:
        """How often the crowd was told this."""
        found = re.search(rf"^  {outcome} +([\d,]+)$", self.said, re.MULTILINE)
        return int(found[1].replace(",", "")) if found else 0


async def locust(address: str, *options: str, stores: dict[str, str]) -> Ended:
    """Run it to its end. stores: where the audit finds them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLASHSALE_", "LOCUST_"))}
    words = ["-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", "--host", address, *options]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=kept | stores,
    )  # fmt: skip
    try:
        said, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, said.decode())


def stores_of(shop: Shop) -> dict[str, str]:
    """The settings with which the audit finds this shop's stores."""
    return {"FLASHSALE_REDIS_URL": shop.settings.redis_url, "FLASHSALE_POSTGRES_DSN": shop.settings.postgres_dsn}


async def test_a_crowd_buys_everything_and_the_audit_balances(shops: Shops) -> None:
    """Given a sale that opens in a moment / When fans and latecomers come / Then all is sold, landed, accounted for."""
    shop = await shops(opens="+4s")
    await shop.work()
    ended = await locust(
        str(shop.client.base_url), "--sale", shop.sale, "-u", "40", "-r", "40", "-t", "12s", stores=stores_of(shop)
    )
    assert ended.status == 0, ended.said
    assert ended.told("WON") >= 8
    assert ended.told("RESERVED") == 40
    assert ended.told("SOLD_OUT") > 0
    assert ended.told("PAID") > 0
    assert '"Fan": 28, "Latecomer": 12' in ended.said
    assert "It balances." in ended.said
    await shop.landed(8)
    assert len(await shop.rows("select state from orders where sale = $1 and state = 'paid'")) == ended.told("PAID")


async def test_a_unit_that_leaked_fails_the_run(shops: Shops) -> None:
    """Given a sale from which a unit has vanished / When the run ends / Then its exit status says so."""
    shop = await shops(opens="+1h", closes="+2h")
    await shop.operations.redis.lpop(shop.bucket.free_key("silver"))
    ended = await locust(
        str(shop.client.base_url), "--sale", shop.sale, "-u", "2", "-r", "2", "-t", "1s", stores=stores_of(shop)
    )
    assert ended.status == 1, ended.said
    assert "It does not balance." in ended.said


async def test_from_afar_the_audit_is_left_to_others(shops: Shops) -> None:
    """Given a place from which the stores can't be reached / Then the run says so, and its own outcome stands."""
    shop = await shops(opens="+1h", closes="+2h")
    away = {"FLASHSALE_STATE_DIR": "/nonexistent"}
    ended = await locust(str(shop.client.base_url), "--sale", shop.sale, "-u", "2", "-r", "2", "-t", "1s", stores=away)
    assert ended.status == 0, ended.said
    assert "The audit could not be run from here" in ended.said


@pytest.mark.parametrize("sale", ["", "no-such-sale"])
async def test_without_a_sale_it_says_what_to_do(shops: Shops, sale: str) -> None:
    """Given nobody at that address, or no sale of that name / Then one sentence says so, and the run ends at once."""
    shop = await shops()
    address = str(shop.client.base_url) if sale else "http://127.0.0.1:1"
    ended = await locust(address, "--sale", sale, "-u", "2", "-t", "30s", stores=stores_of(shop))
    assert ended.status != 0
    assert ("has no sale no-such-sale" if sale else "is --host right?") in ended.said
