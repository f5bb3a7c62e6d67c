"""Uploads in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import SHARED
from tests.samples import write_pdf
from tests.serve.browser.visitor import IN_CHROMIUM

pytestmark = IN_CHROMIUM


@pytest.mark.slow
def test_uploads_show_their_progress_and_are_found_afterwards(visit, tmp_path: Path):
    texts = [f"Chapter {n}. The quokka colony number {n} of Rottnest was counted." for n in range(8)]
    path = write_pdf(tmp_path / "quokka census.pdf", *texts)
    note = tmp_path / "notes.pdf"
    note.write_text("no PDF at all")
    nasty = [SHARED / "nasty" / f"{name}.pdf" for name in ("issue3371", "poppler-67295-0", "bad-xref")]
    nasty = [file for file in nasty if file.is_file()]
    visitor = visit()
    visitor.tab.evaluate("""() => {
        window.stages = [];
        const watch = new MutationObserver(() => stages.push(document.querySelector("#stage").textContent));
        watch.observe(document.querySelector("#stage"), { childList: true });
    }""")
    visitor.tab.click("[data-open=upload]")
    visitor.tab.set_input_files("#files input", [path, note, *nasty])
    visitor.tab.wait_for_selector("#stage:has-text('Ready to search')", timeout=60_000)
    stages = visitor.tab.evaluate("stages")
    assert any(line.startswith("Uploading") for line in stages)
    assert any(re.search(r"Reading .+\.pdf: [1-9]\d* of [1-9]\d* pages", line) for line in stages)
    assert not any("of 0 pages" in line for line in stages)
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


@pytest.mark.slow
def test_an_upload_that_is_refused_says_why(visit, tmp_path: Path):
    files = [write_pdf(tmp_path / f"{number}.pdf", "ferry") for number in range(51)]
    visitor = visit()
    visitor.tab.click("[data-open=upload]")
    visitor.tab.set_input_files("#files input", files)
    visitor.tab.wait_for_selector("#progress.broken")
    assert "at most 50 are accepted at a time: send fewer" in visitor.tab.inner_text("#stage")
    assert visitor.tab.locator("#files").is_visible()
    [error] = visitor.errors
    assert "status of 413" in error
    visitor.errors.clear()


@pytest.mark.slow
def test_a_dropped_image_is_uploaded_if_no_model_takes_images(visit):
    visitor = visit()
    cover = visitor.tab.locator(".covers img").first.get_attribute("src").partition("?")[0]
    visitor.drop(cover, "notes.txt", "text/plain")
    assert visitor.tab.inner_text("#notice") == "These files cannot be used. Drop PDFs to add them."
    visitor.drop(cover, "copy.jpg", "image/jpeg")
    visitor.tab.wait_for_selector("#stage:has-text('Ready to search')", timeout=60_000)
    assert visitor.tab.inner_text("#done").startswith("copy.jpg")
