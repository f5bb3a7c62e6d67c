"""A folder of small PDFs, and an index to ingest it into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docrag import Index, Settings
from tests.samples import APPLE, FERRY, write_pdf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two documents, three pages."""
    write_pdf(
        tmp_path / "docs" / "ferry.pdf", FERRY, "Page two: fares for cars, bicycles and foot passengers."
    )
    write_pdf(tmp_path / "docs" / "apple.pdf", APPLE)
    return tmp_path / "docs"


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.open(tmp_path / "index", settings=Settings(workers=1)) as opened:
        yield opened


@pytest.fixture
def status_of() -> Callable[[object], dict[str, str]]:
    """File name -> status of an ingest report."""
    return lambda report: {Path(file.file).name: file.status for file in report.files}
