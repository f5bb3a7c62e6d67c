"""What workers read from documents. One pool serves all tests, so the OCR model is loaded once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymupdf
import pytest
from PIL import Image

from docrag.read import Closed, DocumentRefused, Opened, PageRead, ReaderPool, ReadOptions, worker
from docrag.types import Document

TEXT = "Eleven words are enough that nobody takes this page for a scan. "
STAMP = "Case 18-12857 ECF No. 1 filed 09/13/18 PageID.1 Page 1 of 16"


@pytest.fixture(scope="module")
def read() -> Iterator[Callable[..., list[Any]]]:
    """Reads jobs and returns their events."""
    with ReaderPool(workers=1) as pool:
        yield lambda *jobs: list(pool.read(jobs))


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Returns the messages that the reader has logged since the test began."""
    caplog.set_level(logging.INFO, logger="docrag.read")
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("docrag.read")]


@pytest.fixture
def scan(make_pdf, tmp_path) -> Path:
    """A picture of a page with two words on it."""
    printed = make_pdf(
        lambda page: page.insert_text((60, 400), "Revenue grew", fontsize=30), name="printed.pdf"
    )
    with pymupdf.open(printed) as file:
        file[0].get_pixmap(dpi=150).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def pages_of(events: list[Any]) -> dict[tuple[str, int], Any]:
    return {
        (event.job.path.name, event.page.number): event.page
        for event in events
        if isinstance(event, PageRead)
    }


def test_pages_to_skip_are_skipped(make_pdf, job, read):
    path = make_pdf(TEXT, TEXT, TEXT)
    events = read(job(path, frozenset({1, 3})), job(path, frozenset({1, 2, 3})))
    assert Counter(type(event) for event in events) == {Opened: 2, PageRead: 1, Closed: 2}
    assert list(pages_of(events)) == [("made.pdf", 2)]


def test_a_broken_document_is_refused_and_the_others_are_read(make_pdf, job, read, tmp_path, logged):
    (tmp_path / "broken.pdf").write_text("no pdf")
    vanished = job(make_pdf(TEXT, name="vanished.pdf"))
    vanished.path.unlink()
    events = read(job(tmp_path / "broken.pdf"), vanished, job(make_pdf(TEXT)))
    errors = [event.error for event in events if isinstance(event, DocumentRefused)]
    assert [type(error).__name__ for error in errors] == ["UnreadableDocument", "NotFound"]
    assert logged() == [f"document refused: {error.message}" for error in errors]
    assert sum(isinstance(event, Closed) for event in events) == 1


@pytest.mark.slow
def test_scans_are_read_by_ocr_and_blank_pages_are_not(make_pdf, job, read, scan, tmp_path, logged):
    scanned = make_pdf(lambda page: page.insert_image(page.rect, filename=scan), "")
    blank = tmp_path / "blank.png"
    Image.new("RGB", (300, 300), "white").save(blank)
    events = read(job(scanned), job(scan), job(blank))
    pages = pages_of(events)
    assert pages["made.pdf", 1].text == pages["scan.png", 1].text == "Revenue grew"
    assert [key for key, page in pages.items() if not page.ocr] == [("made.pdf", 2), ("blank.png", 1)]
    assert sum(isinstance(event, Closed) for event in events) == 3
    reason = "is read by OCR: it has 0 words, and pictures cover 100% of it"
    assert set(logged()) == {
        f"page 1 of {scanned} {reason}",
        f"page 1 of {scan} {reason}",
        f"page 2 of {scanned} has no text, and OCR is not used: it is blank",
        f"page 1 of {blank} has no text, and OCR is not used: it is blank",
    }


@pytest.mark.parametrize(("share", "ocr"), [(1.0, True), (0.5, False)], ids=["whole page", "half a page"])
def test_a_scan_with_a_stamp_is_read_by_ocr_and_a_page_with_a_picture_is_not(
    make_pdf, job, read, scan, share, ocr
):
    def draw(page):
        page.insert_image((0, 0, 500, 800 * share), filename=scan, keep_proportion=False)
        page.insert_text((60, 40), STAMP, fontsize=10)

    [page] = pages_of(read(job(make_pdf(draw)))).values()
    assert page.ocr == ocr
    assert ("Revenue grew" in page.text) == ocr
    assert "filed" in page.text


def test_scans_are_not_read_by_ocr_where_it_is_switched_off(make_pdf, scan, monkeypatch):
    path = make_pdf(lambda page: page.insert_image(page.rect, filename=scan))
    monkeypatch.setattr(worker, "_worker", worker.Worker(ReadOptions(ocr=False)))
    first = worker.read_page(path, Document("ab" * 32, (str(path),), 1), 1)
    assert (first.needs_ocr, first.reason) == (False, "OCR is switched off")
    assert first.page.words == ()
