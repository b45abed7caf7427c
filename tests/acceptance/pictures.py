"""Takes the pictures of the page for the README: a day of one fan, in both languages, from a real site.

Everything seen is real: other fans reserve and buy over HTTP, the unit's number is the one that was won. Run it by
scripts/screenshots.
"""

import argparse
import asyncio
import base64
import itertools
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from playwright.sync_api import Browser, sync_playwright

from flashsale.embedded import Addresses, EmbeddedPair
from flashsale.queries import migrate
from tests.acceptance.desk import Desk, desk
from tests.acceptance.fan import Fan, launch, phone
from tests.acceptance.site import site

BYTES_MAX: Final = 120_000
LANGUAGES: Final = {"zh": "zh-CN", "en": "en-US"}
DAY: Final = ("reserved", "buy", "won", "paid")
DAY_LANGUAGE: Final = "en"
_FANS: Final = 200
_IN_FLIGHT: Final = 32
_DAY_PAGE: Final = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; padding: 56px; display: flex; gap: 40px; background: #efe9e2; width: max-content; }
img { display: block; width: 390px; border-radius: 36px; box-shadow: 0 0 0 9px #1b1815, 0 20px 40px #1b181533; }
</style>"""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Other fans, over HTTP. numbers: each has a name of its own."""

    base_url: str
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def reserve(self, sale: str, fans: int) -> None:
        """So many reserve."""
        self._all(sale, fans, item=None)

    def buy(self, sale: str, item: str, fans: int) -> None:
        """So many reserve and buy."""
        self._all(sale, fans, item=item)

    def _all(self, sale: str, fans: int, *, item: str | None) -> None:
        async def run() -> None:
            places = asyncio.Semaphore(_IN_FLIGHT)
            async with httpx.AsyncClient(base_url=f"{self.base_url}/api/v1", timeout=20) as client:
                names = [f"other-{next(self.numbers)}" for _ in range(fans)]
                await asyncio.gather(*(_visit(client, places, sale, name, item) for name in names))

        asyncio.run(run())


async def _visit(client: httpx.AsyncClient, places: asyncio.Semaphore, sale: str, name: str, item: str | None) -> None:
    async with places:
        signed_in = (await client.post("sandbox/login", json={"fan": name})).raise_for_status()
        headers = {"authorization": f"Bearer {signed_in.json()['token']}"}
        reserved = (await client.post(f"sales/{sale}/reservation", headers=headers)).raise_for_status()
        if item is not None:
            headers = {"authorization": f"Right {reserved.json()['right']}", "idempotency-key": uuid.uuid4().hex}
            (await client.post(f"sales/{sale}/items/{item}/purchase?retry=1", headers=headers)).raise_for_status()


@dataclass(frozen=True, slots=True)
class Studio:
    """A site with its ops, its other fans and a browser. folder: where the pictures go."""

    browser: Browser
    ops: Desk
    crowd: Crowd
    folder: Path

    def take(self, language: str) -> None:
        """All pictures in one language."""
        for name, scene in SCENES.items():
            with phone(self.browser, language=LANGUAGES[language]) as held:
                fan = Fan(held.new_page(), self.ops.base_url)
                scene(self, fan, f"{name}-{language}")
                self._shoot(fan, f"{name}-{language}")

    def _shoot(self, fan: Fan, name: str) -> None:
        fan.page.evaluate("document.fonts.ready")
        # What moves has come to rest; a picture in the middle of a movement would differ each time.
        fan.page.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished))")
        fan.page.screenshot(path=self.folder / f"{name}.png", animations="disabled", caret="hide")

    def compose_day(self) -> None:
        """Four of the pictures beside each other, composed by the browser itself."""
        sources = [(self.folder / f"{name}-{DAY_LANGUAGE}.png").read_bytes() for name in DAY]
        images = "".join(f'<img src="data:image/png;base64,{base64.b64encode(one).decode()}">' for one in sources)
        page = self.browser.new_page(viewport={"width": 1792, "height": 956}, device_scale_factor=0.75)
        page.set_content(_DAY_PAGE + images, wait_until="load")
        page.locator("body").screenshot(path=self.folder / "day.png")
        page.close()


def _sale(studio: Studio, name: str, *, opens: str, closes: str) -> str:
    sale = studio.ops.reserved_sale(name, opens=opens, closes=closes, stock=(400, 2 * _FANS), top="pay_window_s = 900")
    studio.crowd.reserve(sale, _FANS)
    return sale


def before(studio: Studio, fan: Fan, name: str) -> None:
    """Reservation is open, the sale is two days away."""
    fan.come(_sale(studio, name, opens="+189296s", closes="-1h"))
    fan.see("reserve")


def reserved(studio: Studio, fan: Fan, name: str) -> None:
    """Reserved; the sale opens in minutes."""
    fan.come(_sale(studio, name, opens="+767s", closes="-10m"))
    fan.see("reserve")
    fan.press("reserve")
    fan.see("waiting")


def buy(studio: Studio, fan: Fan, name: str) -> None:
    """It has just opened."""
    sale = _sale(studio, name, opens="-1s", closes="+30m")
    studio.crowd.buy(sale, "silver", 370)
    fan.come(sale)
    fan.see("reserve")
    fan.press("reserve")
    fan.see("buy")
    fan.page.wait_for_selector('[data-test="item-silver"][data-stock="low"]')


def won(studio: Studio, fan: Fan, name: str) -> None:
    """The order is in Postgres and can be paid."""
    buy(studio, fan, name)
    fan.press("buy")
    fan.see("won")
    fan.see_order("confirmed")
    fan.page.wait_for_selector('[data-test="pay"]:enabled')


def paid(studio: Studio, fan: Fan, name: str) -> None:
    """The payment has come."""
    won(studio, fan, name)
    fan.press("pay")
    fan.see("paid")


def sold_out(studio: Studio, fan: Fan, name: str) -> None:
    """Nothing is left."""
    buy(studio, fan, name)
    studio.crowd.buy(name, "silver", 30)
    studio.crowd.buy(name, "black", 2 * _FANS)
    fan.see("sold_out", within_s=20)


SCENES: Final[dict[str, Callable[[Studio, Fan, str], None]]] = {
    "before": before, "reserved": reserved, "buy": buy, "won": won, "paid": paid, "sold-out": sold_out,
}  # fmt: skip


def _opened(program: str, folder: Path, stack: ExitStack) -> Iterator[Studio]:
    state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pictures-")))
    addresses = stack.enter_context(EmbeddedPair(state=state / "pair", fresh=True))
    asyncio.run(_migrate(addresses))
    base_url = stack.enter_context(site(addresses, state / "site"))
    ops = stack.enter_context(desk(addresses, base_url))
    browser = launch(stack.enter_context(sync_playwright()), program)
    stack.callback(browser.close)
    yield Studio(browser, ops, Crowd(base_url), folder)


async def _migrate(addresses: Addresses) -> None:
    connection = await asyncpg.connect(addresses.postgres_dsn, timeout=10)
    try:
        await migrate(connection)
    finally:
        await connection.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description=__doc__, allow_abbrev=False)
    parser.add_argument("--folder", type=Path, default=Path("docs/pictures"), help="where they go (default: %(default)s)")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
