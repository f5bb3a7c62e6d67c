"""A folder of small PDFs, and an index to ingest it into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.ingest.storage import Storage
from docrag.operations import transfer
from docrag.store.archive import Archive
from tests.ingest.moved import PART, empty_shelf, fill
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


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of a few pages have several parts."""
    monkeypatch.setattr(transfer, "PART", PART)
    monkeypatch.setattr(transfer, "BATCH", 2)


@pytest.fixture
def make_shelf(tmp_path: Path) -> Iterator[Callable[[str], Storage]]:
    """An empty index by name."""
    made = []

    def make(name: str) -> Storage:
        made.append(empty_shelf(tmp_path / name))
        return made[-1]

    yield make
    for storage in made:
        storage.close()


@pytest.fixture
def storage(make_shelf: Callable[[str], Storage]) -> Storage:
    """What `fill` says."""
    return fill(make_shelf("from"))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "export")
