"""An index to export, and what two indexes are compared by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.storage import Storage
from docrag.store.archive import Archive
from docrag.store.images import PageImages
from docrag.store.layout import Fingerprint, Layout
from docrag.store.local.store import EdgeStore
from docrag.store.page_address import PageAddresses
from docrag.types import PageRecord, SparseVector
from tests.store.conftest import make_record

BUILT = Fingerprint({"layout": 1, "late": {"dim": 16}, "image": {"dim": 12}, "text": {"dim": 8}})
LAYOUT = Layout.for_dims(late=16, image=12, text=8)
PAGES, PART = 23, 5
VECTORS = ("patches", "pooled", "image", "caption", "bm25")


def empty_storage(home: Path) -> Storage:
    home.mkdir()
    store = EdgeStore.create(home / "points", LAYOUT)
    return Storage(store, PageImages(home / "images"), Manifest(home / "manifest.sqlite"))


def fill(found: Storage) -> Storage:
    """Five documents, the last one cut short, with images for most pages, one page without terms."""
    records = [sample_record(number) for number in range(PAGES)]
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


def sample_record(number: int) -> PageRecord:
    """A record with the address of its image where a server would show it."""
    record = make_record(number)
    metadata = record.payload["metadata"]
    address = PageAddresses("http://localhost").of(metadata["document_id"], metadata["page_number"])
    return replace(record, payload={**record.payload, "image_url": address})


def add_document(manifest: Manifest, record: PageRecord) -> None:
    metadata = record.payload["metadata"]
    manifest.begin(metadata["document_id"], metadata["source"])
    files = [FileRow(path, path, 10, 20, metadata["document_id"]) for path in metadata["sources"]]
    if metadata["document_id"] != f"{4:064x}":  # the last one is still being written
        manifest.finish(metadata["document_id"], 5, "", files)


def quiet(event: object) -> None:
    """Nobody listens."""


def everything(storage: Storage) -> list[Any]:
    """What an index holds, comparable."""
    ids = sorted(record.id for record in storage.store.scroll())
    records = storage.store.retrieve(ids, vectors=VECTORS)
    images = {
        path.relative_to(storage.images.root): path.read_bytes()
        for path in storage.images.root.rglob("*.jpg")
    }
    vectors = [
        {
            name: np.asarray(v.indices + v.values if isinstance(v, SparseVector) else v).tolist()
            for name, v in r.vectors.items()
        }
        for r in records
    ]
    rows = [storage.manifest.documents(), storage.manifest.files()]
    return [ids, vectors, [record.payload for record in records], images, rows]


def times(archive: Archive) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in archive.folder.glob("part-*")}
