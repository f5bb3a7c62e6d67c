"""Export and import: the same index at another place, and nothing done twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from docrag import Index, Settings
from docrag.demo import documents
from docrag.errors import IndexMismatch, IndexNotFound, StoreError
from docrag.ingest import transfer
from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.shelf import Shelf
from docrag.ingest.transfer import export, import_archive
from docrag.moving import export_index, import_index
from docrag.store.archive import Archive
from docrag.store.connection import Connection
from docrag.store.edge import EdgeStore
from docrag.store.images import PageImages
from docrag.store.layout import Fingerprint, Layout
from docrag.store.server import ServerStore
from docrag.types import PageRecord, SparseVector
from tests.samples import CLOCK, later, write_pdf
from tests.store.conftest import make_record

BUILT = Fingerprint({"layout": 1, "late": {"dim": 16}, "image": {"dim": 12}, "text": {"dim": 8}})
LAYOUT = Layout.for_dims(late=16, image=12, text=8)
PAGES, PART = 23, 5
VECTORS = ("patches", "pooled", "image", "caption", "bm25")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(transfer, "PART", PART)
    monkeypatch.setattr(transfer, "BATCH", 2)


@pytest.fixture
def make_shelf(tmp_path: Path) -> Iterator[Callable[[str], Shelf]]:
    """An empty index by name."""
    made = []

    def make(name: str) -> Shelf:
        home = tmp_path / name
        home.mkdir()
        store = EdgeStore.create(home / "points", LAYOUT)
        made.append(Shelf(store, PageImages(home / "images"), Manifest(home / "manifest.sqlite")))
        return made[-1]

    yield make
    for shelf in made:
        shelf.close()


@pytest.fixture
def shelf(make_shelf) -> Shelf:
    """Five documents, the last one cut short, with images for most pages, one page without terms."""
    found = make_shelf("from")
    records = [make_record(number) for number in range(PAGES)]
    records[7] = replace(records[7], vectors={**records[7].vectors, "bm25": SparseVector((), ())})
    for number, record in enumerate(records):
        metadata = record.payload["metadata"]
        if number % 4:
            found.images.write(metadata["document_id"], metadata["page"] + 1, b"image" * number)
    found.store.upsert(records)
    for record in records[::5]:
        add_document(found.manifest, record)
    found.settle()
    return found


def add_document(manifest: Manifest, record: PageRecord) -> None:
    metadata = record.payload["metadata"]
    manifest.begin(metadata["document_id"], metadata["source"])
    files = [FileRow(path, path, 10, 20, metadata["document_id"]) for path in metadata["sources"]]
    if metadata["document_id"] != f"{4:064x}":  # the last one is still being written
        manifest.finish(metadata["document_id"], 5, "", files)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "export")


def quiet(event: object) -> None:
    """Nobody listens."""


def everything(shelf: Shelf) -> list[Any]:
    """What an index holds, comparable."""
    ids = sorted(record.id for record in shelf.store.scroll())
    records = shelf.store.retrieve(ids, vectors=VECTORS)
    images = {
        path.relative_to(shelf.images.root): path.read_bytes() for path in shelf.images.root.rglob("*.jpg")
    }
    vectors = [
        {
            name: np.asarray(v.indices + v.values if isinstance(v, SparseVector) else v).tolist()
            for name, v in r.vectors.items()
        }
        for r in records
    ]
    rows = [shelf.manifest.documents(), shelf.manifest.files()]
    return [ids, vectors, [record.payload for record in records], images, rows]


def times(archive: Archive) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in archive.folder.glob("part-*")}


def test_all_of_an_index_arrives(shelf: Shelf, make_shelf, archive: Archive):
    heard = []
    done = export(shelf, BUILT, LAYOUT, archive, heard.append)
    assert (done.pages, done.parts, done.written) == (PAGES, 5, PAGES)
    assert [(event.pages, event.known) for event in heard][-1] == (PAGES, PAGES)
    target = make_shelf("to")
    done = import_archive(target, archive.contents(), archive, quiet)
    assert (done.pages, done.parts, done.written) == (PAGES, 5, PAGES)
    assert everything(target) == everything(shelf)
    assert target.manifest.document(f"{4:064x}").state == "writing"


def test_the_second_time_nothing_is_written(shelf: Shelf, make_shelf, archive: Archive, monkeypatch):
    export(shelf, BUILT, LAYOUT, archive, quiet)
    before = times(archive)
    assert export(shelf, BUILT, LAYOUT, archive, quiet).written == 0
    assert times(archive) == before
    target = make_shelf("to")
    import_archive(target, archive.contents(), archive, quiet)
    monkeypatch.setattr(Archive, "read_part", None)
    assert import_archive(target, archive.contents(), archive, quiet).written == 0
    assert everything(target) == everything(shelf)


def test_an_index_goes_to_a_server_and_back(shelf: Shelf, make_shelf, archive: Archive, tmp_path: Path):
    export(shelf, BUILT, LAYOUT, archive, quiet)
    images, manifest = PageImages(tmp_path / "server"), Manifest(tmp_path / "server.sqlite")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # local mode says that it is no server
        server = Shelf(ServerStore.create(Connection.in_memory("pages"), LAYOUT, BUILT), images, manifest)
    with closing(server):
        import_archive(server, archive.contents(), archive, quiet)
        assert import_archive(server, archive.contents(), archive, quiet).written == 0
        back = Archive(tmp_path / "back")
        assert export(server, BUILT, LAYOUT, back, quiet).pages == PAGES
    target = make_shelf("to")
    import_archive(target, back.contents(), back, quiet)
    ids, vectors, *rest = everything(target)
    wanted_ids, wanted_vectors, *wanted = everything(shelf)
    assert (ids, rest) == (wanted_ids, wanted)
    for page, before in zip(vectors, wanted_vectors, strict=True):
        for name in VECTORS:
            np.testing.assert_allclose(page[name], before[name], atol=1e-3)


class Killed(Exception):
    """What ends a run in these tests."""


def kill_at(pages: int) -> Callable[[Any], None]:
    def listen(event: Any) -> None:
        if event.pages >= pages:
            raise Killed

    return listen


def test_a_killed_export_goes_on(shelf: Shelf, archive: Archive):
    with pytest.raises(Killed):
        export(shelf, BUILT, LAYOUT, archive, kill_at(2 * PART))
    before = times(archive)
    assert len(before) == 2
    with pytest.raises(StoreError, match="not finished"):
        archive.contents()
    (archive.folder / "part-00002.draft").write_bytes(b"half")
    assert export(shelf, BUILT, LAYOUT, archive, quiet).written == PAGES - 2 * PART
    assert before.items() <= times(archive).items()
    assert archive.contents().complete
    assert not list(archive.folder.glob("*.draft"))


def test_a_killed_import_goes_on(shelf: Shelf, make_shelf, archive: Archive):
    export(shelf, BUILT, LAYOUT, archive, quiet)
    target = make_shelf("to")
    with pytest.raises(Killed):
        import_archive(target, archive.contents(), archive, kill_at(3 * PART))
    assert {row.state for row in target.manifest.documents()} == {"writing"}
    done = import_archive(target, archive.contents(), archive, quiet)
    assert done.written == PAGES - 3 * PART
    assert everything(target) == everything(shelf)


def test_an_export_follows_its_index(shelf: Shelf, make_shelf, archive: Archive):
    export(shelf, BUILT, LAYOUT, archive, quiet)
    changed = make_record(22)
    metadata = {**changed.payload["metadata"], "caption": "said since"}
    shelf.store.upsert([replace(changed, payload={**changed.payload, "metadata": metadata})])
    assert export(shelf, BUILT, LAYOUT, archive, quiet).written == PAGES % PART
    shelf.manifest.forget(["/docs/0.pdf"])
    assert export(shelf, BUILT, LAYOUT, archive, quiet).pages == PAGES - 5
    assert len(times(archive)) == 4
    target = make_shelf("to")
    import_archive(target, archive.contents(), archive, quiet)
    assert everything(target) == everything(shelf)


def test_an_export_mends_a_damaged_part(shelf: Shelf, archive: Archive):
    export(shelf, BUILT, LAYOUT, archive, quiet)
    archive.part_file(1).write_bytes(b"damaged")
    assert export(shelf, BUILT, LAYOUT, archive, quiet).written == PART


def test_a_damaged_part_is_refused_and_what_came_before_stays(shelf: Shelf, make_shelf, archive: Archive):
    export(shelf, BUILT, LAYOUT, archive, quiet)
    archive.part_file(3).write_bytes(b"damaged")
    target = make_shelf("to")
    with pytest.raises(StoreError, match=r"part-00003\.npz"):
        import_archive(target, archive.contents(), archive, quiet)
    assert target.store.count() == 3 * PART
    export(shelf, BUILT, LAYOUT, archive, quiet)
    assert import_archive(target, archive.contents(), archive, quiet).written == PAGES - 3 * PART


def test_another_index_is_not_exported_over(shelf: Shelf, archive: Archive):
    export(shelf, BUILT, LAYOUT, archive, quiet)
    other = Fingerprint({**BUILT.values, "late": {"dim": 128, "family": "colpali"}})
    with pytest.raises(IndexMismatch, match="colpali"):
        export(shelf, other, LAYOUT, archive, quiet)


def test_what_the_target_has_of_its_own_stays(shelf: Shelf, make_shelf, archive: Archive):
    export(shelf, BUILT, LAYOUT, archive, quiet)
    target = make_shelf("to")
    own = [make_record(number) for number in (*range(5), *range(30, 35))]  # document 0, and document 6
    target.store.upsert(own)
    for record in own[::5]:
        add_document(target.manifest, record)
    target.settle()
    here = FileRow("/here/0.pdf", "/here/0.pdf", 1, 2, f"{0:064x}")
    target.manifest.assign([here])
    old = FileRow("/docs/1.pdf", "/docs/1.pdf", 1, 2, f"{6:064x}")  # the archive knows better what is there
    target.manifest.assign([old])
    import_archive(target, archive.contents(), archive, quiet)
    assert target.store.count() == PAGES + 5
    assert target.manifest.sources(f"{0:064x}") == ("/docs/0.pdf", "/here/0.pdf")
    page = next(r for r in target.store.scroll() if r.payload["metadata"]["document_id"] == f"{0:064x}")
    assert page.payload["metadata"]["sources"] == ["/docs/0.pdf", "/here/0.pdf"]
    assert target.manifest.file("/docs/1.pdf").document_id == f"{1:064x}"
    assert target.manifest.document(f"{6:064x}").state == "done"


def hits(index: Index, query: str, mode: str) -> list[tuple[str, float, int, bytes]]:
    return [
        (hit.page_id, hit.score, len(hit.regions), hit.image_path.read_bytes())
        for hit in index.search(query, mode=mode)
    ]


QUERY = "How much did the ferry company earn from catering?"


def test_a_moved_index_answers_the_same_and_knows_its_files(tmp_path: Path, status_of):
    folder = Path(shutil.copytree(documents(), tmp_path / "docs"))
    here, there, export_folder = tmp_path / "here", tmp_path / "there", tmp_path / "export"
    settings = Settings(workers=1)
    with Index.open(here, settings=settings) as index:
        index.ingest(folder)
        before = {mode: hits(index, QUERY, mode) for mode in ("hybrid", "late", "cosine", "text")}
    pages = export_index(str(here), export_folder).pages
    assert import_index(export_folder, str(there)).written == pages > 2 * PART
    with Index.open(there, settings=settings) as index:
        for mode, wanted in before.items():
            found = hits(index, QUERY, mode)
            assert [(id, n, image) for id, _, n, image in found] == [
                (id, n, image) for id, _, n, image in wanted
            ]
            np.testing.assert_allclose([hit[1] for hit in found], [hit[1] for hit in wanted], atol=1e-3)
        assert set(status_of(index.ingest(folder)).values()) == {"unchanged"}
        later(write_pdf(folder / "new.pdf", CLOCK))
        assert status_of(index.ingest(folder))["new.pdf"] == "added"
    assert import_index(export_folder, str(there)).written == 0


CRASH = """
import os, sys
from docrag.ingest import transfer
from docrag.moving import export_index, import_index

