"""Accessibility basics: names, focus, live words, targets that a thumb can hit, contrast in both colour schemes."""

from collections.abc import Callable
from typing import Any, Final, Literal

import pytest
from playwright.sync_api import Browser

from tests.acceptance.desk import Desk
from tests.acceptance.fan import Fan, phone

pytestmark = pytest.mark.browser

_TARGET_PX: Final = 44
_CONTRAST: Final = 4.5
_TARGETS: Final = """() => [...document.querySelectorAll("button, a, input:not([type=radio]), label.item")]
  .filter((node) => node.checkVisibility())
  .map((node) => ({ what: node.dataset.test ?? node.className, name: node.getAttribute("aria-label") ?? node.innerText,
    tag: node.tagName, labels: node.labels?.length ?? 0,
    width: node.getBoundingClientRect().width, height: node.getBoundingClientRect().height }))"""
# A disabled control need not be readable by the rules; ours is measured all the same.
_CONTRASTS: Final = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = rgba(getComputedStyle(node).backgroundColor);
      if (color[3] > 250) return color;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    const pair = [light(rgba(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    found.push({ text: walker.currentNode.data.trim(), ratio: (pair[0] + 0.05) / (pair[1] + 0.05) });
  }
  return found;
}"""


def assert_usable(fan: Fan) -> None:
    """All that can be pressed has a name and room for a thumb; what is told is a live region; all can be read."""
    targets: list[dict[str, Any]] = fan.page.evaluate(_TARGETS)
    assert len(targets) >= 2
    assert [one for one in targets if not one["name"].strip() and not one["labels"]] == []
    assert [one for one in targets if one["width"] < _TARGET_PX or one["height"] < _TARGET_PX] == []
    assert fan.page.locator('[role="status"][aria-live="polite"]').count() == 1
    assert fan.page.locator("h1").count() == 1
    pale = [one for one in fan.page.evaluate(_CONTRASTS) if one["ratio"] < _CONTRAST]
    assert pale == []
    assert fan.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def focused(fan: Fan) -> str:
    """The part that has the focus and shows it with an outline, itself or by the card around it."""
    found: str = fan.page.evaluate(
        """() => {
          const node = document.activeElement;
          const outlined = ({ outlineStyle, outlineWidth }) => outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
          const seen = [node, node.closest("label")].filter(Boolean).some((one) => outlined(getComputedStyle(one)));
          return seen ? node.dataset.test ?? node.closest("[data-test]")?.dataset.test ?? node.className : "";
        }"""
    )
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_step_is_usable(
    browser: Browser, base_url: str, ops: Desk, sale_name: str, scheme: Literal["light", "dark"]
) -> None:
    """Given each step of a purchase on a small phone / Then names, targets, live words and contrast are right."""
    ops.reserved_sale(sale_name, opens="-1s", closes="+1h")
    with phone(browser, language="en-US", scheme=scheme, size=(360, 640)) as held:
        fan = Fan(held.new_page(), base_url)
        fan.visit(sale_name)
        steps: list[tuple[str, Callable[[], None]]] = [
            ("login", fan.sign_in),
            ("reserve", lambda: fan.press("reserve")),
            ("buy", lambda: fan.press("buy")),
            ("won", lambda: fan.press("cancel")),
            ("won", lambda: fan.press("cancel-yes")),
            ("cancelled", lambda: None),
        ]
        for phase, then in steps:
            fan.see(phase)
            assert_usable(fan)
            then()
        assert fan.complaints == []


def test_a_keyboard_reaches_everything(fan: Fan, ops: Desk, sale_name: str) -> None:
    """Given a fan without a touch screen / When they go on by Tab / Then each stop shows the focus, and Enter buys."""
    ops.sale(sale_name)
    fan.come(sale_name)
    fan.see("buy")
    fan.page.reload()  # Tab begins at the top
    fan.see("buy")
    stops = []
    for _ in range(5):
        fan.page.keyboard.press("Tab")
        stops.append(focused(fan))
    assert stops == ["brand", "sign-out", "language", "item-silver", "buy"]
    fan.page.keyboard.press("Enter")
    fan.see("won")
