"""One Chromium and one site for all these tests; each test has a sale and phones of its own.

The site's worker must end before other tests begin, because it would work on their sales: so these fixtures live as
long as this folder, not as long as the run.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest
from playwright.sync_api import Browser, sync_playwright

from flashsale.embedded import Addresses
from tests.acceptance.desk import Desk, Rival, desk, rival
from tests.acceptance.fan import Fan, chromium, launch, phone
from tests.acceptance.site import site
from tests.support.servers import missing


class Phones(Protocol):
    """Gives a fan a phone."""

    def __call__(self, *, language: str = "zh-CN") -> Fan: ...


class Rivals(Protocol):
    """Signs another fan in."""

    def __call__(self, name: str) -> Rival: ...


@pytest.fixture(scope="package")
def base_url(migrated: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the site answers."""
    with site(migrated, tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture(scope="package")
def shop_desk(migrated: Addresses, base_url: str) -> Iterator[Desk]:
    """Where ops sit."""
    with desk(migrated, base_url) as found:
        yield found


@pytest.fixture(scope="package")
def browser(shop_desk: Desk) -> Iterator[Browser]:
    """Chromium. It comes after the servers: while it runs, no other event loop can run in this thread."""
    program = chromium()
    if program is None:
        missing("There is no Chromium here; install the package chromium to run the tests of the page.")
    with sync_playwright() as playwright, launch(playwright, program) as found:
        yield found


@pytest.fixture
def ops(shop_desk: Desk, sale_name: str) -> Iterator[Desk]:
    """The desk; what is kept of the test's sale is deleted afterwards."""
    yield shop_desk
    shop_desk.clear(sale_name)


@pytest.fixture
def phones(browser: Browser, base_url: str, ops: Desk) -> Iterator[Phones]:
    """Phones for fans. Whatever a test is about: the browser must have had nothing to complain of."""
    fans: list[Fan] = []
    with ExitStack() as stack:

        def give(*, language: str = "zh-CN") -> Fan:
            fans.append(Fan(stack.enter_context(phone(browser, language=language)).new_page(), base_url))
            return fans[-1]

        yield give
    assert [complaint for fan in fans for complaint in fan.complaints] == []


@pytest.fixture
def fan(phones: Phones) -> Fan:
    """A fan in China."""
    return phones()


@pytest.fixture
def rivals(base_url: str) -> Iterator[Rivals]:
    """Other fans."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(rival(base_url, name))
