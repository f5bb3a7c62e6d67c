"""Exports and imports that are killed go on where they were."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from docrag import Index, Settings
from docrag.errors import StoreError
from docrag.ingest.storage import Storage
from docrag.operations import transfer
from docrag.operations.transfer import export, export_index, import_archive, import_index
from docrag.store.archive import Archive
from tests.operations.sample_storage import BUILT, LAYOUT, PAGES, PART, everything, quiet, times

pytestmark = pytest.mark.usefixtures("small_parts")


class Killed(Exception):
    """What ends a run in these tests."""


def kill_at(pages: int) -> Callable[[Any], None]:
    def listen(event: Any) -> None:
        if event.pages >= pages:
            raise Killed

    return listen


def test_a_killed_export_goes_on(storage: Storage, archive: Archive):
    with pytest.raises(Killed):
        export(storage, BUILT, LAYOUT, archive, kill_at(2 * PART))
    before = times(archive)
    assert len(before) == 2
    with pytest.raises(StoreError, match="not finished"):
        archive.contents()
    (archive.folder / "part-00002.draft").write_bytes(b"half")
    assert export(storage, BUILT, LAYOUT, archive, quiet).written == PAGES - 2 * PART
    assert before.items() <= times(archive).items()
    assert archive.contents().complete
    assert not list(archive.folder.glob("*.draft"))


def test_a_killed_import_goes_on(storage: Storage, make_storage, archive: Archive):
    export(storage, BUILT, LAYOUT, archive, quiet)
    target = make_storage("to")
    with pytest.raises(Killed):
        import_archive(target, archive.contents(), archive, kill_at(3 * PART))
    assert {row.state for row in target.manifest.documents()} == {"writing"}
    done = import_archive(target, archive.contents(), archive, quiet)
    assert done.written == PAGES - 3 * PART
    assert everything(target) == everything(storage)


CRASH = """
import os, sys
from docrag.operations import transfer
from docrag.operations.transfer import export_index, import_index

def die(event):
    if event.pages >= 2:
        os._exit(9)  # as if killed: nothing is flushed or closed

transfer.PAGES_PER_PART = 1
{"export": export_index, "import": import_index}[sys.argv[1]](sys.argv[2], sys.argv[3], die)
"""


def test_a_process_that_dies_leaves_nothing_half_done(tmp_path: Path, folder: Path, monkeypatch, status_of):
    monkeypatch.setattr(transfer, "PAGES_PER_PART", 1)
    here, there, export_folder = (str(tmp_path / name) for name in ("index", "there", "export"))
    with Index.open(here, settings=Settings(workers=1)) as index:
        assert index.ingest(folder).pages == 3
    for what in (("export", here, export_folder), ("import", export_folder, there)):
        died = subprocess.run([sys.executable, "-c", CRASH, *what], check=False)
        assert died.returncode == 9
        again = {"export": export_index, "import": import_index}[what[0]]
        assert again(*what[1:]).written == 1
    with Index.open(there, settings=Settings(workers=1)) as index:
        assert index.status().pages == 3
        assert set(status_of(index.ingest(folder)).values()) == {"unchanged"}
