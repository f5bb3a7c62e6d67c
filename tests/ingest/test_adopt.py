"""Documents that are stored and that the manifest does not know, in a directory whose manifest was lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.errors import NotFound, SettingsError
from tests.samples import APPLE, CLOCK, FERRY, write_pdf

pytestmark = pytest.mark.slow


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK)
    write_pdf(tmp_path / "docs" / "apple.pdf", APPLE)
    return tmp_path / "docs"


@pytest.fixture
def index(tmp_path: Path, docs: Path) -> Iterator[Index]:
    """An index of the documents that has lost its manifest."""
    settings = Settings(workers=1)
    with Index.open(tmp_path / "index", settings=settings) as opened:
        opened.ingest(docs)
    (tmp_path / "index" / "manifest.sqlite").unlink()
    with Index.open(tmp_path / "index", settings=settings) as opened:
        yield opened


def statuses(index: Index, *paths: Path, again: bool = False) -> dict[str, str]:
    return {Path(file.file).name: file.status for file in index.ingest(paths, again=again).files}


def test_files_are_adopted_without_being_read(index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("docrag.ingest.sync.ReaderPool", None)
    assert index.status().documents == 0
    assert index.status().stored_documents == 2
    assert statuses(index, docs) == {"ferry.pdf": "adopted", "apple.pdf": "adopted"}
    assert (index.status().documents, index.status().pages) == (2, 3)
    assert statuses(index, docs) == {"ferry.pdf": "unchanged", "apple.pdf": "unchanged"}


def test_a_file_at_another_path_gives_its_name_to_the_pages(index: Index, docs: Path, tmp_path: Path):
    moved = (docs / "ferry.pdf").rename(tmp_path / "timetable.pdf")
    assert statuses(index, moved) == {"timetable.pdf": "adopted"}
    assert str(moved) in {document.file for document in index.documents()}


def test_again_reads_files_that_are_stored(index: Index, docs: Path):
    report = index.ingest(docs, again=True)
    assert {file.status for file in report.files} == {"added"}
    assert report.pages == 3


def test_what_no_file_belongs_to_is_told_until_it_is_removed(index: Index, docs: Path):
    report = index.ingest(docs / "apple.pdf")
    assert report.unlisted == [str(docs / "ferry.pdf")]
    removal = index.remove_file(docs / "ferry.pdf")
    assert (removal.pages, removal.held_by, removal.reason, removal.hint) == (2, (), "", "")
    assert index.ingest(docs / "apple.pdf").unlisted == []
    with pytest.raises(NotFound):
        index.remove(docs / "ferry.pdf")


def test_a_directory_is_held_by_nobody_else(index: Index, docs: Path):
    with pytest.raises(SettingsError, match="in a collection on a server only"):
        index.remove_file(docs / "ferry.pdf", release=["elsewhere"])
    with pytest.raises(SettingsError, match="in a collection on a server only"):
        index.release("elsewhere")
