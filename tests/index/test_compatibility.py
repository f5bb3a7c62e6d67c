"""Indexes and exports that an earlier version of docrag made are opened unchanged."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from docrag import Index
from docrag.operations.transfer import import_index
from docrag.search.filters import Filter
from docrag.store.payload import current_form

ARCHIVE = Path(__file__).with_name("compatibility") / "7f28a4c.tar.xz"
"""An index of one PDF with two pages, its export and the PDF, made by the commit of that name."""
QUESTION = "How much did catering earn?"
TEXT = "Catering revenue of the ferry: 612 thousand euros"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The folder with the index, the export and the PDF."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_an_index_of_an_earlier_version_answers_as_it_did(earlier: Path):
    with Index.open(earlier / "index", create=False) as index:
        first, second = index.search(QUESTION, k=2)
        assert (first.page, second.page) == (2, 1)
        assert first.score == pytest.approx(0.652, abs=1e-3)
        assert first.regions[0].text == TEXT
        assert first.regions[0].score == pytest.approx(0.555, abs=0.01)
        assert first.image().size == (256, 170)
        status = index.status()
        assert (status.documents, status.files, status.pages) == (1, 1, 2)


@pytest.mark.parametrize(
    ("filter", "pages"),
    [({"page_number": 2}, {2}), ({"words_from": "text-layer"}, {1, 2}), ({"total_pages": 2}, {1, 2})],
)
def test_an_index_of_an_earlier_version_is_filtered_by_what_it_does_not_have(
    earlier: Path, filter: Filter, pages: set[int]
):
    with Index.open(earlier / "index", create=False) as index:
        hits = index.search(QUESTION, filter=filter)
        assert {hit.page for hit in hits} == pages
        assert {(hit.metadata["page_number"], hit.metadata["words_from"]) for hit in hits} == {
            (page, "text-layer") for page in pages
        }


@pytest.mark.slow
def test_an_index_of_an_earlier_version_goes_on(earlier: Path):
    """The file stands at another path now, so only its name is taken over; nothing is encoded."""
    with Index.open(earlier / "index", create=False) as index:
        report = index.ingest(earlier / "harbour_notes.pdf")
        assert [(file.status, file.pages) for file in report.files] == [("added", 2)]
        assert report.pages == 0
        [document] = index.documents()
        assert str(earlier / "harbour_notes.pdf") in document.files
        assert index._storage.store.facet("metadata.words_from") == {"text layer": 2}


@pytest.mark.slow
def test_an_export_of_an_earlier_version_is_imported(earlier: Path):
    transfer = import_index(earlier / "export", str(earlier / "imported"))
    assert (transfer.pages, transfer.written) == (2, 2)
    with Index.open(earlier / "imported", create=False) as index:
        [hit] = index.search(QUESTION, k=1)
        assert hit.regions[0].text == TEXT
        for record in index._storage.store.scroll():
            assert record.payload == current_form(record.payload)
            assert list(record.payload) == ["image_url", "page_of", "metadata", "page_content", "layout"]
    assert import_index(earlier / "export", str(earlier / "imported")).written == 0
