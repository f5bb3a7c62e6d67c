"""The pages in a real browser: Chromium without a window, and the server that people start."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pymupdf
import pytest
import uvicorn
from PIL import Image

from docrag import Index, demo
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from docrag.settings import load_settings
from tests.conftest import SHARED
from tests.samples import make_image, write_pdf

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine: apt-get install chromium"),
    pytest.mark.allow_hosts(["127.0.0.1"]),
]

CATERING, SCAN, LAMP = demo.QUESTIONS
ULTA = SHARED / "smoke" / "pdfs" / "ULTABEAUTY_2023Q4_EARNINGS.pdf"


class Visitor:
    """A tab of the browser that remembers what it asked for and what it complained about."""

    def __init__(self, tab: Any, home: str) -> None:
        self.tab = tab
        self.home = home
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        tab.set_default_timeout(15_000)
        tab.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        tab.on("console", lambda told: told.type == "error" and self.complaints.append(told.text))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))

    def search(self, question: str) -> None:
        """Ask, and wait for the answer."""
        self.tab.fill("#q", question)
        self.tab.press("#q", "Enter")
        self.answered(question)

    def answered(self, question: str) -> None:
        """Wait until the page shows the answer to a question."""
        there = "asked => document.title.startsWith(asked) && !document.querySelector('.htmx-request')"
        self.tab.wait_for_function(there, arg=question)
        self.tab.wait_for_selector(".told")

    def open_first(self) -> None:
        self.tab.locator(".hit .open").first.click()
        self.tab.wait_for_selector(".reader")

    def files(self) -> list[str]:
        return self.tab.locator(".hit .file").all_inner_texts()

    def is_wide(self) -> bool:
        """Whether it scrolls sideways."""
        return self.tab.evaluate("document.documentElement.scrollWidth > innerWidth")


@pytest.fixture(scope="module")
def home(demo_copy: Callable[[], Path]) -> Iterator[str]:
    """The address of a server over the demo's documents and, where it lies, a real report."""
    folder = demo_copy()
    index = Index.open(folder, create=False)
    if ULTA.is_file():
        assert not index.ingest(ULTA).failures
    with serving(index, folder) as address:
        yield address


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, checkpoint) -> Iterator[str]:
    """The address of a server over pictures without a word, seen by tiny models with random weights."""
    folder = tmp_path_factory.mktemp("gallery")
    for number in range(5):
        make_image(number, 600, 800).save(folder / f"picture {number}.png")
    settings = load_settings(late=checkpoint("colqwen2"), image=checkpoint("clip"), ocr=False)
    index = Index.open(folder / "index", settings=settings)
    assert not index.ingest(folder).failures
    with serving(index, folder / "index") as address:
        yield address


