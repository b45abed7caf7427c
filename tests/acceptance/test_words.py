"""Chinese and English: every visible string switches, and so do the page's language, its prices and its times."""

import re
from collections.abc import Callable
from typing import Final

import pytest

from tests.acceptance.conftest import Phones
from tests.acceptance.desk import Desk
from tests.acceptance.fan import Fan

pytestmark = pytest.mark.browser

_TEXTS: Final = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [document.title];
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (parent.checkVisibility()) found.push(walker.currentNode.data);
  }
  for (const node of document.querySelectorAll("[aria-label], [title], [placeholder]"))
    for (const name of ["aria-label", "title", "placeholder"]) found.push(node.getAttribute(name) ?? "");
  return found.map((text) => text.trim()).filter(Boolean);
}"""
_HAN: Final = re.compile(r"[\u3400-\u9fff]")
_WORD: Final = re.compile(r"[A-Za-z]{2,}")
_NAMES: Final = {"flashsale", "xiaolin", "GB", "https"}  # the same in both


def texts(fan: Fan) -> list[str]:
    """All that can be read on the page, and all that is read out."""
    found: list[str] = fan.page.evaluate(_TEXTS)
    return found


def chinese_in(found: list[str]) -> list[str]:
    """What is still Chinese, besides the button that leads there."""
    return [text for text in found if _HAN.search(text) and text != "中文"]


def english_in(found: list[str]) -> list[str]:
    """What is still English, besides names and the button that leads there. An order's number is no word."""
    rest = [text for text in found if text != "English" and not re.fullmatch(r"[0-9A-F -]+|[0-9a-f-]{36}", text)]
    return [text for text in rest if set(_WORD.findall(text)) - _NAMES]


def assert_switches(fan: Fan) -> None:
    """Given the page in Chinese / When the fan switches there and back / Then no string is left behind."""
    assert fan.page.evaluate("document.documentElement.lang") == "zh-Hans"
    assert english_in(texts(fan)) == []
    fan.press("language")
    fan.page.wait_for_selector("html[lang=en]")
    assert chinese_in(texts(fan)) == []
    fan.press("language")
    fan.page.wait_for_selector("html[lang=zh-Hans]")


def test_every_string_switches(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given each step of a purchase / Then all that is said switches between Chinese and English."""
    ops.reserved_sale(sale_name, opens="+6s")
    fan.visit(sale_name)
    steps: list[tuple[str, Callable[[], None]]] = [
        ("login", fan.sign_in),
        ("reserve", lambda: fan.press("reserve")),
        ("waiting", lambda: None),
        ("buy", lambda: fan.press("buy")),
        ("won", lambda: fan.see_order("confirmed")),
        ("won", lambda: fan.press("cancel")),
        ("won", lambda: fan.press("cancel-no")),
        ("won", lambda: fan.press("pay")),
        ("paid", lambda: None),
    ]
    for phase, then in steps:
        fan.see(phase)
        assert_switches(fan)
        then()


def test_prices_and_dates_follow_the_language(phones: Phones, ops: Desk, sale_name: str) -> None:
    """Given fans in China and America / Then each reads prices and times as at home."""
    ops.sale(sale_name)
    read = {}
    for language in ("zh-CN", "en-US"):
        fan = phones(language=language)
        fan.come(sale_name)
        fan.see("buy")
        read[language] = (fan.find("buy").inner_text(), fan.find("item-black").inner_text(), " ".join(texts(fan)))
        assert fan.page.title().endswith("· flashsale")

    (buy_zh, black_zh, all_zh), (buy_en, black_en, all_en) = read["zh-CN"], read["en-US"]
    assert buy_zh == "购买 ¥1,999"
    assert buy_en == "Buy for CN¥1,999"
    assert "¥2,499.50" in black_zh
    assert "CN¥2,499.50" in black_en
    assert "中国标准时间" in all_zh
    assert "China Standard Time" in all_en
    assert re.search(r"\d:\d\d [AP]M", all_en)


def test_the_choice_of_language_is_kept(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a fan who chose English on a Chinese phone / When they reload / Then it is still English."""
    ops.sale(sale_name)
    fan.visit(sale_name)
    fan.see("login")
    fan.press("language")
    fan.page.wait_for_selector("html[lang=en]")
    fan.page.reload()
    fan.see("login")
    fan.page.wait_for_selector("html[lang=en]")
    assert chinese_in(texts(fan)) == []
