"""Questions, filters and images in a real browser, and what goes wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from docrag import demo
from tests.serve.browser.visitor import CATERING, IN_CHROMIUM, LAMP, SCAN, Visitor

pytestmark = IN_CHROMIUM


@pytest.mark.slow
def test_the_page_that_answers_a_question_comes_first(visit):
    visitor = visit()
    assert visitor.tab.locator(".covers a").count() >= 5
    for question in demo.QUESTIONS:
        visitor.search(question.text)
        first = visitor.tab.locator(".hit").first
        assert first.locator(".file").inner_text() == question.file
        assert first.locator(".page-of").inner_text().startswith(f"page {question.page} of")
    assert visitor.tab.title().startswith(LAMP.text)
    image = visitor.tab.locator(".hit img").first
    assert image.evaluate("image => image.complete && image.naturalWidth") == 480
    visitor.tab.go_back()
    visitor.wait_for_results(SCAN.text)
    assert visitor.tab.input_value("#q") == SCAN.text
    assert visitor.files()[0] == SCAN.file


@pytest.mark.slow
def test_a_filter_applies_at_once_and_is_in_the_address(visit):
    visitor = visit()
    visitor.search("What has to be cleaned?")
    visitor.tab.click("#filter summary")
    visitor.tab.fill("#filter [name=find]", "tarn")
    visitor.tab.press("#filter [name=find]", "Enter")
    assert visitor.tab.locator("#listed").is_visible()
    visitor.tab.wait_for_function("() => document.querySelectorAll('#listed li').length === 1")
    assert visitor.tab.locator("#listed .pages").inner_text().split() == ["4", "pages"]
    visitor.tab.check("#listed input")
    visitor.tab.wait_for_url("**in=*")
    visitor.tab.wait_for_function("() => document.querySelectorAll('.hit').length === 4")
    assert set(visitor.files()) == {LAMP.file}
    assert visitor.tab.inner_text("#chosen") == LAMP.file
    visitor.tab.reload()
    assert set(visitor.files()) == {LAMP.file}
    visitor.tab.get_by_text("Text", exact=True).click()
    visitor.tab.wait_for_url("**mode=text*")
    visitor.tab.click("#filter summary")
    visitor.tab.click("[data-clear]")
    visitor.tab.wait_for_function("() => !location.search.includes('in=')")
    assert visitor.tab.inner_text("#chosen") == "All documents"


@pytest.mark.slow
def test_errors_are_shown_and_one_can_search_again(visit):
    visitor = visit("/?q=ferry&mode=fuzzy")
    assert "one of hybrid, late, cosine, text" in visitor.tab.inner_text("[role=alert].wrong").lower()
    [error] = visitor.errors
    assert "status of 400" in error
    visitor.errors.clear()
    visitor.search(CATERING.text)
    assert visitor.files()[0] == CATERING.file
    visitor.tab.route("**/results?*", lambda route: route.abort())
    visitor.ask("another question")
    visitor.tab.wait_for_selector("#notice:has-text('does not respond')")
    assert visitor.errors
    visitor.errors.clear()


@contextmanager
def held(visitor: Visitor) -> Iterator[None]:
    """Hold back the responses to questions that are submitted within the block until it ends."""
    waiting: list[Any] = []
    ended = False

    def hold(route: Any) -> None:
        if ended:
            route.continue_()
        else:
            waiting.append(route)

    visitor.tab.route("**/results?*", hold)
    yield
    until = time.monotonic() + 10
    while not waiting and time.monotonic() < until:
        visitor.tab.wait_for_timeout(20)
    ended = True
    for route in waiting:
        route.continue_()


@pytest.mark.slow
def test_of_several_quick_questions_the_last_one_counts(visit):
    visitor = visit()
    with held(visitor):
        for question in ("ferry", "ferry timetable", CATERING.text):
            visitor.ask(question)
    visitor.wait_for_results(CATERING.text)
    assert visitor.files()[0] == CATERING.file
    visitor.tab.wait_for_timeout(300)
    assert visitor.tab.title().startswith(CATERING.text)  # no late response replaces it


@pytest.mark.slow
def test_a_response_that_arrives_after_going_back_is_ignored(visit):
    visitor = visit()
    visitor.search(LAMP.text)
    visitor.search(CATERING.text)
    with held(visitor):
        visitor.ask("another question")
        visitor.tab.go_back()
        visitor.tab.wait_for_function("question => document.title.startsWith(question)", arg=LAMP.text)
    visitor.tab.wait_for_timeout(500)
    assert visitor.tab.title().startswith(LAMP.text)
    assert visitor.tab.input_value("#q") == LAMP.text
    assert "another" not in visitor.tab.url
    visitor.tab.wait_for_function("() => !document.querySelector('.htmx-request')")
    visitor.search(CATERING.text)


@pytest.mark.slow
def test_a_page_can_be_opened_during_another_search(visit):
    visitor = visit()
    visitor.search(CATERING.text)
    visitor.tab.route("**/results?*", lambda route: None)  # no response ever comes
    visitor.ask("one more question")
    visitor.open_first()
    visitor.tab.wait_for_timeout(300)
    assert "/page/" in visitor.tab.url


@pytest.mark.slow
@pytest.mark.parametrize("question", ["\"fares\" & <b>'x'</b> #1 + 100 % ?", "ferry " * 330, "渡船 ⛴"])
def test_questions_keep_all_their_characters(visit, question: str):
    visitor = visit(width=375)
    visitor.ask(question)
    visitor.tab.wait_for_selector(".results .summary")
    assert not visitor.scrolls_sideways()
    visitor.tab.reload()
    assert visitor.tab.input_value("#q") == question.strip()
    assert visitor.tab.locator(".hit").count() == 10


@pytest.mark.slow
def test_a_dropped_image_finds_its_own_page_first(visit, gallery: str):
    """Whatever the weights are: nothing is more similar to an image than itself."""
    visitor = visit(at=gallery)
    pictures = visitor.tab.locator(".covers a")
    for number in (1, 3):
        source = pictures.nth(number).locator("img").get_attribute("src").partition("?")[0]
        visitor.drop(source, "found somewhere.jpg", "image/jpeg")
        visitor.tab.wait_for_url("**like=*")
        visitor.tab.wait_for_selector(".hits")
        assert visitor.files()[0] == f"picture {number}.png"
        assert not visitor.tab.locator("#drop").is_visible()
        visitor.tab.goto(gallery)
    visitor.tab.go_back()
    visitor.tab.wait_for_selector(".hits")
    assert visitor.tab.locator(".like .file").inner_text() == "found somewhere.jpg"
    visitor.tab.get_by_text("Cosine", exact=True).click()  # other options keep the image
    visitor.tab.wait_for_url("**mode=cosine*")
    assert "like=" in visitor.tab.url
    assert visitor.files()[0] == "picture 3.png"
    visitor.open_first()
    visitor.tab.keyboard.press("Escape")
    visitor.tab.wait_for_selector(".hits")
    assert visitor.files()[0] == "picture 3.png"
    visitor.tab.locator(".like a").click()
    visitor.tab.wait_for_selector(".covers")
