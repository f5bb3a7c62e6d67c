"""Export and import: carry an index to another place or engine, resumably both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TypeVar

from docrag.errors import StoreError
from docrag.ingest.image_urls import address_images, base_url_of
from docrag.ingest.manifest import DocumentRow, FileRow, Manifest
from docrag.ingest.report import Progress
from docrag.ingest.storage import Storage
from docrag.store.archive import Archive, ArchivedPage, Contents, Part, page_state, state_of
from docrag.store.images import PageImages
from docrag.store.layout import Fingerprint, Layout, require_equal
from docrag.store.payload import image_address, source_metadata
from docrag.types import PageRecord, SparseVector

PART = 256
"""Pages in a part: 70 MB of vectors and 40 of images at 1,030 x 128."""
BATCH = 16
"""Pages read or written at once: engines hand out lists of floats, 32 bytes each."""

Listener = Callable[[Progress], None]
Item = TypeVar("Item")


@dataclass(slots=True)
class Transfer:
    """What an export or import did."""

    pages: int = 0
    parts: int = 0
    written: int = 0
    """Pages that were written; the others were there already."""
    captions: int = 0
    """Captions of a vision model in the export, or that were new to the index."""
    addressed: int = 0
    """Pages of the index that were told that their images are served elsewhere now."""
    left_out: tuple[str, ...] = ()
    """What was not taken over, and why."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A page of the index, without its vectors."""

    document_id: str
    number: int
    id: str
    state: str


def export(
    storage: Storage,
    fingerprint: Fingerprint,
    layout: Layout,
    archive: Archive,
    listener: Listener,
    beside: Mapping[str, Iterable[bytes]] | None = None,
) -> Transfer:
    """Write an index into an archive; parts that are there and still true are left alone.

    Args:
        storage: The index; nobody else writes it meanwhile.
        fingerprint: What it was built with.
        layout: Its vectors.
        archive: An empty folder, or an export of an index with the same fingerprint.
        listener: Hears after each part.
        beside: Name and content of the files that go with the pages.

    Raises:
        IndexMismatch: The archive holds an index of other models.
        StoreError: Something else is in the folder, or a page was removed meanwhile.
    """
    storage.settle()
    before = _export_before(archive, fingerprint)
    entries = _entries(storage)
    done = Transfer()
    parts: list[Part] = []
    whole = frozenset(spec.name for spec in layout.vectors if spec.datatype == "float32")
    for number, part in enumerate(_chunks(entries, PART)):
        ids, state = tuple(entry.id for entry in part), state_of(entry.state for entry in part)
        found = before[number] if number < len(before) else None
        if found is None or (found.pages, found.state) != (ids, state) or not archive.holds(number, found):
            found = archive.write_part(number, state, _read(storage, layout, part), whole)
            done.written += len(ids)
            before[number:] = [found, *before[number + 1 :]]
            archive.write_contents(Contents(fingerprint.values, tuple(before)))
        parts.append(found)
        done.parts, done.pages = len(parts), done.pages + len(ids)
        listener(Progress(done.pages, len(entries), archive.part_file(number).name))
    files = [archive.write_attachment(name, chunks) for name, chunks in (beside or {}).items()]
    told = replace(_contents(storage, fingerprint, parts), attachments=tuple(file for file in files if file))
    archive.write_contents(told)
    archive.trim(len(parts))
    return done


def import_archive(
    storage: Storage,
    contents: Contents,
    archive: Archive,
    listener: Listener,
    image_base_url: str | None = None,
) -> Transfer:
    """Bring an index up to date with an archive; parts whose pages are all there are not read.

    What an ingest does document by document happens for all of them together: points first, then a flush,
    then the manifest. A document that the index has and the archive has not stays.

    Args:
        storage: An index with the fingerprint of the archive.
        contents: Of the archive.
        archive: A finished export.
        listener: Hears after each part.
        image_base_url: Where page images are served from now on; else as the index says, else as the export.

    Raises:
        StoreError: A part is damaged; those before it are imported.
    """
    storage.settle()
    documents = [DocumentRow(**row) for row in contents.documents]
    for document in documents:
        if storage.manifest.document(document.id) is None:
            storage.manifest.begin(document.id, document.source)
    done, known = Transfer(), sum(len(part.pages) for part in contents.parts)
    base_url = image_base_url or base_url_of(storage.store) or contents.image_base_url
    done.addressed = address_images(storage.store, base_url)
    for number, part in enumerate(contents.parts):
        if _state(storage, part.pages) != part.state:
            done.written += _write(storage, archive.read_part(number, part), base_url)
        done.parts, done.pages = done.parts + 1, done.pages + len(part.pages)
        listener(Progress(done.pages, known, archive.part_file(number).name))
    _finish(storage, documents, [FileRow(**row) for row in contents.files])
    if done.written:
        storage.store.optimize()
    return done


