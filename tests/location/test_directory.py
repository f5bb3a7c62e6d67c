"""An index in a directory that several processes create or replace at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from docrag import Index
from docrag.common.files import FolderLock
from docrag.errors import IndexInUse, IndexMismatch, StoreError
from docrag.ingest.staging import FOLDER, Staging
from docrag.location import directory
from docrag.location.directory import DirectoryLocation
from docrag.location.names import POINTS
from docrag.store.layout import Fingerprint
from docrag.store.local.process import EngineProcess


def make_again(folder: Path, fingerprint: Fingerprint) -> int:
    """What a process does that found no index, a moment before another one made it."""
    with Index.open(folder) as index:
        layout = index._storage.store.layout
        store = DirectoryLocation(folder, in_process=True).make(fingerprint, layout)
        store.close()
        return len(index.documents())


def test_an_index_that_another_process_makes_first_is_opened(tmp_path: Path):
    folder = tmp_path / "index"
    Index.open(folder).close()
    stored = DirectoryLocation(folder).fingerprint()
    assert stored is not None
    assert make_again(folder, stored) == 0
    with pytest.raises(IndexMismatch):
        make_again(folder, Fingerprint({**stored.values, "keep_patches": "others"}))


def test_what_is_no_index_is_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="exists and is not an index"):
        Index.open(tmp_path)


def test_points_that_a_killed_migration_was_replacing_are_not_opened(demo_copy: Callable[[], Path]):
    folder = demo_copy()
    with Index.open(folder) as index:
        layout = index._storage.store.layout
    location = DirectoryLocation(folder, in_process=True)
    fingerprint = location.fingerprint()
    assert fingerprint is not None
    (folder / FOLDER).mkdir()
    Staging(folder).decide({"kept": ""})
    with pytest.raises(IndexInUse, match="a migration is replacing the index"):
        location.open(fingerprint, layout)
    with Index.open(folder) as index:  # finishes it
        assert len(index.documents()) == 5


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose process was told to end."""
    folders: list[Path] = []

    def stop(process: EngineProcess) -> None:
        folders.append(process.folder)

    monkeypatch.setattr(EngineProcess, "stop", stop)
    return folders


def hold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FolderLock:
    """Lock the points as another process would that is about to end."""
    monkeypatch.setattr("docrag.common.files._holder", lambda file, folder: "process 1 (docrag engine)")
    monkeypatch.setattr("docrag.common.files._hint_for", lambda holder: "end it")
    return FolderLock(folder / POINTS)


def test_a_switch_waits_for_a_process_that_still_flushes(
    tmp_path: Path, stopped: list[Path], monkeypatch: pytest.MonkeyPatch
):
    held = hold(tmp_path, monkeypatch)
    threading.Timer(0.3, held.release).start()
    started = time.monotonic()
    with DirectoryLocation(tmp_path)._lock():
        assert time.monotonic() - started > 0.2
    assert len(stopped) > 1  # it may have been started again by somebody who was quicker


def test_a_switch_does_not_wait_for_ever(
    tmp_path: Path, stopped: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(directory, "LOCK_PATIENCE", 0.1)
    with (
        hold(tmp_path, monkeypatch),
        pytest.raises(IndexInUse, match="is open already"),
        DirectoryLocation(tmp_path)._lock(),
    ):
        pass
    assert stopped


def test_a_switch_does_not_wait_for_this_process(tmp_path: Path, stopped: list[Path]):
    with (
        FolderLock(tmp_path / POINTS),
        pytest.raises(IndexInUse) as in_use,
        DirectoryLocation(tmp_path)._lock(),
    ):
        pass
    assert in_use.value.holder == "this process"
    assert len(stopped) == 1
