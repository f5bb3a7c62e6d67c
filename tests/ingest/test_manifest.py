from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
import threading
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from docrag.common.files import READ_ONLY_HINT
from docrag.errors import IndexInUse, StorageFull, StoreError
from docrag.ingest import manifest as module
from docrag.ingest.manifest import FileRow, Manifest
from tests.processes import Holder, in_child, read_only
from tests.threads import at_once, beside

WRITE = """
import sys
from pathlib import Path
from docrag.ingest.manifest import FileRow, Manifest
manifest, me = Manifest(Path(sys.argv[1])), sys.argv[2]
input()
for number in range(20):
    manifest.begin(f"{me}-{number}", me)
    manifest.documents()
"""
FORK_AND_END = """
import os, sys
from pathlib import Path
from docrag.ingest.manifest import Manifest
manifest = Manifest(Path(sys.argv[1]))
manifest.begin("d1", "parent")
child = os.fork()
if not child:
    manifest.begin("d2", "child")
    sys.exit(0)  # the interpreter of the child frees all that it has
assert os.waitpid(child, 0)[1] == 0
manifest.begin("d3", "parent")
print(sorted(document.id for document in manifest.documents()))
"""


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
        Manifest(tmp_path / "manifest.sqlite").documents()


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


def test_a_full_disk_is_named(manifest):
    manifest.begin("d0", "a.pdf")
    manifest._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StorageFull, match="no space left"):
        manifest.begin("d1", "a.pdf" * 10_000)
    assert states(manifest) == {"d0": "writing"}


def test_the_file_is_opened_when_it_is_needed(tmp_path: Path):
    with closing(Manifest(tmp_path / "manifest.sqlite")) as manifest:
        assert not list(tmp_path.iterdir())
        assert manifest.documents() == []
        assert (tmp_path / "manifest.sqlite").exists()


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path):
    with closing(Manifest(tmp_path / "missing" / "manifest.sqlite")) as manifest, pytest.raises(StoreError):
        manifest.documents()


def test_who_opens_and_reads_does_not_wait_for_who_writes(manifest, tmp_path: Path):
    manifest.begin("d1", "a.pdf")
    with manifest._transaction():
        manifest._db.execute("UPDATE documents SET pages = 7")
        with closing(Manifest(tmp_path / "manifest.sqlite")) as other:
            assert beside(other.documents).result(10)[0].pages == 0
    assert manifest.documents()[0].pages == 7


def test_processes_that_make_a_manifest_at_once_do_not_disturb_each_other(tmp_path: Path):
    path = tmp_path / "manifest.sqlite"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, path, f"p{number}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.communicate()[1] for writer in writers] == [""] * 4
    with closing(Manifest(path)) as manifest:
        assert len(manifest.documents()) == 4 * 20


def test_children_read_and_write_with_a_connection_of_their_own(manifest):
    manifest.begin("d1", "a.pdf")

    def work() -> dict[str, str]:
        manifest.begin("d2", "b.pdf")
        return states(manifest)

    assert in_child(work) == {"d1": "writing", "d2": "writing"}
    manifest.begin("d3", "c.pdf")
    assert list(states(manifest)) == ["d1", "d2", "d3"]
    assert manifest._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_child_that_ends_leaves_the_file_as_it_is(tmp_path: Path):
    command = [sys.executable, "-c", FORK_AND_END, tmp_path / "manifest.sqlite"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "['d1', 'd2', 'd3']\n")


def test_a_pool_of_forked_processes_reads(manifest, monkeypatch):
    manifest.begin("d1", "a.pdf")
    monkeypatch.setitem(inherited, "manifest", manifest)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the process that runs the tests has threads
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(count_documents, range(8)) == [1] * 8


inherited: dict[str, Manifest] = {}
"""What forked children find."""


def count_documents(_: int) -> int:
    return len(inherited["manifest"].documents())