def _export_before(archive: Archive, fingerprint: Fingerprint) -> list[Part]:
    """The parts of an export that was begun or made here; else begin one."""
    contents = archive.begun()
    if contents is None:
        archive.write_contents(Contents(fingerprint.values))
        return []
    require_equal(Fingerprint(contents.fingerprint), fingerprint)
    return list(contents.parts)


def _entries(storage: Storage) -> list[_Entry]:
    """All pages, those of a document one after the other."""
    entries = []
    for record in storage.store.scroll(payload=["metadata"]):
        metadata = record.payload["metadata"]
        document_id, number = metadata["document_id"], metadata["page"] + 1
        state = page_state(record, _image_size(storage.images, record))
        entries.append(_Entry(document_id, number, record.id, state))
    return sorted(entries, key=lambda entry: (entry.document_id, entry.number))


def _image_size(images: PageImages, record: PageRecord) -> int:
    metadata = record.payload["metadata"]
    path = images.path(metadata["document_id"], metadata["page"] + 1)
    return path.stat().st_size if path.is_file() else 0


def _read(storage: Storage, layout: Layout, entries: Sequence[_Entry]) -> Iterator[ArchivedPage]:
    """The pages of a part, some at a time."""
    for chunk in _chunks(entries, BATCH):
        records = storage.store.retrieve([entry.id for entry in chunk], vectors=sorted(layout.names))
        if len(records) != len(chunk):
            raise StoreError("pages were removed while they were exported", "run the export again")
        for entry, record in zip(chunk, records, strict=True):
            path = storage.images.path(entry.document_id, entry.number)
            image = path.read_bytes() if path.is_file() else b""
            yield ArchivedPage(_whole(record, layout), image)


def _whole(record: PageRecord, layout: Layout) -> PageRecord:
    """The record with a sparse vector even where it has no terms, for which engines give none."""
    none = {spec.name: SparseVector((), ()) for spec in layout.vectors if spec.kind == "sparse"}
    return replace(record, vectors={**none, **record.vectors})


def _contents(storage: Storage, fingerprint: Fingerprint, parts: Sequence[Part]) -> Contents:
    return Contents(
        fingerprint.values,
        tuple(parts),
        documents=tuple(asdict(row) for row in storage.manifest.documents()),
        files=tuple(asdict(row) for row in storage.manifest.files()),
        complete=True,
        image_base_url=base_url_of(storage.store) or "",
    )


def _state(storage: Storage, ids: Sequence[str]) -> str:
    """`state_of` pages as the index has them."""
    records = storage.store.retrieve(ids, payload=["metadata"])
    return state_of(page_state(record, _image_size(storage.images, record)) for record in records)


def _write(storage: Storage, pages: Iterable[ArchivedPage], base_url: str) -> int:
    """Write the pages of a part; how many there were."""
    written = 0
    for chunk in _chunks(pages, BATCH):
        for record, image in chunk:
            metadata = record.payload["metadata"]
            if image:
                storage.images.write(metadata["document_id"], int(metadata["page"]) + 1, image)
        storage.store.upsert([_named(page.record, storage.manifest, base_url) for page in chunk])
        written += len(chunk)
    storage.store.flush()
    return written


def _named(record: PageRecord, manifest: Manifest, base_url: str) -> PageRecord:
    """The record with the files that hold it here, where the index knows some, and its image is."""
    metadata = record.payload["metadata"]
    own = {"image_url": image_address(base_url, metadata["document_id"], metadata["page"] + 1)}
    sources = manifest.sources(metadata["document_id"])
    names = source_metadata(sources) if sources else {}
    payload = {**record.payload, **(own if base_url else {}), "metadata": {**metadata, **names}}
    return replace(record, payload=payload)


def _finish(storage: Storage, documents: Sequence[DocumentRow], files: Sequence[FileRow]) -> None:
    """Every point is written: note which files stand for them, and let the points follow."""
    files_of: dict[str, list[FileRow]] = {}
    for row in files:
        files_of.setdefault(row.document_id, []).append(row)
    for document in documents:
        rows, here = files_of.get(document.id, []), storage.manifest.document(document.id)
        known = set(rows) <= set(storage.manifest.files(document.id))
        if document.state != "writing" and not (known and here == replace(document, state="done")):
            storage.manifest.finish(document.id, storage.count(document.id), document.lost, rows)
    storage.settle()


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
