"""Fixtures that make documents, and the path of the real ones beside the repository."""

from collections.abc import Callable
from pathlib import Path

import pymupdf
import pytest

from docrag.read import ReadJob, sha256

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def real() -> Callable[[str], Path]:
    """The path of a file or folder among the real data; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"no real data at {path}")
        return path

    return find


@pytest.fixture
def make_pdf(tmp_path: Path) -> Callable[..., Path]:
    """Makes a PDF: one page a string, or what a function draws on each page."""

    def make(
        *pages: str | Callable[[pymupdf.Page], object], name: str = "made.pdf", **saving: object
    ) -> Path:
        with pymupdf.open() as file:
            for content in pages:
                page = file.new_page(width=500, height=800)
                if callable(content):
                    content(page)
                elif content:
                    page.insert_textbox((50, 50, 450, 750), content, fontsize=12)
            if metadata := saving.pop("metadata", None):
                file.set_metadata(metadata)
            if labels := saving.pop("labels", None):
                file.set_page_labels(labels)
            file.save(tmp_path / name, **saving)
        return tmp_path / name

    return make


@pytest.fixture
def job() -> Callable[..., ReadJob]:
    """The job that reads a file."""

    def make(path: Path, skip: frozenset[int] = frozenset()) -> ReadJob:
        return ReadJob(path, sha256(path), (str(path),), skip)

    return make
