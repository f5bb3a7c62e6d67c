"""A copy of a folder is what the folder held at one moment, also while somebody writes to it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from docrag.errors import IndexInUse, StorageFull, StoreError
from docrag.store.local import snapshot
from docrag.store.local.snapshot import copy_folder, disk_bytes

MEGABYTE = 2**20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two small files, and one of 40 MB with data at two places."""
    folder = tmp_path / "source"
    (folder / "inner").mkdir(parents=True)
    (folder / "note.json").write_text("{}")
    (folder / "inner" / "empty").touch()
    with (folder / "inner" / "sparse.dat").open("wb") as file:
        file.truncate(40 * MEGABYTE)
        os.pwrite(file.fileno(), b"first", 0)
        os.pwrite(file.fileno(), b"second", 33 * MEGABYTE + 5)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_file_is_copied_and_holes_take_no_space(source: Path, tmp_path: Path):
    copy_folder(source, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(source)
    assert len(contents(source)) == 3
    assert disk_bytes(tmp_path / "copy") < MEGABYTE


def test_without_knowledge_of_holes_the_files_are_the_same(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(file: int, position: int, how: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "lseek", refuse)
    copy_folder(source, tmp_path / "copy")
    monkeypatch.undo()
    assert contents(tmp_path / "copy") == contents(source)


def test_what_changes_between_the_passes_is_copied_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """After the first pass one file is changed, one is removed, one becomes shorter, and one is new."""
    changes = [
        lambda: os.truncate(source / "inner" / "sparse.dat", MEGABYTE),
        lambda: (source / "note.json").write_text("[]"),
        lambda: (source / "inner" / "empty").unlink(),
        lambda: (source / "new.json").write_text("new"),
    ]
    bring_up_to_date = snapshot._bring_up_to_date

    def change_afterwards(*folders: Path) -> bool:
        changed = bring_up_to_date(*folders)
        if changes:
            changes.pop()()
        return changed

    monkeypatch.setattr(snapshot, "_bring_up_to_date", change_afterwards)
    copy_folder(source, tmp_path / "copy")
    assert not changes
    assert contents(tmp_path / "copy") == contents(source)
    assert contents(source).keys() == {"note.json", "new.json", "inner/sparse.dat"}


def test_two_files_that_change_together_are_never_copied_apart(tmp_path: Path):
    """A writer counts up in the first file, then in the second one; the copy must hold one moment of that."""
    source = tmp_path / "source"
    source.mkdir()
    first, second = source / "a", source / "b"
    for path in (first, second):
        path.write_bytes(bytes(8))
    stop = threading.Event()

    def write() -> None:
        with first.open("r+b", buffering=0) as one, second.open("r+b", buffering=0) as two:
            number = 0
            while not stop.wait(0.03):
                number += 1
                for file in (one, two):
                    os.pwrite(file.fileno(), number.to_bytes(8, "big"), 0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        ahead = 0
        while ahead < 10:
            copy = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
            copy_folder(source, copy)
            ahead, behind = (int.from_bytes((copy / name).read_bytes(), "big") for name in ("a", "b"))
            assert ahead in (behind, behind + 1)
    finally:
        stop.set()
        writer.join()


def test_a_folder_that_never_rests_is_given_up(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(snapshot, "PATIENCE", 0.1)
    monkeypatch.setattr(snapshot, "_bring_up_to_date", lambda source, target: True)
    with pytest.raises(IndexInUse, match="keeps changing"):
        copy_folder(source, tmp_path / "copy")


def test_a_full_disk_is_an_error_that_says_what_to_do(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(file: int, data: bytes, position: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(StorageFull, match="TMPDIR"):
        copy_folder(source, tmp_path / "copy")


def test_a_target_that_cannot_be_made_is_an_error(source: Path, tmp_path: Path):
    with pytest.raises(StoreError, match=r"cannot copy .*No such file"):
        copy_folder(source, tmp_path / "missing" / "copy")


def test_the_size_of_a_folder_whose_files_are_being_removed(source: Path, monkeypatch: pytest.MonkeyPatch):
    found = snapshot._files(source)
    monkeypatch.setattr(snapshot, "_files", lambda folder: {*found, Path("inner/removed")})
    assert 0 < disk_bytes(source) < MEGABYTE
