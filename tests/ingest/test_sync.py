"""Ingest as a sync, seen from outside: what is found after each kind of change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from docrag import Index
from docrag.errors import NotFound
from tests.samples import APPLE, CLOCK, FERRY, later, write_pdf

pytestmark = pytest.mark.slow


def found(index: Index, query: str) -> list[str]:
    return [Path(hit.file).name for hit in index.search(query, k=3, mode="text")]


def test_new_files_are_added(index, folder, status_of):
    report = index.ingest(folder)
    assert status_of(report) == {"ferry.pdf": "added", "apple.pdf": "added"}
    assert report.pages == 3
    assert index.status().pages == 3
    assert found(index, "ferry timetable")[0] == "ferry.pdf"


def test_unchanged_files_are_not_read_again(index, folder, status_of, monkeypatch):
    index.ingest(folder)

    def fail(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("docrag.ingest.sync.sha256", fail)
    report = index.ingest(folder)
    assert status_of(report) == {"ferry.pdf": "unchanged", "apple.pdf": "unchanged"}
    assert report.pages == 0


def test_again_reads_what_did_not_change(index, folder, status_of):
    index.ingest(folder)
    report = index.ingest(folder, again=True)
    assert status_of(report) == {"ferry.pdf": "updated", "apple.pdf": "updated"}
    assert report.pages == index.status().pages == 3
    assert found(index, "orchards pruning") == ["apple.pdf"]


def test_a_second_reading_that_is_killed_loses_nothing(index, folder, status_of, monkeypatch):
    index.ingest(folder)
    with monkeypatch.context() as patched:

        def fail(*arguments: object) -> None:
            raise KeyboardInterrupt

        patched.setattr("docrag.ingest.manifest.Manifest.finish", fail)
        with pytest.raises(KeyboardInterrupt):
            index.ingest(folder, again=True)
    assert found(index, "orchards pruning") == ["apple.pdf"]
    index.ingest(folder)
    assert index.status().pages == 3
    assert status_of(index.ingest(folder)) == {"ferry.pdf": "unchanged", "apple.pdf": "unchanged"}


def test_a_touched_file_is_hashed_and_not_encoded(index, folder, status_of):
    index.ingest(folder)
    later(folder / "apple.pdf")
    report = index.ingest(folder)
    assert status_of(report)["apple.pdf"] == "unchanged"
    assert report.pages == 0


def test_a_changed_file_replaces_its_old_version(index, folder, status_of):
    index.ingest(folder)
    write_pdf(folder / "apple.pdf", CLOCK)
    later(folder / "apple.pdf")
    report = index.ingest(folder)
    assert status_of(report) == {"ferry.pdf": "unchanged", "apple.pdf": "updated"}
    assert found(index, "orchards pruning") == []
    assert found(index, "escapement pendulum") == ["apple.pdf"]
    assert index.status().documents == 2


def test_a_file_that_breaks_keeps_its_indexed_version(index, folder, status_of):
    index.ingest(folder)
    (folder / "apple.pdf").write_text("no PDF any more")
    report = index.ingest(folder)
    assert status_of(report)["apple.pdf"] == "failed"
    assert report.failures[0].error
    assert found(index, "orchards pruning") == ["apple.pdf"]


def test_gone_files_stay_until_pruned(index, folder, status_of):
    index.ingest(folder)
    (folder / "apple.pdf").unlink()
    assert status_of(index.ingest(folder)) == {"ferry.pdf": "unchanged"}
    assert found(index, "orchards") == ["apple.pdf"]
    assert status_of(index.ingest(folder, prune=True)) == {"ferry.pdf": "unchanged", "apple.pdf": "removed"}
    assert found(index, "orchards") == []


def test_prune_touches_the_named_folders_only(index, folder, tmp_path):
    other = write_pdf(tmp_path / "docs2" / "clock.pdf", CLOCK)
    index.ingest([folder, other.parent])
    other.unlink()
    index.ingest(folder, prune=True)
    assert found(index, "pendulum") == ["clock.pdf"]


def test_one_content_at_two_paths_is_one_document(index, folder, status_of):
    shutil.copy(folder / "ferry.pdf", folder / "ferry copy.pdf")
    report = index.ingest(folder)
    assert status_of(report) == {"ferry.pdf": "added", "ferry copy.pdf": "added", "apple.pdf": "added"}
    assert (index.status().documents, index.status().files, index.status().pages) == (2, 3, 3)
    hit = index.search("ferry timetable", k=1)[0]
    assert [Path(source).name for source in hit.metadata["sources"]] == ["ferry copy.pdf", "ferry.pdf"]


def test_a_copy_that_comes_later_costs_no_encoding(index, folder, status_of):
    index.ingest(folder)
    shutil.copy(folder / "ferry.pdf", folder / "later.pdf")
    report = index.ingest(folder)
    assert (status_of(report)["later.pdf"], report.pages) == ("added", 0)
    for source in (folder / "ferry.pdf", folder / "later.pdf"):
        assert index.search("ferry", k=1, filter={"source": str(source)})


def test_a_document_lives_as_long_as_one_of_its_files(index, folder):
    shutil.copy(folder / "ferry.pdf", folder / "copy.pdf")
    index.ingest(folder)
    assert index.remove(folder / "copy.pdf") == 0
    assert index.search("ferry", k=1)[0].metadata["sources"] == [str(folder / "ferry.pdf")]
    assert index.remove(folder / "ferry.pdf") == 2
    assert found(index, "ferry") == []


def test_a_renamed_file_is_found_under_its_new_name(index, folder):
    index.ingest(folder)
    (folder / "apple.pdf").rename(folder / "orchard.pdf")
    report = index.ingest(folder, prune=True)
    assert report.pages == 0
    assert found(index, "pruning") == ["orchard.pdf"]
    pages = index._storage.store.scroll(payload=["page_of", "metadata.page_number"])
    lines = [record.payload["page_of"] for record in pages]
    assert sorted(line for line in lines if "orchard" in line) == ["orchard.pdf, page 1 of 1"]
    assert not any("apple" in line for line in lines)


def test_swapped_contents_stay_with_their_files(index, folder):
    index.ingest(folder)
    write_pdf(folder / "apple.pdf", FERRY, "Page two: fares for cars, bicycles and foot passengers.")
    write_pdf(folder / "ferry.pdf", APPLE)
    later(folder / "apple.pdf")
    later(folder / "ferry.pdf")
    index.ingest(folder)
    assert found(index, "orchards") == ["ferry.pdf"]
    assert set(found(index, "timetable")) == {"apple.pdf"}


def test_images_of_removed_documents_go(index, folder):
    index.ingest(folder)
    image = index.search("orchards", k=1)[0].image_path
    assert image.is_file()
    index.remove(folder / "apple.pdf")
    assert not image.exists()


def test_a_missing_path_changes_nothing(index, folder):
    with pytest.raises(NotFound):
        index.ingest([folder, folder / "nowhere"])
    assert index.status().pages == 0


def test_a_file_that_was_never_ingested_cannot_be_removed(index, folder):
    with pytest.raises(NotFound, match="apple"):
        index.remove(folder / "apple.pdf")


def test_an_empty_folder_is_no_error(index, tmp_path):
    (tmp_path / "empty").mkdir()
    assert index.ingest(tmp_path / "empty").files == []


def test_an_interrupted_document_forgets_files_that_are_gone_since(index, folder):
    """Killed while two copies were read, one of which is gone at the next run."""
    copy = Path(shutil.copy(folder / "ferry.pdf", folder / "a copy.pdf"))
    index.ingest(folder)
    document_id = index._storage.manifest.file(str(copy)).document_id
    index._storage.manifest._db.execute("DELETE FROM files WHERE document_id = ?", (document_id,))
    index._storage.manifest.begin(document_id, str(copy))
    (folder / "ferry.pdf").unlink()
    index.ingest(folder)
    assert index.search("ferry timetable", k=1)[0].metadata["sources"] == [str(copy)]
    assert index.search("ferry", filter={"source": str(folder / "ferry.pdf")}) == []


def test_what_is_left_of_a_document_that_cannot_be_opened_any_more_goes(index, tmp_path, status_of):
    path = write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY)
    index.ingest(path)
    document_id = index._storage.manifest.file(str(path)).document_id
    index._storage.manifest._db.execute("DELETE FROM files")
    index._storage.manifest.begin(document_id, str(path))
    path.write_bytes(b"")
    assert status_of(index.ingest(path)) == {"ferry.pdf": "failed"}
    assert index.status().pages == 0


def test_a_name_that_is_no_text_fails_alone(index, folder):
    shutil.copy(folder / "apple.pdf", str(folder).encode() + b"/bad\xff.pdf")
    report = index.ingest(folder)
    assert [file.hint for file in report.failures] == ["rename the file or its folder"]
    assert len(report.files) == 3


def test_remove_means_the_file_seen_from_here(index, tmp_path, monkeypatch):
    for name, text in (("r1", FERRY), ("r2", APPLE)):
        write_pdf(tmp_path / name / "a.pdf", text)
        monkeypatch.chdir(tmp_path / name)
        index.ingest("a.pdf")
    assert index.remove("a.pdf") == 1
    assert found(index, "ferry") == ["a.pdf"]
