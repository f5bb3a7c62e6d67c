"""The image of a single page, outside of an ingest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pymupdf
import pytest
from PIL import Image

from docrag.errors import NotFound, PageFailed, PasswordRequired
from docrag.read.jobs import ReadOptions
from docrag.read.render import render_page
from tests.samples import CLOCK, FERRY, write_pdf


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_pdf(tmp_path / "ferry.pdf", FERRY, CLOCK)


def test_a_page_is_rendered_in_the_size_of_the_options(file: Path):
    jpeg = render_page(file, 2, ReadOptions(image_side=400))
    with Image.open(BytesIO(jpeg)) as image:
        assert (image.format, max(image.size)) == ("JPEG", 400)
    assert jpeg != render_page(file, 1, ReadOptions(image_side=400))


def test_threads_render_at_once(file: Path):
    with ThreadPoolExecutor(4) as pool:
        jpegs = list(pool.map(lambda number: render_page(file, number % 2 + 1, ReadOptions()), range(8)))
    assert len(set(jpegs)) == 2


def test_what_cannot_be_rendered_is_said(file: Path, tmp_path: Path):
    with pytest.raises(PageFailed, match=r"page 3 of ferry\.pdf cannot be rendered"):
        render_page(file, 3, ReadOptions())
    with pytest.raises(NotFound):
        render_page(tmp_path / "gone.pdf", 1, ReadOptions())
    locked = tmp_path / "locked.pdf"
    with pymupdf.open(file) as document:
        document.save(locked, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="sesame")
    with pytest.raises(PasswordRequired):
        render_page(locked, 1, ReadOptions())
    assert render_page(locked, 1, ReadOptions(passwords=("sesame",)))
