"""Points in a folder that cannot be written: searched like others, and left as they are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from docrag.errors import IndexMismatch, IndexNotFound, StorageFull, StoreError
from docrag.store.base import Store
from docrag.store.layout import Layout
from docrag.store.local import engine
from docrag.store.local.read_only import open_read_only
from docrag.store.local.store import EdgeStore
from docrag.store.requests import FieldMatch, PayloadFilter, QueryRequest
from docrag.types import PageRecord, SparseVector
from tests.read_only import (
    BECOME_NOBODY,
    content_of,
    mounted_read_only,
    public_folder,
    without_write_permission,
)
from tests.samples import copy_index
from tests.store.conftest import LATE, make_record

__all__ = ["public_folder"]  # a fixture

ROOT = Path(__file__).parents[3]

IMPORTS = """
import os, signal, sys
from pathlib import Path
from docrag.store.layout import Layout
from docrag.store.local.read_only import open_read_only
from docrag.store.local.store import EdgeStore
from tests.samples import copy_index
from tests.store.conftest import IMAGE, LATE, TEXT, make_record

layout = Layout.for_dims(late=LATE, image=IMAGE, text=TEXT)
"""
KILLED_WRITER = f"""
{IMPORTS}
store = EdgeStore.open(Path(sys.argv[1]), layout)
store.upsert([make_record(number) for number in range(30, 40)])
os.kill(os.getpid(), signal.SIGKILL)
"""
BUSY_WRITER = f"""
{IMPORTS}
store = EdgeStore.open(Path(sys.argv[1]), layout)
number = 1000
while True:
    store.upsert([make_record(number) for number in range(number, number + 5)])
    number += 5
    sys.stdout.write("written\\n")
    sys.stdout.flush()
    sys.stdin.readline()
"""
READER = f"""
{IMPORTS}
store = open_read_only(Path(sys.argv[1]), layout)
sys.stdout.write(f"{{store.count()}}\\n")
sys.stdout.flush()
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, layout: Layout, records: list[PageRecord]) -> Path:
    """A shard of 70 records, from which others were removed, and which was optimised."""
    path = tmp_path_factory.mktemp("made") / "points"
    with EdgeStore.create(path, layout) as store:
        store.upsert([*records, *(make_record(number) for number in range(200, 400))])
        store.flush()
        store.delete(_documents(range(40, 72)))
        store.optimize()
    return path


@pytest.fixture
def points(made: Path, tmp_path: Path) -> Path:
    """A copy of the shard, in a folder of its own."""
    (tmp_path / "index").mkdir()
    return copy_index(made, tmp_path / "index" / "points")


@pytest.fixture
def read_only(points: Path, tmp_path: Path) -> Iterator[Path]:
    with mounted_read_only(points.parent, tmp_path / "mount") as folder:
        yield folder / "points"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary files are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def _documents(numbers: range) -> PayloadFilter:
    return PayloadFilter(must=(FieldMatch("metadata.document_id", tuple(f"{n:064x}" for n in numbers)),))


def answers(store: Store) -> dict[str, object]:
    """What a store holds and finds."""
    record = make_record(3)
    queries = [QueryRequest(record.vectors[name], name, 20) for name in ("patches", "caption", "bm25")]
    ids = [record.id for record in store.scroll()]
    return {
        "count": store.count(),
        "facet": store.facet("metadata.file_name"),
        "hits": store.query(queries),
        "filtered": store.count(_documents(range(3))),
        "payload": {record.id: record.payload for record in store.scroll()},
        "vectors": {
            record.id: {
                name: vector if isinstance(vector, SparseVector) else np.asarray(vector).tolist()
                for name, vector in record.vectors.items()
            }
            for record in store.retrieve(ids, vectors=list(record.vectors))
        },
    }


def test_it_answers_as_the_index_does_and_changes_nothing(
    points: Path, read_only: Path, layout: Layout, temporary: Path
):
    with EdgeStore.open(points, layout) as store:
        expected = answers(store)
    assert expected["count"] == 70
    before = content_of(points.parent)
    with open_read_only(read_only, layout) as store:
        assert answers(store) == expected
        assert list(temporary.glob("docrag*")) == []  # a kill leaves nothing behind
    assert content_of(points.parent) == before


