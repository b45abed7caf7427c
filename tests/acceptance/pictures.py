"""Takes the pictures of the page for the README: a day of one fan, in both languages, from a real site.

Everything seen is real: other fans reserve and buy over HTTP, the unit's number is the one that was won. Run it by
scripts/screenshots.
"""

import argparse
import asyncio
import base64
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from playwright.sync_api import Browser, sync_playwright

from flashsale.embedded import Addresses, EmbeddedPair
from flashsale.queries import migrate
from tests.acceptance.crowd import Crowd
from tests.acceptance.desk import Desk, desk
from tests.acceptance.fan import Fan, chromium, launch, phone
from tests.acceptance.site import site
from tests.support.waiting import until

BYTES_MAX: Final = 120_000
LANGUAGES: Final = {"zh": "zh-CN", "en": "en-US"}
DAY: Final = ("reserved", "buy", "won", "paid")
DAY_LANGUAGE: Final = "en"
_RESERVED: Final = 150
_STOCK: Final = (250, 100)
_SOLD: Final = 230
_DAY_SCALE: Final = 0.85
_DAY_PAGE: Final = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; padding: 48px; display: flex; gap: 40px; background: #e9e2da; width: max-content; }
img { display: block; width: 390px; border-radius: 40px; box-shadow: 0 0 0 9px #1b1815; }
</style>"""
_PACK: Final = Path(__file__).with_name("palette.js").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Studio:
    """A site with its ops, its other fans and a browser. folder: where the pictures go."""

    browser: Browser
    ops: Desk
    crowd: Crowd
    folder: Path

    def take(self, language: str) -> None:
        """All pictures in one language."""
        for scene in (before, reserved, day, sold_out):
            with phone(self.browser, language=LANGUAGES[language]) as held:
                scene(self, Fan(held.new_page(), self.ops.base_url), language)

    def sale(self, name: str, *, opens: str, closes: str) -> str:
        """A sale that others have reserved for already."""
        sale = self.ops.reserved_sale(name, opens=opens, closes=closes, stock=_STOCK)
        self.crowd.reserve(sale, _RESERVED)
        address = f"{self.ops.base_url}/api/v1/sales/{sale}"
        until(
            lambda: httpx.get(address).json()["reservation"]["count"] == _RESERVED, what="all reservations are counted"
        )
        return sale

    def shoot(self, fan: Fan, name: str) -> None:
        # What moves has come to rest; a picture in the middle of a movement would differ each time.
        fan.page.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished))")
        self._keep(name, fan.page.screenshot(animations="disabled", caret="hide"))

    def _keep(self, name: str, screenshot: bytes) -> None:
        page = self.browser.new_page()
        packed: str = page.evaluate(_PACK, base64.b64encode(screenshot).decode())
        page.close()
        (self.folder / f"{name}.png").write_bytes(base64.b64decode(packed))

    def compose_day(self) -> None:
        """Four of the pictures beside each other, composed by the browser itself."""
        sources = [(self.folder / f"{name}-{DAY_LANGUAGE}.png").read_bytes() for name in DAY]
        images = "".join(f'<img src="data:image/png;base64,{base64.b64encode(one).decode()}">' for one in sources)
        page = self.browser.new_page(viewport={"width": 1800, "height": 960}, device_scale_factor=_DAY_SCALE)
        page.set_content(_DAY_PAGE + images, wait_until="load")
        self._keep("day", page.locator("body").screenshot())
        page.close()


def before(studio: Studio, fan: Fan, language: str) -> None:
    """Reservation is open, the sale is two days away."""
    fan.come(studio.sale(f"before-{language}", opens="+189296s", closes="-1h"))
    fan.see("reserve")
    studio.shoot(fan, f"before-{language}")


def reserved(studio: Studio, fan: Fan, language: str) -> None:
    """Reserved; the sale opens in minutes."""
    fan.come(studio.sale(f"reserved-{language}", opens="+767s", closes="-10m"))
    fan.see("reserve")
    fan.press("reserve")
    fan.see("waiting")
    studio.shoot(fan, f"reserved-{language}")


def day(studio: Studio, fan: Fan, language: str) -> None:
    """It is open, and others have been quick; one is still to be had."""
    sale = studio.sale(f"day-{language}", opens="-1s", closes="+30m")
    studio.crowd.buy(sale, "silver", _SOLD)
    fan.come(sale)
    fan.see("reserve")
    fan.press("reserve")
    fan.see("buy")
    fan.page.wait_for_selector('[data-test="item-silver"][data-stock="low"]')
    studio.shoot(fan, f"buy-{language}")

    fan.press("buy")
    fan.see("won")
    fan.see_order("confirmed")
    fan.page.wait_for_selector('[data-test="pay"]:enabled')
    studio.shoot(fan, f"won-{language}")

    fan.press("pay")
    fan.see("paid")
    studio.shoot(fan, f"paid-{language}")


def sold_out(studio: Studio, fan: Fan, language: str) -> None:
    """Later on the same day: another fan waits for a unit to come back."""
    sale = f"day-{language}"
    fan.come(sale, "anna")
    fan.see("reserve")
    fan.press("reserve")
    fan.see("buy")
    studio.crowd.buy(sale, "silver", _STOCK[0] - _SOLD - 1)
    studio.crowd.buy(sale, "black", _STOCK[1])
    fan.see("sold_out", within_s=20)
    studio.shoot(fan, f"sold-out-{language}")


@contextmanager
def studio(program: str, folder: Path) -> Iterator[Studio]:
    """Servers, site, ops and browser, all of them ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="pictures-") as state, EmbeddedPair(state=Path(state, "pair")) as addresses:
        asyncio.run(_migrate(addresses))
        with (
            site(addresses, Path(state, "site")) as base_url,
            desk(addresses, base_url) as ops,
            sync_playwright() as playwright,
            launch(playwright, program) as browser,
        ):
            yield Studio(browser, ops, Crowd(ops.portal, base_url), folder)


async def _migrate(addresses: Addresses) -> None:
    connection = await asyncpg.connect(addresses.postgres_dsn, timeout=10)
    try:
        await migrate(connection)
    finally:
        await connection.close()


def main() -> None:
    """The command line. Exits 1 when a picture is heavier than a README should carry, 3 without Chromium."""
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description=__doc__, allow_abbrev=False)
    parser.add_argument("--folder", type=Path, default=Path("docs/pictures"), help="where they go (%(default)s)")
    folder: Path = parser.parse_args().folder
    program = chromium()
    if program is None:
        sys.stderr.write("There is no Chromium here; install the package chromium.\n")
        sys.exit(3)
    folder.mkdir(parents=True, exist_ok=True)
    with studio(program, folder) as opened:
        for language in LANGUAGES:
            opened.take(language)
        opened.compose_day()
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.png"))}
    sys.stdout.writelines(f"{size / 1000:6.1f} kB  {name}\n" for name, size in sizes.items())
    sys.exit(max(sizes.values()) > BYTES_MAX)


if __name__ == "__main__":
    main()