def test_a_fork_in_the_middle_of_a_transaction_of_another_thread(manifest, monkeypatch):
    monkeypatch.setattr(module, "_FORK_SECONDS", 0.1)
    manifest.begin("d1", "a.pdf")
    began, end = threading.Event(), threading.Event()

    def write() -> None:
        with manifest._transaction():
            began.set()
            end.wait(20)

    writing = beside(write)
    assert began.wait(20)
    connection = manifest._connection
    assert in_child(lambda: (manifest._connection is None, manifest._lock.acquire(timeout=1))) == (True, True)
    assert manifest._connection is connection
    end.set()
    writing.result(20)
    manifest.begin("d2", "b.pdf")
    assert list(states(manifest)) == ["d1", "d2"]


def test_threads_go_on_after_a_fork(manifest):
    in_child(manifest.documents)
    assert beside(manifest.documents).result(10) == []


def test_what_a_child_closes_stays_open_in_its_parent(manifest):
    manifest.begin("d1", "a.pdf")
    in_child(manifest.close)
    assert list(states(manifest)) == ["d1"]


@pytest.fixture
def unclosed(manifest: Manifest, tmp_path: Path) -> Path:
    """A folder with a manifest as a killed process leaves it: its last changes are in the log only."""
    manifest.begin("d1", "a.pdf")
    (tmp_path / "mount").mkdir()
    for name in ("manifest.sqlite", "manifest.sqlite-wal"):
        shutil.copy(tmp_path / name, tmp_path / "mount")
    (path,) = (tmp_path / "mount").glob("*-wal")
    assert path.stat().st_size
    return tmp_path / "mount"


def test_a_manifest_on_a_read_only_file_system_is_read(unclosed: Path):
    with read_only(unclosed), closing(Manifest(unclosed / "manifest.sqlite")) as found:
        assert states(found) == {"d1": "writing"}
        assert in_child(lambda: states(found)) == {"d1": "writing"}
        for change in (lambda: found.begin("d2", "b.pdf"), found.exclusive, found.wait_for_turn):
            with pytest.raises(StoreError) as caught:
                change()
            assert caught.value.hint == READ_ONLY_HINT
        assert states(found) == {"d1": "writing"}
    assert {path.name for path in unclosed.iterdir()} == {"manifest.sqlite", "manifest.sqlite-wal"}


def test_a_missing_manifest_on_a_read_only_file_system_is_empty(tmp_path: Path):
    (tmp_path / "mount").mkdir()
    with read_only(tmp_path / "mount") as folder, closing(Manifest(folder / "manifest.sqlite")) as found:
        assert found.documents() == []
        assert found.files() == []


def test_a_damaged_manifest_on_a_read_only_file_system_is_named(tmp_path: Path):
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "manifest.sqlite").write_text("this is no database, and long enough" * 40)
    with read_only(tmp_path / "mount") as folder, pytest.raises(StoreError, match=r"manifest\.sqlite"):
        Manifest(folder / "manifest.sqlite").documents()


def test_a_copy_of_a_file_that_is_changed_meanwhile_is_made_again(unclosed: Path, monkeypatch):
    copy, copied = shutil.copyfile, []

    def copy_while_it_is_changed(source: Path, target: Path) -> None:
        copy(source, target)
        copied.append(source.name)
        if len(copied) == 1:
            with closing(sqlite3.connect(source)) as db:
                db.execute("UPDATE documents SET source = 'changed.pdf'")
                db.commit()

    monkeypatch.setattr(shutil, "copyfile", copy_while_it_is_changed)
    monkeypatch.setattr(module, "can_write", lambda path: False)
    with closing(Manifest(unclosed / "manifest.sqlite")) as found:
        assert [document.source for document in found.documents()] == ["changed.pdf"]
    assert copied.count("manifest.sqlite") == 2


def test_who_writes_is_named(manifest, tmp_path: Path):
    assert manifest.writer() is None
    with Holder(tmp_path / "manifest.sqlite", tmp_path, "docrag", "ingest") as other:
        name = f"process {other.process.pid} (docrag ingest)"
        assert str(manifest.writer()) == name
        with pytest.raises(IndexInUse, match="is being written by") as caught:
            manifest.exclusive()
    assert caught.value.holder == name


def test_a_thread_does_not_wait_for_itself(manifest):
    with manifest.exclusive(), pytest.raises(IndexInUse, match="being written by this thread") as caught:
        manifest.wait_for_turn()
    assert "would wait for itself" in caught.value.hint
    lock = manifest.wait_for_turn()
    assert str(manifest.writer()) == "this process"
    lock.release()
