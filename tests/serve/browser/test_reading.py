"""A page in a real browser: its marked regions, heatmaps, and the pages around it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pymupdf
import pytest
from PIL import Image

from docrag import demo
from tests.conftest import SHARED
from tests.samples import make_image
from tests.serve.browser.visitor import CATERING, IN_CHROMIUM, ULTA, Visitor

pytestmark = IN_CHROMIUM


def boxes_of(path: Path, number: int, text: str) -> list[tuple[float, ...]]:
    """Where a text is on a page of a PDF, in fractions of the page."""
    with pymupdf.open(path) as file:
        page = file[number - 1]
        width, height = page.rect.width, page.rect.height
        return [
            (rect.x0 / width, rect.y0 / height, rect.x1 / width, rect.y1 / height)
            for rect in page.search_for(text)
        ]


def drawn(visitor: Visitor, selector: str) -> tuple[float, ...]:
    """Where an element is on the large page, in fractions of the page."""
    measure = """selector => {
        const [a, b] = [selector, ".large img"].map(s => document.querySelector(s).getBoundingClientRect());
        return [a.left - b.left, a.top - b.top, a.right - b.left, a.bottom - b.top]
            .map((side, i) => side / (i % 2 ? b.height : b.width));
    }"""
    return tuple(visitor.tab.evaluate(measure, selector))


def holds(outer: tuple[float, ...], inner: tuple[float, ...]) -> bool:
    slack = 0.006
    return (
        outer[0] <= inner[0] + slack
        and outer[1] <= inner[1] + slack
        and inner[2] <= outer[2] + slack
        and inner[3] <= outer[3] + slack
    )


@pytest.mark.slow
@pytest.mark.skipif(not ULTA.is_file(), reason="no real report on this machine")
def test_a_question_about_a_real_report_finds_the_page_and_marks_the_evidence(visit):
    lines = (SHARED / "smoke" / "queries.jsonl").read_text().splitlines()
    questions = {entry["_id"]: entry["text"] for entry in map(json.loads, lines)}
    question = questions["fb-00603"]
    visitor = visit()
    visitor.search(question)
    assert visitor.files()[0] == ULTA.name
    assert visitor.tab.locator(".page-of").first.inner_text().startswith("page 3 of 9")
    visitor.open_first()
    evidence = boxes_of(ULTA, 3, "47 new stores")
    regions = [drawn(visitor, f".large .regions .r{n}") for n in (1, 2, 3)]
    assert evidence
    assert any(holds(region, box) for region in regions for box in evidence)


@pytest.mark.slow
def test_regions_are_drawn_where_the_words_are(visit):
    visitor = visit()
    visitor.search(CATERING.text)
    visitor.open_first()
    path = demo.documents() / CATERING.file
    row, *_ = boxes_of(path, CATERING.page, "Kiosk and catering")  # in the table
    [other] = boxes_of(path, CATERING.page, "Revenue rose by")
    best = drawn(visitor, ".large .regions .r1")
    assert holds(best, row)
    assert not holds(best, other)
    visitor.tab.uncheck("#mark")
    assert not visitor.tab.locator(".large .regions").is_visible()
    visitor.tab.check("#mark")
    visitor.tab.locator("[data-region='1']").hover()
    assert "lit" in visitor.tab.locator(".large .r1").get_attribute("class")


@pytest.mark.slow
def test_the_heatmap_of_a_word_glows_where_the_word_is(visit, tmp_path: Path):
    visitor = visit()
    visitor.search(CATERING.text)
    visitor.open_first()
    visitor.tab.get_by_role("button", name="catering", exact=True).click()
    visitor.tab.locator("#strength").fill("1")
    assert visitor.tab.locator("#heat .glow").get_attribute("fill-opacity") == "1"
    assert not visitor.tab.locator(".large .regions").is_visible()
    visitor.tab.wait_for_timeout(300)  # there is no event for a mask that has loaded
    path = demo.documents() / CATERING.file
    visitor.tab.locator(".large").screenshot(path=tmp_path / "page.png")
    page = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"), np.float32)
    glow = page[..., 0] - page[..., 2]  # red and not blue

    def within(box: tuple[float, ...]) -> float:
        height, width = glow.shape
        x0, y0, x1, y1 = (round(side * (height if i % 2 else width)) for i, side in enumerate(box))
        return float(glow[y0:y1, x0:x1].mean())

    word = max(boxes_of(path, CATERING.page, "catering"), key=within)
    assert within(word) > 60
    assert within(boxes_of(path, CATERING.page, "Passenger fares")[0]) < within(word) / 2
    visitor.tab.get_by_role("button", name="catering", exact=True).click()
    assert not visitor.tab.locator("#heat").is_visible()


@pytest.mark.slow
def test_pages_are_turned_and_the_original_opens(visit):
    visitor = visit()
    visitor.search(CATERING.text)
    visitor.open_first()
    visitor.tab.click("#after")
    visitor.tab.wait_for_function("() => document.querySelector('.number').textContent.startsWith('4 ')")
    visitor.tab.click("#before")
    visitor.tab.wait_for_function("() => document.querySelector('.number').textContent.startsWith('3 ')")
    address = visitor.tab.get_by_role("link", name="Open PDF").get_attribute("href")
    assert address.endswith(".pdf#page=3")
    answer = visitor.tab.request.get(visitor.home + address)
    assert answer.body() == (demo.documents() / CATERING.file).read_bytes()
    visitor.tab.locator(".strip a").last.click()
    visitor.tab.wait_for_function("() => document.querySelector('.number').textContent.startsWith('5 ')")
    visitor.tab.click("#back")
    visitor.tab.wait_for_selector(".hits")
    assert visitor.tab.input_value("#q") == CATERING.text


@pytest.mark.slow
def test_the_address_of_a_page_can_be_shared(visit):
    sender = visit()
    sender.search(CATERING.text)
    address = sender.tab.locator(".hit .open").first.get_attribute("href")
    receiver = visit(address)
    assert receiver.tab.locator(".large .regions rect").count() == 3
    assert receiver.tab.locator(".large .numbers text").all_text_contents() == ["1", "2", "3"]
    receiver.tab.wait_for_selector(".word")
    receiver.tab.reload()
    receiver.tab.keyboard.press("Escape")
    receiver.tab.wait_for_selector(".hits")
    assert receiver.tab.input_value("#q") == CATERING.text


@pytest.mark.slow
def test_a_part_without_text_is_shown_as_an_image(visit, gallery: str):
    visitor = visit("/?q=a+red+box&k=1", at=gallery)
    visitor.tab.wait_for_timeout(300)
    crop = visitor.tab.locator(".hit .crop")
    x, y, width, height = map(float, crop.get_attribute("viewBox").split())
    rect = visitor.tab.locator(".hit .regions .r1")
    box = [float(rect.get_attribute(name)) for name in ("x", "y", "width", "height")]
    page = [float(crop.locator("image").get_attribute(name)) for name in ("width", "height")]
    assert x <= box[0] * page[0] + 1
    assert y <= box[1] * page[1] + 1
    assert x + width >= (box[0] + box[2]) * page[0] - 1
    assert y + height >= (box[1] + box[3]) * page[1] - 1
    cropped = np.asarray(
        Image.open(io.BytesIO(crop.screenshot())).convert("RGB").resize((40, 40)), np.float32
    )
    number = int(visitor.files()[0].removeprefix("picture ").removesuffix(".png"))
    whole = make_image(number, 600, 800)
    part = [round(side * 600 / page[0]) for side in (x, y, x + width, y + height)]
    expected = np.asarray(whole.crop(part).resize((40, 40)), np.float32)
    assert np.abs(cropped - expected)[3:-3, 3:-3].mean() < 25
    visitor.open_first()
    assert "No text in this part" in visitor.tab.locator(".matched").inner_text()


@pytest.mark.slow
def test_the_strip_shows_the_open_page_and_nothing_covers_it(visit):
    """Also if the page is short and the list of matched parts is long."""
    visitor = visit(f"/?q={CATERING.text}", width=375)
    visitor.open_first()
    visitor.tab.locator(".strip a").last.click()
    visitor.tab.wait_for_function("() => document.querySelector('.number').textContent.startsWith('5 ')")
    strip = visitor.tab.locator(".strip").bounding_box()
    current = visitor.tab.locator(".strip [aria-current]").bounding_box()
    assert visitor.tab.locator(".strip").evaluate("strip => strip.scrollWidth > strip.clientWidth")
    assert strip["x"] <= current["x"]
    assert current["x"] + current["width"] <= strip["x"] + strip["width"]
    visitor.tab.set_viewport_size({"width": 1280, "height": 800})
    visitor.tab.evaluate("scrollTo(0, document.body.scrollHeight)")
    strip, side = (visitor.tab.locator(part).bounding_box() for part in (".strip", ".side"))
    assert strip["x"] + strip["width"] <= side["x"]