@contextmanager
def serving(index: Index, folder: Path) -> Iterator[str]:
    """A server over an index, which it closes; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        app = create_app(index, ServeSettings(port=port, allow_ingest=True, folder=folder))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, home: str) -> Iterator[Callable[..., Visitor]]:
    """Opens the search page; afterwards no tab may have complained or asked another machine."""
    visitors: list[Visitor] = []

    def open_tab(
        path: str = "/", width: int = 1280, height: int = 800, at: str = home, **options: Any
    ) -> Visitor:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        visitor = Visitor(context.new_page(), at)
        visitors.append(visitor)
        visitor.tab.goto(at + path)
        return visitor

    yield open_tab
    for visitor in visitors:
        visitor.tab.context.close()
        assert visitor.complaints == []
        assert visitor.hosts == {urlsplit(visitor.home).netloc}


def boxes_of(path: Path, number: int, text: str) -> list[tuple[float, ...]]:
    """Where a text stands on a page of a PDF, in page units."""
    with pymupdf.open(path) as file:
        page = file[number - 1]
        width, height = page.rect.width, page.rect.height
        return [
            (at.x0 / width, at.y0 / height, at.x1 / width, at.y1 / height) for at in page.search_for(text)
        ]


def drawn(visitor: Visitor, selector: str) -> tuple[float, ...]:
    """Where an element stands on the large page, in page units."""
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


def test_a_question_brings_the_page_that_answers_it_first(visit):
    visitor = visit()
    assert visitor.tab.locator(".covers a").count() >= 5
    for question in demo.QUESTIONS:
        visitor.search(question.text)
        first = visitor.tab.locator(".hit").first
        assert first.locator(".file").inner_text() == question.file
        assert first.locator(".page-of").inner_text().startswith(f"page {question.page} of")
    assert visitor.tab.title().startswith(LAMP.text)
    shown = visitor.tab.locator(".hit img").first
    assert shown.evaluate("image => image.complete && image.naturalWidth") == 480
    visitor.tab.go_back()
    visitor.answered(SCAN.text)
    assert visitor.tab.input_value("#q") == SCAN.text
    assert visitor.files()[0] == SCAN.file


@pytest.mark.skipif(not ULTA.is_file(), reason="no real report on this machine")
def test_a_question_about_a_real_report_brings_the_page_with_the_evidence_marked(visit):
    lines = (SHARED / "smoke" / "queries.jsonl").read_text().splitlines()
    question = next(asked["text"] for asked in map(json.loads, lines) if asked["_id"] == "fb-00603")
    visitor = visit()
    visitor.search(question)
    assert visitor.files()[0] == ULTA.name
    assert visitor.tab.locator(".page-of").first.inner_text().startswith("page 3 of 9")
    visitor.open_first()
    stands = boxes_of(ULTA, 3, "47 new stores")
    regions = [drawn(visitor, f".large .regions .r{n}") for n in (1, 2, 3)]
    assert stands
    assert any(holds(region, evidence) for region in regions for evidence in stands)


def test_regions_are_drawn_where_the_words_stand(visit):
    visitor = visit()
    visitor.search(CATERING.text)
    visitor.open_first()
    path = demo.documents() / CATERING.file
    row, *_ = boxes_of(path, CATERING.page, "Kiosk and catering")  # in the table
    [elsewhere] = boxes_of(path, CATERING.page, "Revenue rose by")
    best = drawn(visitor, ".large .regions .r1")
    assert holds(best, row)
    assert not holds(best, elsewhere)
    visitor.tab.uncheck("#mark")
    assert not visitor.tab.locator(".large .regions").is_visible()
    visitor.tab.check("#mark")
    visitor.tab.locator("[data-region='1']").hover()
    assert "lit" in visitor.tab.locator(".large .r1").get_attribute("class")


def test_the_heatmap_of_a_word_glows_where_it_stands(visit, tmp_path: Path):
    visitor = visit()
    visitor.search(CATERING.text)
    visitor.open_first()
    visitor.tab.get_by_role("button", name="catering", exact=True).click()
    visitor.tab.locator("#strength").fill("1")
    assert visitor.tab.locator("#heat .glow").get_attribute("fill-opacity") == "1"
    assert not visitor.tab.locator(".large .regions").is_visible()
    visitor.tab.wait_for_timeout(300)  # the picture of the mask says nothing when it is there
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


def test_a_filter_acts_at_once_and_stands_in_the_address(visit):
    visitor = visit()
    visitor.search("What has to be cleaned?")
    visitor.tab.click("#filter summary")
    visitor.tab.fill("#filter [name=find]", "tarn")
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


def test_uploads_tell_how_far_they_are_and_are_found_then(visit, tmp_path: Path):
    texts = [f"Chapter {n}. The quokka colony number {n} of Rottnest was counted." for n in range(8)]
    path = write_pdf(tmp_path / "quokka census.pdf", *texts)
    note = tmp_path / "notes.pdf"
    note.write_text("no PDF at all")
    nasty = [SHARED / "nasty" / f"{name}.pdf" for name in ("issue3371", "poppler-67295-0", "bad-xref")]
    nasty = [file for file in nasty if file.is_file()]
    visitor = visit()
    visitor.tab.evaluate("""() => {
        window.told = [];
        const watch = new MutationObserver(() => told.push(document.querySelector("#stage").textContent));
        watch.observe(document.querySelector("#stage"), { childList: true });
    }""")
    visitor.tab.click("[data-open=upload]")
    visitor.tab.set_input_files("#files input", [path, note, *nasty])
    visitor.tab.wait_for_selector("#stage:has-text('Ready to search')", timeout=60_000)
    told = visitor.tab.evaluate("told")
    assert any(line.startswith("Sending") for line in told)
    assert any(re.search(r"Reading .+\.pdf: [1-9]\d* of [1-9]\d* pages", line) for line in told)
    assert not any("of 0 pages" in line for line in told)
    rows = visitor.tab.locator("#done li").all_inner_texts()
    assert any("quokka census.pdf" in row and "added, 8 pages" in row for row in rows)
    assert any("neither a PDF nor an image" in row for row in rows)
    assert len(rows) == 2 + len(nasty)
    if nasty:
        assert any("issue3371.pdf is encrypted" in row for row in rows)
        assert any("poppler-67295-0.pdf is broken" in row for row in rows)
        assert any("bad-xref.pdf" in row and "added" in row for row in rows)
    visitor.tab.wait_for_function("() => document.querySelector('.covers').textContent.includes('quokka')")
    visitor.tab.keyboard.press("Escape")
    visitor.search("quokka colony number 5")
    assert visitor.files()[0] == "quokka census.pdf"


def test_errors_are_said_and_a_person_can_go_on(visit):
    visitor = visit("/?q=ferry&mode=fuzzy")
    assert "one of hybrid, late, cosine, text" in visitor.tab.inner_text("[role=alert].wrong").lower()
    [complaint] = visitor.complaints
    assert "status of 400" in complaint
    visitor.complaints.clear()
    visitor.search(CATERING.text)
    assert visitor.files()[0] == CATERING.file
    visitor.tab.route("**/results?*", lambda route: route.abort())
    visitor.tab.fill("#q", "another question")
    visitor.tab.press("#q", "Enter")
    visitor.tab.wait_for_selector("#notice:has-text('does not answer')")
    assert visitor.complaints
    visitor.complaints.clear()


@contextmanager
def held(visitor: Visitor) -> Iterator[None]:
    """Let the answers to questions that are asked within the block come when it has ended."""
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


def ask(visitor: Visitor, question: str) -> None:
    """Ask, and do not wait."""
    visitor.tab.fill("#q", question)
    visitor.tab.press("#q", "Enter")


def test_questions_in_quick_order_end_with_the_last(visit):
    visitor = visit()
    with held(visitor):
        for question in ("ferry", "ferry timetable", CATERING.text):
            ask(visitor, question)
    visitor.answered(CATERING.text)
    assert visitor.files()[0] == CATERING.file
    visitor.tab.wait_for_timeout(300)
    assert visitor.tab.title().startswith(CATERING.text)  # nothing that is late comes after it


def test_who_leaves_before_the_answer_comes_is_not_brought_back(visit):
    visitor = visit()
    visitor.search(LAMP.text)
    visitor.search(CATERING.text)
    with held(visitor):
        ask(visitor, "another question")
        visitor.tab.go_back()
        visitor.tab.wait_for_function("asked => document.title.startsWith(asked)", arg=LAMP.text)
    visitor.tab.wait_for_timeout(500)
    assert visitor.tab.title().startswith(LAMP.text)
    assert visitor.tab.input_value("#q") == LAMP.text
    assert "another" not in visitor.tab.url
    visitor.tab.wait_for_function("() => !document.querySelector('.htmx-request')")
    visitor.search(CATERING.text)


def test_a_page_can_be_opened_while_another_question_is_answered(visit):
    visitor = visit()
    visitor.search(CATERING.text)
    visitor.tab.route("**/results?*", lambda route: None)  # no answer ever comes
    ask(visitor, "one more question")
    visitor.open_first()
    visitor.tab.wait_for_timeout(300)
    assert "/page/" in visitor.tab.url


def test_a_page_of_a_question_can_be_sent_to_somebody(visit):
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


@pytest.mark.parametrize("question", ["\"fares\" & <b>'x'</b> #1 + 100 % ?", "ferry " * 330, "渡船 ⛴"])
def test_questions_of_any_letters_are_kept_as_they_are(visit, question: str):
    visitor = visit(width=375)
    visitor.tab.fill("#q", question)
    visitor.tab.press("#q", "Enter")
    visitor.tab.wait_for_selector(".told")
    assert not visitor.is_wide()
    visitor.tab.reload()
    assert visitor.tab.input_value("#q") == question.strip()
    assert visitor.tab.locator(".hit").count() == 10


DROP = """async address => {
    const content = await (await fetch(address)).blob();
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([content], "found somewhere.jpg", { type: "image/jpeg" }));
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const told = { dataTransfer, bubbles: true, cancelable: true };
        document.body.dispatchEvent(new DragEvent(kind, told));
    }
}"""


def test_an_image_that_is_dropped_finds_its_own_page_first(visit, gallery: str):
    """Whatever the weights are: nothing is more like a picture than itself."""
    visitor = visit(at=gallery)
    pictures = visitor.tab.locator(".covers a")
    for number in (1, 3):
        source = pictures.nth(number).locator("img").get_attribute("src").partition("?")[0]
        visitor.tab.evaluate(DROP, source)
        visitor.tab.wait_for_url("**like=*")
        visitor.tab.wait_for_selector(".hits")
        assert visitor.files()[0] == f"picture {number}.png"
        assert not visitor.tab.locator("#drop").is_visible()
        visitor.tab.goto(gallery)
    visitor.tab.go_back()
    visitor.tab.wait_for_selector(".hits")
    assert visitor.tab.locator(".like .file").inner_text() == "found somewhere.jpg"
    visitor.tab.get_by_text("Cosine", exact=True).click()  # what narrows it keeps the image
    visitor.tab.wait_for_url("**mode=cosine*")
    assert "like=" in visitor.tab.url
    assert visitor.files()[0] == "picture 3.png"
    visitor.open_first()
    visitor.tab.keyboard.press("Escape")
    visitor.tab.wait_for_selector(".hits")
    assert visitor.files()[0] == "picture 3.png"
    visitor.tab.locator(".like a").click()
    visitor.tab.wait_for_selector(".covers")


def test_a_part_without_text_is_shown_as_it_looks(visit, gallery: str):
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
    shown = np.asarray(Image.open(io.BytesIO(crop.screenshot())).convert("RGB").resize((40, 40)), np.float32)
    number = int(visitor.files()[0].removeprefix("picture ").removesuffix(".png"))
    whole = make_image(number, 600, 800)
    part = [round(side * 600 / page[0]) for side in (x, y, x + width, y + height)]
    there = np.asarray(whole.crop(part).resize((40, 40)), np.float32)
    assert np.abs(shown - there)[3:-3, 3:-3].mean() < 25
    visitor.open_first()
    assert "A part without text" in visitor.tab.locator(".matched").inner_text()


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
    visitor.answered(CATERING.text)
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
    visitor.tab.wait_for_function(f"() => ({focused}) === '2'")  # page 4 stands there
    press("?")
    assert visitor.tab.locator("#keys").is_visible()
    press("Escape")
    assert not visitor.tab.locator("#keys").is_visible()


def test_nothing_is_wider_than_a_telephone(visit):
    visitor = visit(width=375, height=720)
    assert not visitor.is_wide()
    visitor.search(CATERING.text)
    assert not visitor.is_wide()
    visitor.tab.click("#filter summary")
    assert not visitor.is_wide()
    panel = visitor.tab.locator(".panel").bounding_box()
    assert panel["x"] >= 0
    assert panel["x"] + panel["width"] <= 375
    visitor.tab.keyboard.press("Escape")
    visitor.open_first()
    visitor.tab.wait_for_selector(".word")
    assert not visitor.is_wide()
    visitor.tab.goto(f"{visitor.home}/?q=xylophone&mode=text")
    assert not visitor.is_wide()


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


def test_the_dark_and_the_still_are_honoured(visit):
    colour = "getComputedStyle(document.body).backgroundColor"
    light = visit().tab.evaluate(colour)
    dark = visit(color_scheme="dark", reduced_motion="reduce")
    assert sum(map(int, light[4:-1].split(", "))) > 600
    assert sum(map(int, dark.tab.evaluate(colour)[4:-1].split(", "))) < 150
    dark.search(CATERING.text)
    assert dark.tab.evaluate("getComputedStyle(document.querySelector('.hit')).transitionProperty") == "none"
