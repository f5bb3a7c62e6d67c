from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from docrag.errors import IndexNotFound, StorageFull, StoreError
from docrag.store.archive import Archive, ArchivedPage, Contents, page_state
from docrag.types import SparseVector


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "export")


@pytest.fixture
def pages(records) -> list[ArchivedPage]:
    """Pages with and without an image, one without terms."""
    found = [ArchivedPage(record, b"jpeg" * number) for number, record in enumerate(records[:9])]
    empty = {**found[4].record.vectors, "bm25": SparseVector((), ())}
    found[4] = found[4]._replace(record=replace(found[4].record, vectors=empty))
    return found


def test_a_part_comes_back_as_it_was(archive: Archive, pages):
    part = archive.write_part(3, "state", pages)
    assert part.pages == tuple(page.record.id for page in pages)
    assert archive.holds(3, part)
    found = list(archive.read_part(3, part))
    for before, after in zip(pages, found, strict=True):
        assert (after.record.id, after.image) == (before.record.id, before.image)
        assert after.record.payload == before.record.payload
        assert after.record.vectors.keys() == before.record.vectors.keys()
        for name in ("patches", "pooled"):
            vectors = after.record.vectors[name]
            assert vectors.dtype == np.float32
            np.testing.assert_array_equal(
                vectors, before.record.vectors[name].astype(np.float16).astype(np.float32)
            )
        for name in ("image", "caption"):
            np.testing.assert_array_equal(after.record.vectors[name], before.record.vectors[name])
        terms, wanted = after.record.vectors["bm25"], before.record.vectors["bm25"]
        assert terms.indices == wanted.indices
        np.testing.assert_allclose(terms.values, wanted.values, rtol=1e-6)


def test_a_part_needs_no_pickle_and_no_docrag(archive: Archive, pages):
    archive.write_part(0, "", pages)
    with np.load(archive.part_file(0), allow_pickle=False) as part:
        assert part["multi.patches"].dtype == np.float16
        assert part["multi.patches.lengths"].sum() == len(part["multi.patches"])
        assert part["dense.caption"].shape == (9, 8)
        assert json.loads(part["payloads"][: part["payloads.lengths"][0]].tobytes())["page_content"]


def test_equal_pages_give_equal_files(archive: Archive, pages):
    assert archive.write_part(0, "", pages).sha256 == archive.write_part(1, "", pages).sha256


def test_pages_need_not_be_in_memory_together(archive: Archive, pages):
    assert len(archive.write_part(0, "", iter(pages)).pages) == 9


def flip(path: Path) -> None:
    """Change one byte in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_part_is_named_and_gives_nothing(archive: Archive, pages, how: str):
    part = archive.write_part(2, "", pages)
    DAMAGE[how](archive.part_file(2))
    assert not archive.holds(2, part)
    with pytest.raises(StoreError, match=r"part-00002\.npz (is missing|does not have the checksum)"):
        next(archive.read_part(2, part))


def test_a_part_with_a_pickle_in_it_is_refused(archive: Archive, pages):
    part = archive.write_part(0, "", pages)
    path = archive.part_file(0)
    np.savez(path, ids=np.array([{"an": "object"}], object))
    evil = replace(part, bytes=path.stat().st_size, sha256=digest(path))
    with pytest.raises(StoreError, match=r"part-00000\.npz is no part"):
        list(archive.read_part(0, evil))
    with zipfile.ZipFile(path, "w") as empty:
        empty.writestr("ids.txt", "")
    lost = replace(part, bytes=path.stat().st_size, sha256=digest(path))
    with pytest.raises(StoreError, match=r"part-00000\.npz is no part"):
        list(archive.read_part(0, lost))


def digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_list_comes_back(archive: Archive, pages):
    part = archive.write_part(0, "state", pages)
    contents = Contents({"layout": 1}, (part,), ({"id": "a"},), ({"path": "ü"},), complete=True)
    archive.write_contents(contents)
    assert archive.contents() == contents


def test_where_nothing_is_an_export_can_begin(archive: Archive):
    assert archive.begun() is None
    with pytest.raises(IndexNotFound, match="no export"):
        archive.contents()
    archive.folder.mkdir()
    assert archive.begun() is None
    (archive.folder / "holiday.jpg").touch()
    with pytest.raises(StoreError, match="is no export"):
        archive.begun()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, pages):
    (tmp_path / "file").touch()
    archive = Archive(tmp_path / "file" / "export")
    for write in (lambda: archive.write_contents(Contents({})), lambda: archive.write_part(0, "", pages)):
        with pytest.raises(StoreError, match="cannot write"):
            write()
    with pytest.raises(StoreError, match="is no export"):
        Archive(tmp_path / "file").begun()


def test_a_full_disk_is_told_as_such(archive: Archive, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFull, match="no space left"):
        archive.write_contents(Contents({}))
    monkeypatch.undo()
    assert archive.begun() is None  # only a temporary file could be there


def test_an_export_that_is_not_finished_is_refused(archive: Archive):
    archive.write_contents(Contents({}))
    assert archive.begun() == Contents({})
    with pytest.raises(StoreError, match="not finished"):
        archive.contents()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"parts": [{}], "fingerprint": {}}', '{"parts": 1}'])
def test_a_damaged_list_is_named(archive: Archive, text: str):
    archive.folder.mkdir()
    (archive.folder / "index.json").write_text(text)
    with pytest.raises(StoreError, match=r"index\.json is damaged"):
        archive.contents()


def test_a_later_format_is_refused(archive: Archive):
    archive.write_contents(Contents({}, format=2))
    with pytest.raises(StoreError, match="format 2, not 1"):
        archive.contents()


def test_parts_of_a_larger_export_go(archive: Archive, pages):
    for number in range(3):
        archive.write_part(number, "", pages)
    archive.trim(1)
    assert [path.name for path in archive.folder.iterdir()] == ["part-00000.npz"]


def test_the_state_of_a_page_follows_what_it_says_and_not_where_it_lies(record):
    before = page_state(record(0), 10)
    elsewhere = {
        **record(0).payload["metadata"],
        "source": "/x.pdf",
        "sources": ["/x.pdf"],
        "file_name": "x.pdf",
    }
    assert page_state(replace(record(0), payload={"metadata": elsewhere}), 10) == before
    captioned = {**record(0).payload["metadata"], "caption": "new"}
    assert page_state(replace(record(0), payload={"metadata": captioned}), 10) != before
    assert page_state(record(0), 11) != before
    assert page_state(record(1), 10) != before
