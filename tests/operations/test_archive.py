"""Export and import: the same index at another place, and nothing done twice."""

from __future__ import annotations

import warnings
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from docrag.errors import IndexMismatch, StoreError
from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.storage import Storage
from docrag.operations.transfer import export, import_archive
from docrag.store.archive import Archive
from docrag.store.images import PageImages
from docrag.store.layout import Fingerprint, Layout
from docrag.store.local.store import EdgeStore
from docrag.store.server.store import ServerStore
from tests.operations.sample_storage import (
    BUILT,
    LAYOUT,
    PAGES,
    PART,
    VECTORS,
    add_document,
    everything,
    fill,
    quiet,
    sample_record,
    times,
)
from tests.store.conftest import make_record
from tests.store.local_mode import local_connection

pytestmark = pytest.mark.usefixtures("small_parts")


def test_all_of_an_index_arrives(storage: Storage, make_storage, archive: Archive):
    heard = []
    done = export(storage, BUILT, LAYOUT, archive, heard.append)
    assert (done.pages, done.parts, done.written) == (PAGES, 5, PAGES)
    assert [(event.pages, event.known) for event in heard][-1] == (PAGES, PAGES)
    target = make_storage("to")
    done = import_archive(target, archive.contents(), archive, quiet)
    assert (done.pages, done.parts, done.written) == (PAGES, 5, PAGES)
    assert everything(target) == everything(storage)
    assert target.manifest.document(f"{4:064x}").state == "writing"


def test_float32_arrives_as_float32(archive: Archive, tmp_path: Path):
    precise = Layout.for_dims(late=16, image=12, text=8, datatype="float32")

    def made(name: str) -> Storage:
        (home := tmp_path / name).mkdir()
        store = EdgeStore.create(home / "points", precise)
        return Storage(store, PageImages(home / "images"), Manifest(home / "manifest.sqlite"))

    with closing(fill(made("before"))) as before, closing(made("after")) as after:
        export(before, BUILT, precise, archive, quiet)
        import_archive(after, archive.contents(), archive, quiet)
        assert everything(after) == everything(before)
        [patches] = [
            record.vectors["patches"]
            for record in after.store.retrieve([make_record(0).id], vectors=["patches"])
        ]
        assert np.abs(patches - make_record(0).vectors["patches"]).max() < 1e-7


def test_the_second_time_nothing_is_written(storage: Storage, make_storage, archive: Archive, monkeypatch):
    export(storage, BUILT, LAYOUT, archive, quiet)
    before = times(archive)
    assert export(storage, BUILT, LAYOUT, archive, quiet).written == 0
    assert times(archive) == before
    target = make_storage("to")
    import_archive(target, archive.contents(), archive, quiet)
    monkeypatch.setattr(Archive, "read_part", None)
    assert import_archive(target, archive.contents(), archive, quiet).written == 0
    assert everything(target) == everything(storage)


def test_an_index_goes_to_a_server_and_back(storage: Storage, make_storage, archive: Archive, tmp_path: Path):
    export(storage, BUILT, LAYOUT, archive, quiet)
    images, manifest = PageImages(tmp_path / "server"), Manifest(tmp_path / "server.sqlite")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # local mode says that it is no server
        server = Storage(ServerStore.create(local_connection("pages"), LAYOUT, BUILT), images, manifest)
    with closing(server):
        import_archive(server, archive.contents(), archive, quiet)
        assert import_archive(server, archive.contents(), archive, quiet).written == 0
        back = Archive(tmp_path / "back")
        assert export(server, BUILT, LAYOUT, back, quiet).pages == PAGES
    target = make_storage("to")
    import_archive(target, back.contents(), back, quiet)
    ids, vectors, *rest = everything(target)
    wanted_ids, wanted_vectors, *wanted = everything(storage)
    assert (ids, rest) == (wanted_ids, wanted)
    for page, before in zip(vectors, wanted_vectors, strict=True):
        for name in VECTORS:
            np.testing.assert_allclose(page[name], before[name], atol=1e-3)


def test_an_export_follows_its_index(storage: Storage, make_storage, archive: Archive):
    export(storage, BUILT, LAYOUT, archive, quiet)
    changed = sample_record(22)
    metadata = {**changed.payload["metadata"], "caption": "said since"}
    storage.store.upsert([replace(changed, payload={**changed.payload, "metadata": metadata})])
    assert export(storage, BUILT, LAYOUT, archive, quiet).written == PAGES % PART
    storage.manifest.forget(["/docs/0.pdf"])
    assert export(storage, BUILT, LAYOUT, archive, quiet).pages == PAGES - 5
    assert len(times(archive)) == 4
    target = make_storage("to")
    import_archive(target, archive.contents(), archive, quiet)
    assert everything(target) == everything(storage)


def test_an_export_mends_a_damaged_part(storage: Storage, archive: Archive):
    export(storage, BUILT, LAYOUT, archive, quiet)
    archive.part_file(1).write_bytes(b"damaged")
    assert export(storage, BUILT, LAYOUT, archive, quiet).written == PART


def test_a_damaged_part_is_refused_and_what_came_before_stays(
    storage: Storage, make_storage, archive: Archive
):
    export(storage, BUILT, LAYOUT, archive, quiet)
    archive.part_file(3).write_bytes(b"damaged")
    target = make_storage("to")
    with pytest.raises(StoreError, match=r"part-00003\.npz"):
        import_archive(target, archive.contents(), archive, quiet)
    assert target.store.count() == 3 * PART
    export(storage, BUILT, LAYOUT, archive, quiet)
    assert import_archive(target, archive.contents(), archive, quiet).written == PAGES - 3 * PART


def test_another_index_is_not_exported_over(storage: Storage, archive: Archive):
    export(storage, BUILT, LAYOUT, archive, quiet)
    other = Fingerprint({**BUILT.values, "late": {"dim": 128, "family": "colpali"}})
    with pytest.raises(IndexMismatch, match="colpali"):
        export(storage, other, LAYOUT, archive, quiet)


def test_what_the_target_has_of_its_own_stays(storage: Storage, make_storage, archive: Archive):
    export(storage, BUILT, LAYOUT, archive, quiet)
    target = make_storage("to")
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