def test_a_user_without_write_permission_can_search(points: Path, public_folder: Path, layout: Layout):
    (public_folder / "index").mkdir()
    public = copy_index(points, public_folder / "index" / "points")
    with without_write_permission(public.parent):
        before = content_of(public.parent)
        with process(READER.replace(IMPORTS, IMPORTS + BECOME_NOBODY), public) as reader:
            assert line_of(reader) == "70"
        assert content_of(public.parent) == before


def test_several_processes_open_it_at_once_and_a_kill_leaves_nothing(read_only: Path, temporary: Path):
    with process(READER, read_only, temporary) as one, process(READER, read_only, temporary) as other:
        assert line_of(one) == line_of(other) == "70"
        one.kill()
    assert list(temporary.glob("docrag*")) == []


def test_what_a_killed_process_did_not_flush_is_replayed_in_the_copy(
    points: Path, read_only: Path, layout: Layout
):
    with process(KILLED_WRITER, points) as writer:
        writer.wait(60)
    assert writer.returncode == -signal.SIGKILL
    before = content_of(points.parent)
    with open_read_only(read_only, layout) as store:
        assert store.count() == 80
        ids = [make_record(number).id for number in range(30, 40)]
        assert len(store.retrieve(ids, vectors=["patches"])) == 10
    assert content_of(points.parent) == before


def test_it_opens_beside_a_process_that_writes(points: Path, read_only: Path, layout: Layout):
    with process(BUSY_WRITER, points) as writer:
        for batches in range(1, 6):
            assert line_of(writer) == "written"
            with open_read_only(read_only, layout) as store:
                assert store.count() == 70 + 5 * batches
            writer.stdin.write("\n")
            writer.stdin.flush()
        writer.kill()


def test_every_change_is_refused_with_what_to_do(read_only: Path, layout: Layout, record):
    everything = PayloadFilter()
    with open_read_only(read_only, layout) as store:
        changes = [
            lambda: store.upsert([record(1)]),
            lambda: store.set_payload({"a": 1}, everything),
            lambda: store.set_payloads({record(1).id: {"a": 1}}),
            lambda: store.delete(everything),
            store.optimize,
        ]
        for change in changes:
            with pytest.raises(StoreError, match=r"is read-only \(.* copy it to a folder"):
                change()
        store.flush()
        assert store.count() == 70


def test_a_closed_store_says_so_and_frees_the_copy(read_only: Path, layout: Layout):
    store = open_read_only(read_only, layout)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.count()
    maps = Path("/proc/self/maps")
    assert not maps.exists() or "docrag-read-only" not in maps.read_text()


def test_children_that_were_forked_open_it_anew(read_only: Path, layout: Layout, temporary: Path):
    context = multiprocessing.get_context("fork")
    with open_read_only(read_only, layout) as store:
        expected = answers(store)
        results = context.SimpleQueue()
        children = [context.Process(target=lambda: results.put(answers(store) == expected)) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        assert [results.get() for _ in children] == [True, True]
        assert [child.exitcode for child in children] == [0, 0]
        assert answers(store) == expected
    assert list(temporary.glob("docrag*")) == []


def test_other_vectors_or_no_shard_are_errors_that_leave_no_copy(
    read_only: Path, tmp_path: Path, temporary: Path
):
    with pytest.raises(IndexMismatch, match=str(read_only)):
        open_read_only(read_only, Layout.for_dims(late=LATE, image=None, text=99))
    with pytest.raises(IndexNotFound):
        open_read_only(tmp_path / "missing", Layout.for_dims(late=LATE, image=None, text=99))
    assert list(temporary.glob("docrag*")) == []


def test_a_copy_that_does_not_fit_is_refused_before_it_is_made(
    read_only: Path, layout: Layout, temporary: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "RESERVE", 2**60)
    with pytest.raises(StorageFull, match="TMPDIR"):
        open_read_only(read_only, layout)
    assert list(temporary.glob("docrag*")) == []


def test_without_a_folder_for_temporary_files_the_error_names_the_variable(
    read_only: Path, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StoreError, match="TMPDIR"):
        open_read_only(read_only, layout)


@contextmanager
def process(source: str, points: Path, temporary: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the source; it is killed at the end."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"TMPDIR": str(temporary)} if temporary else {})
    command = [sys.executable, "-c", source, str(points)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def line_of(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()
