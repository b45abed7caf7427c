"""A fan with a phone: what they do on the page and what they see. Complaints of the browser are gathered on the way."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Playwright,
    Request,
)
from playwright.sync_api import TimeoutError as LateError

FLAGS: Final = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-quic",
]  # fmt: skip
PHONE: Final[tuple[int, int]] = (390, 844)
_TELL_CSP: Final = (
    "addEventListener('securitypolicyviolation', e => console.error(`CSP ${e.violatedDirective} ${e.blockedURI}`))"
)
# A refusal or a cut line is an answer that the page deals with; Chromium logs it all the same.
_ANSWER: Final = re.compile(r"^Failed to load resource")


class Fan:
    """One person on one page. Nothing here waits for a time: it waits until something is seen."""

    def __init__(self, page: Page, base_url: str) -> None:
        self.page = page
        self.base_url = base_url
        self.complaints: list[str] = []
        page.add_init_script(_TELL_CSP)
        page.on("pageerror", lambda fault: self.complaints.append(f"error: {fault}"))
        page.on("console", self._hear)
        page.on("request", self._check_origin)

    def _hear(self, message: ConsoleMessage) -> None:
        answered = _ANSWER.match(message.text) and "/api/v1/" in message.location["url"]
        if message.type in ("error", "warning") and not answered:
            self.complaints.append(f"console: {message.text}")

    def _check_origin(self, request: Request) -> None:
        if not request.url.startswith((f"{self.base_url}/", "data:")):
            self.complaints.append(f"another origin: {request.url}")

    @property
    def context(self) -> BrowserContext:
        """The phone."""
        return self.page.context

    def visit(self, sale: str, query: str = "") -> None:
        """Open the page of a sale."""
        self.page.goto(f"{self.base_url}/s/{sale}{query}")

    def come(self, sale: str, name: str = "xiaolin", query: str = "") -> None:
        """Open the page and sign in."""
        self.visit(sale, query)
        self.see("login")
        self.sign_in(name)

    def sign_in(self, name: str = "xiaolin") -> None:
        """Give the name."""
        self.find("login-name").fill(name)
        self.press("login")

    def find(self, name: str) -> Locator:
        """The part of the page with that data-test name."""
        return self.page.locator(f'[data-test="{name}"]')

    def press(self, name: str) -> None:
        """Tap it, once it is there and enabled."""
        self.find(name).tap()

    def see(self, phase: str, *, within_s: float = 10) -> None:
        """Wait until the page stands there."""
        self._wait(f'body[data-phase="{phase}"]', within_s)

    def see_order(self, state: str, *, within_s: float = 10) -> None:
        """Wait until the order's ticket tells that state."""
        self._wait(f'[data-test="order-state"][data-state="{state}"]', within_s)

    def _wait(self, selector: str, within_s: float) -> None:
        try:
            self.page.wait_for_selector(selector, timeout=within_s * 1000)
        except LateError as late:
            phase = self.page.evaluate("document.body.dataset.phase")
            shown = self.page.inner_text("body")
            raise AssertionError(f"waited in vain for {selector}; the page is at {phase}:\n{shown}") from late

    @property
    def told(self) -> str:
        """The words of the moment."""
        return self.find("status").inner_text()

    @property
    def order(self) -> str:
        """The id of the order on display."""
        return self.find("order").get_attribute("data-order") or ""


@contextmanager
def phone(
    browser: Browser,
    *,
    language: str = "zh-CN",
    scheme: Literal["light", "dark"] = "light",
    size: tuple[int, int] = PHONE,
) -> Iterator[BrowserContext]:
    """A phone that nobody has used before."""
    context = browser.new_context(
        locale=language,
        color_scheme=scheme,
        timezone_id="Asia/Shanghai",
        viewport={"width": size[0], "height": size[1]},
        device_scale_factor=2,
        has_touch=True,
        is_mobile=True,
    )
    try:
        yield context
    finally:
        context.close()


def chromium() -> str | None:
    """The browser's program, if there is one here."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None)


def launch(playwright: Playwright, program: str) -> Browser:
    """A headless Chromium that calls nobody."""
    return playwright.chromium.launch(executable_path=program, args=FLAGS)
