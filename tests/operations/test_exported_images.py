"""Exports of a collection by machines that have not rendered its pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from docrag import Index, Settings
from docrag.operations.transfer import export_index, import_index
from tests.samples import CLOCK, FERRY, write_pdf
from tests.store.fake_qdrant import FakeQdrant


@pytest.fixture
def server() -> Iterator[FakeQdrant]:
    with FakeQdrant() as server:
        yield server


@pytest.fixture
def docs(server: FakeQdrant, tmp_path: Path) -> Path:
    """A folder of documents that the machine a has ingested and the machine b adopted."""
    docs = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK).parent
    for machine, status in (("a", "added"), ("b", "adopted")):
        with Index.open(settings=settings_of(server, tmp_path, machine)) as index:
            assert [file.status for file in index.ingest(docs).files] == [status]
    return docs


def settings_of(server: FakeQdrant, tmp_path: Path, machine: str) -> Settings:
    return Settings(index=server.uri, files=str(tmp_path / machine), workers=1)


@pytest.mark.slow
def test_images_of_adopted_documents_are_exported(
    server: FakeQdrant, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    assert not list((tmp_path / "b").rglob("*.jpg"))
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path / "b"))
    assert export_index(server.uri, tmp_path / "export").written == 2
    assert export_index(server.uri, tmp_path / "export").written == 0
    assert "without an image" not in caplog.text
    monkeypatch.delenv("DOCRAG_FILES")
    import_index(tmp_path / "export", str(tmp_path / "index"))
    with Index.open(tmp_path / "index", create=False) as index:
        rendered = [hit.image_path.read_bytes() for hit in index.search("ferry", k=2)]
    there = [path.read_bytes() for path in (tmp_path / "a").rglob("*.jpg")]
    assert sorted(rendered) == sorted(there)


@pytest.mark.slow
def test_images_that_cannot_be_had_are_told(
    server: FakeQdrant, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    (docs / "ferry.pdf").unlink()
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path / "b"))
    assert export_index(server.uri, tmp_path / "export").pages == 2
    assert "2 pages are exported without an image" in caplog.text
