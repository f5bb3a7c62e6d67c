from pathlib import Path

import pytest

from docrag.errors import StoreError
from docrag.ingest.manifest import FileRow, Manifest
from tests.threads import at_once


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return Manifest(tmp_path / "manifest.sqlite")


def row(path: str, document_id: str) -> FileRow:
    return FileRow(path, path.lstrip("/"), 10, 20, document_id)


def states(manifest: Manifest) -> dict[str, str]:
    return {document.id: document.state for document in manifest.documents()}


def test_a_document_counts_once_it_is_finished(manifest):
    manifest.begin("d1", "a.pdf")
    assert states(manifest) == {"d1": "writing"}
    assert manifest.file("/a.pdf") is None
    manifest.finish("d1", 3, "page 2: broken", [row("/a.pdf", "d1")])
    assert states(manifest) == {"d1": "relabel"}
    manifest.relabelled("d1")
    assert states(manifest) == {"d1": "done"}
    assert manifest.file("/a.pdf") == row("/a.pdf", "d1")
    assert manifest.document("d1").lost == "page 2: broken"


def test_what_a_new_version_replaces_is_stale_in_the_same_moment(manifest):
    for document_id in ("d1", "d2"):
        manifest.begin(document_id, "a.pdf")
        manifest.finish(document_id, 1, "", [row("/a.pdf", document_id)])
    assert states(manifest) == {"d1": "stale", "d2": "relabel"}


def test_a_document_that_keeps_a_file_is_relabelled(manifest):
    manifest.begin("d1", "a.pdf")
    manifest.finish("d1", 1, "", [row("/a.pdf", "d1"), row("/b.pdf", "d1")])
    manifest.forget(["/a.pdf"])
    assert states(manifest) == {"d1": "relabel"}
    assert manifest.sources("d1") == ("b.pdf",)
    manifest.forget(["/b.pdf", "/never.pdf"])
    assert states(manifest) == {"d1": "stale"}
    manifest.dropped("d1")
    assert states(manifest) == {}


def test_a_failed_change_leaves_nothing_behind(manifest):
    manifest.begin("d1", "a.pdf")
    bad = FileRow("/a.pdf", "a.pdf", 1, 2, None)  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        manifest.finish("d1", 1, "", [row("/b.pdf", "d1"), bad])
    assert states(manifest) == {"d1": "writing"}
    assert manifest.files() == []


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "manifest.sqlite").write_text("this is no database, and long enough to be told so" * 20)
    with pytest.raises(StoreError, match=r"manifest\.sqlite"):
        Manifest(tmp_path / "manifest.sqlite")


def test_threads_take_turns(manifest):
    """Transactions of two threads on one connection would end in "cannot start a transaction within one"."""

    def work(i: int) -> int:
        found = 0
        for n in range(15):
            document_id = f"d{i}-{n}"
            manifest.begin(document_id, "a.pdf")
            manifest.finish(document_id, 1, "", [row(f"/{document_id}.pdf", document_id)])
            manifest.relabelled(document_id)
            found += len(manifest.documents("done")) > 0 and manifest.document(document_id).state == "done"
        return found

    assert at_once(8, work) == [15] * 8
    assert len(manifest.files()) == 8 * 15


def test_what_is_closed_says_so(manifest):
    manifest.close()
    with pytest.raises(StoreError, match="closed"):
        manifest.documents()
