"""Attachments: files of an archive without pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from docrag.errors import StorageFull, StoreError
from docrag.store.archive import Archive, Contents

LINES = [b'{"caption": "a"}\n', b'{"caption": "b"}\n']


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "export")


def finished_export(archive: Archive) -> Contents:
    """Write captions and the list of contents; return the list."""
    contents = Contents({}, attachments=(archive.write_attachment("captions.jsonl", LINES),), complete=True)
    archive.write_contents(contents)
    return archive.contents()


def test_a_file_comes_back_line_by_line(archive: Archive):
    contents = finished_export(archive)
    assert list(archive.read_attachment("captions.jsonl", contents)) == LINES
    assert list(archive.read_attachment("search.json", contents)) == []
    assert {path.name for path in archive.folder.iterdir()} == {"index.json", "captions.jsonl"}


def test_the_same_content_is_not_written_again(archive: Archive):
    written = archive.write_attachment("captions.jsonl", LINES)
    before = (archive.folder / "captions.jsonl").stat().st_mtime_ns
    assert archive.write_attachment("captions.jsonl", iter(LINES)) == written
    assert (archive.folder / "captions.jsonl").stat().st_mtime_ns == before
    assert archive.write_attachment("captions.jsonl", LINES[:1]) != written
    assert (archive.folder / "captions.jsonl").read_bytes() == LINES[0]


def test_without_content_no_file_is_left(archive: Archive):
    archive.write_attachment("search.json", [b"{}"])
    assert archive.write_attachment("search.json", ()) is None
    assert not list(archive.folder.iterdir())


@pytest.mark.parametrize("content", [b"", LINES[0], None])
def test_a_damaged_file_is_named_and_gives_nothing(archive: Archive, content: bytes | None):
    contents = finished_export(archive)
    path = archive.folder / "captions.jsonl"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(StoreError, match=r"captions\.jsonl (is missing|does not have the checksum)"):
        next(archive.read_attachment("captions.jsonl", contents))


def test_a_file_is_written_whole_or_not_at_all(archive: Archive, monkeypatch: pytest.MonkeyPatch):
    written = archive.write_attachment("captions.jsonl", LINES)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFull, match=r"captions\.jsonl"):
        archive.write_attachment("captions.jsonl", LINES[:1])
    monkeypatch.undo()
    assert list(archive.read_attachment("captions.jsonl", Contents({}, attachments=(written,)))) == LINES


def test_the_list_of_an_older_docrag_names_none(archive: Archive):
    finished_export(archive)
    path = archive.folder / "index.json"
    older = {
        key: value
        for key, value in json.loads(path.read_text()).items()
        if key not in ("beside", "image_base_url")
    }
    path.write_text(json.dumps(older))
    contents = archive.contents()
    assert (contents.attachments, contents.image_base_url) == ((), "")
    assert list(archive.read_attachment("captions.jsonl", contents)) == []
