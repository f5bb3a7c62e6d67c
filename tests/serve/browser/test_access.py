"""Accessibility: keyboard, phones, dark mode, reduced motion, no scripts, screen readers."""

from __future__ import annotations

import pytest

from tests.serve.browser.visitor import CATERING, IN_CHROMIUM, LAMP, Visitor

pytestmark = IN_CHROMIUM
READABLE = 4.5
"""Minimum contrast of a text with its background (WCAG 2, AA)."""
COLOURS = """selector => {
    const style = getComputedStyle(document.querySelector(selector));
    return [style.color, style.backgroundColor].map(rgb => rgb.match(/\\d+/g).slice(0, 3).map(Number));
}"""


@pytest.mark.slow
def test_the_keyboard_is_enough(visit):
    visitor = visit(f"/?q={CATERING.text.split()[-3]}")
    press = visitor.tab.keyboard.press
    focused = (
        "document.activeElement.closest('.hit')?.querySelector('.rank').textContent"
        " || document.activeElement.id"
    )
    visitor.tab.evaluate("document.activeElement.blur()")
    press("/")
    assert visitor.tab.evaluate(focused) == "q"
    visitor.tab.keyboard.type(CATERING.text)
    press("Enter")
    visitor.wait_for_results(CATERING.text)
    press("ArrowDown")
    assert visitor.tab.evaluate(focused) == "1"
    for key, rank in (("j", "2"), ("ArrowDown", "3"), ("k", "2"), ("ArrowUp", "1")):
        press(key)
        assert visitor.tab.evaluate(focused) == rank
    outline = "getComputedStyle(document.activeElement.closest('.hit')).boxShadow"
    assert visitor.tab.evaluate(outline) != "none"
    press("Enter")
    visitor.tab.wait_for_selector(".word")
    press("1")
    assert visitor.tab.locator(".word").first.get_attribute("aria-pressed") == "true"
    press("ArrowRight")
    visitor.tab.wait_for_function("() => document.querySelector('.number')?.textContent.startsWith('4 ')")
    press("Escape")
    visitor.tab.wait_for_selector(".hits")
    visitor.tab.wait_for_function(f"() => ({focused}) === '2'")  # the hit of page 4
    press("?")
    assert visitor.tab.locator("#keys").is_visible()
    press("Escape")
    assert not visitor.tab.locator("#keys").is_visible()


@pytest.mark.slow
def test_no_page_is_wider_than_a_phone(visit):
    visitor = visit(width=375, height=720)
    assert not visitor.scrolls_sideways()
    visitor.search(CATERING.text)
    assert not visitor.scrolls_sideways()
    visitor.tab.click("#filter summary")
    assert not visitor.scrolls_sideways()
    panel = visitor.tab.locator(".panel").bounding_box()
    assert panel["x"] >= 0
    assert panel["x"] + panel["width"] <= 375
    visitor.tab.keyboard.press("Escape")
    visitor.open_first()
    visitor.tab.wait_for_selector(".word")
    assert not visitor.scrolls_sideways()
    visitor.tab.goto(f"{visitor.home}/?q=xylophone&mode=text")
    assert not visitor.scrolls_sideways()


@pytest.mark.slow
def test_it_works_without_scripts(visit):
    visitor = visit(java_script_enabled=False)
    visitor.tab.fill("#q", LAMP.text)
    visitor.tab.check("[name=mode][value=late]", force=True)
    visitor.tab.press("#q", "Enter")
    visitor.tab.wait_for_url("**mode=late*")
    assert visitor.files()[0] == LAMP.file
    visitor.tab.locator(".hit .open").first.click()
    visitor.tab.wait_for_url("**/page/*")
    assert visitor.tab.locator(".large .regions rect").count() == 3


@pytest.mark.slow
def test_dark_mode_and_reduced_motion_are_respected(visit):
    colour = "getComputedStyle(document.body).backgroundColor"
    light = visit().tab.evaluate(colour)
    dark = visit(color_scheme="dark", reduced_motion="reduce")
    assert sum(map(int, light[4:-1].split(", "))) > 600
    assert sum(map(int, dark.tab.evaluate(colour)[4:-1].split(", "))) < 150
    dark.search(CATERING.text)
    assert dark.tab.evaluate("getComputedStyle(document.querySelector('.hit')).transitionProperty") == "none"


@pytest.mark.parametrize("width", [375, 1280])
def test_every_button_has_a_name(visit, width: int):
    visitor = visit(f"/?q={CATERING.text}", width=width)
    buttons = visitor.tab.locator("button:visible, summary:visible")
    named = visitor.tab.get_by_role("button", name="Add PDFs")
    assert named.count() == 1
    assert buttons.count() > 2
    for button in buttons.all():
        assert button.get_attribute("aria-label") or button.inner_text().strip()
    assert visitor.tab.get_by_role("heading", level=1).count() == 1


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast(visit, scheme: str):
    visitor = visit(f"/?q={CATERING.text}", color_scheme=scheme)
    assert contrast(visitor, ".hit mark") > READABLE
    assert contrast(visitor, ".hit .rank") > READABLE
    assert contrast(visitor, ".button.strong") > READABLE
    visitor.open_first()
    visitor.tab.locator(".word").first.click()
    assert contrast(visitor, ".word[aria-pressed=true]") > READABLE


def contrast(visitor: Visitor, selector: str) -> float:
    """Contrast of an element's text with its background, 1..21, as WCAG defines it."""
    dark, light = sorted(map(luminance, visitor.tab.evaluate(COLOURS, selector)))
    return (light + 0.05) / (dark + 0.05)


def luminance(rgb: list[int]) -> float:
    parts = [part / 255 for part in rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