def die(event):
    if event.pages >= 2:
        os._exit(9)  # as if killed: nothing is flushed or closed

transfer.PART = 1
{"export": export_index, "import": import_index}[sys.argv[1]](sys.argv[2], sys.argv[3], die)
"""


def test_a_process_that_dies_leaves_nothing_half_done(tmp_path: Path, folder: Path, monkeypatch, status_of):
    monkeypatch.setattr(transfer, "PART", 1)
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


def test_an_import_into_an_index_of_other_models_is_refused(tmp_path: Path):
    with Index.open(tmp_path / "here"):
        pass
    export_index(str(tmp_path / "here"), tmp_path / "export")
    with Index.open(tmp_path / "german", settings=Settings(language="german")):
        pass
    with pytest.raises(IndexMismatch, match="german"):
        import_index(tmp_path / "export", str(tmp_path / "german"))


def test_an_import_keeps_where_the_weights_lie(tmp_path: Path, checkpoint):
    model = Path(shutil.copytree(checkpoint("colqwen2"), tmp_path / "model"))
    with Index.open(tmp_path / "here", late=str(model)):
        pass
    export_index(str(tmp_path / "here"), tmp_path / "export")
    moved = model.rename(tmp_path / "elsewhere")
    with Index.open(tmp_path / "there", late=str(moved)):
        pass
    import_index(tmp_path / "export", str(tmp_path / "there"))
    assert json.loads((tmp_path / "there" / "fingerprint.json").read_text())["late"]["model"] == str(moved)


def test_patches_are_stored_as_the_target_has_them(tmp_path: Path):
    with Index.open(tmp_path / "here"):
        pass
    export_index(str(tmp_path / "here"), tmp_path / "export")
    there = tmp_path / "there"
    import_index(tmp_path / "export", str(there), datatype="turbo8")
    import_index(tmp_path / "export", str(there))
    with pytest.raises(IndexMismatch, match="datatype turbo8, asked for datatype float16"):
        import_index(tmp_path / "export", str(there), datatype="float16")
    assert json.loads((there / "fingerprint.json").read_text())["datatype"] == "turbo8"


def test_an_index_moves_without_its_models(tmp_path: Path, checkpoint):
    model = Path(shutil.copytree(checkpoint("colqwen2"), tmp_path / "model"))
    with Index.open(tmp_path / "here", late=str(model)):
        pass
    shutil.rmtree(model)
    export_index(str(tmp_path / "here"), tmp_path / "export")
    assert import_index(tmp_path / "export", str(tmp_path / "there")).pages == 0


def test_what_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(IndexNotFound, match="no index"):
        export_index(str(tmp_path / "none"), tmp_path / "export")
    with pytest.raises(IndexNotFound, match="no export"):
        import_index(tmp_path / "none", str(tmp_path / "to"))
    assert not (tmp_path / "to").exists()
