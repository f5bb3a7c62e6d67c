"""Export an index into plain files and import it elsewhere: onto a server, into a backup. No model is needed.

Both directions continue where they were interrupted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from docrag.caption.cache import FILE, CaptionCache
from docrag.common.files import is_writable
from docrag.common.time_limit import patience
from docrag.errors import StoreError
from docrag.index.model_selection import make_read_options
from docrag.index.opening import layout_of, open_parts
from docrag.ingest.manifest import DocumentRow, FileRow, Manifest
from docrag.ingest.report import Progress
from docrag.ingest.storage import Storage
from docrag.location.resolve import locate, require_index
from docrag.operations.exported_images import ExportedImages
from docrag.search import stages
from docrag.settings import load_settings
from docrag.store.archive import Archive, ArchivedPage, Contents, Part, page_state, state_of
from docrag.store.layout import Fingerprint, Layout, require_equal, require_pages
from docrag.store.page_address import PageAddresses
from docrag.store.payload import current_form, source_metadata
from docrag.types import PageRecord, SparseVector

if TYPE_CHECKING:
    from docrag.read.jobs import ReadOptions
    from docrag.store.images import PageImages
    from docrag.types import Datatype

logger = logging.getLogger(__name__)

CAPTIONS = "captions.jsonl"
"""The file of an export that holds the captions of a vision model."""
PAGES_PER_PART = 256
"""A part holds 70 MB of vectors and 40 MB of images at 1,030 x 128 floats a page."""
BATCH = 16
"""Pages read or written at once. Engines return lists of Python floats, 32 bytes each."""

Listener = Callable[[Progress], None]
Item = TypeVar("Item")


@dataclass(slots=True)
class Transfer:
    """What an export or an import did."""

    pages: int = 0
    parts: int = 0
    written: int = 0
    """Pages that were written; the others were there already."""
    captions: int = 0
    """Captions of a vision model in the export, or those that were new to the index."""
    addressed: int = 0
    """Pages of the index whose image URL was changed."""
    left_out: tuple[str, ...] = ()
    """What was not imported, and why."""


class _PageEntry(NamedTuple):
    """A page of the index, without its vectors. Entries sort by document and page number."""

    document_id: str
    number: int
    id: str
    state: str


@patience()
def export_index(uri: str, folder: str | os.PathLike[str], listener: Listener | None = None) -> Transfer:
    """Write an index into a folder of plain files. An export that was interrupted continues.

    Captions of a vision model and the plan that `docrag tune` chose are exported as well. Page images that
    another machine has rendered are rendered here from the files; a warning counts those that cannot be.

    Args:
        uri: The index.
        folder: A folder that is empty, does not exist, or holds an earlier export of the index, which is
            brought up to date.
        listener: Called after each part.

    Raises:
        IndexNotFound: There is no index.
        IndexInUse: Another process holds the directory without sharing it (`in_process`).
        StoreError: The folder holds something else.
    """
    settings = load_settings(index=uri)
    location = locate(settings)
    location.recover()
    fingerprint = require_index(location)
    archive = Archive(Path(folder))
    with closing(open_parts(location, fingerprint, fingerprint)) as storage, _unchanged(storage):
        captions_file = location.folder / FILE
        cache = closing(CaptionCache(captions_file)) if captions_file.is_file() else nullcontext()
        with cache as captions:
            companions = {
                CAPTIONS: captions.lines() if captions else (),
                stages.FILE: _tuned_plan_bytes(location.folder),
            }
            transfer = export(
                storage,
                fingerprint,
                layout_of(fingerprint),
                archive,
                listener or _ignore,
                companions,
                # No model is opened to ask for the size that it wants.
                make_read_options(settings, 0, ()),
            )
            transfer.captions = len(captions) if captions else 0
    logger.info("exported %d pages to %s, %d of them written now", transfer.pages, folder, transfer.written)
    return transfer


@patience()
def import_index(
    folder: str | os.PathLike[str],
    uri: str,
    listener: Listener | None = None,
    *,
    datatype: Datatype | None = None,
    image_base_url: str | None = None,
) -> Transfer:
    """Bring an index up to date with an export, or create it. An import that was interrupted continues.

    The index keeps captions of a vision model that it has itself. The tuned plan of the export is taken over
    if the index has the same pages and no fitting plan of its own.

    Args:
        folder: A finished export.
        uri: The index.
        listener: Called after each part.
        datatype: How patches are stored. By default as in the existing index, else as in the exported one.
        image_base_url: The base URL at which page images are served. The default is chosen likewise.

    Raises:
        IndexNotFound: The folder holds no export.
        IndexMismatch: The index was built with other models, or holds texts instead of pages.
        IndexInUse: Another process holds the directory without sharing it (`in_process`).
        StoreError: The export is unfinished or damaged.
    """
    archive = Archive(Path(folder))
    contents = archive.contents()
    settings = load_settings(index=uri, image_base_url=image_base_url)
    location = locate(settings)
    location.recover()
    stored = location.fingerprint()
    if stored:
        require_pages(stored)
    exported = dict(contents.fingerprint)
    datatype = datatype or (stored.values["datatype"] if stored else exported.get("datatype", "float16"))
    expected = Fingerprint({**exported, "datatype": datatype})
    if stored:
        require_equal(stored, expected)
    # The fingerprint of the existing index knows where its weights are on this machine.
    with closing(open_parts(location, stored, stored or expected)) as storage, storage.exclusive():
        new_captions = _import_captions(archive, contents, location.folder)
        transfer = import_archive(storage, contents, archive, listener or _ignore, settings.image_base_url)
        transfer.captions = new_captions
        reason = _import_tuned_plan(archive, contents, location.folder, storage.store.count())
        transfer.left_out = (reason,) if reason else ()
    logger.info("imported %d pages into %s, %d of them written now", transfer.pages, uri, transfer.written)
    return transfer


def _unchanged(storage: Storage) -> AbstractContextManager[object]:
    """Keep everybody from changing an index; one that is read-only is not changed anyway."""
    return storage.exclusive() if is_writable(storage.images.root.parent) else nullcontext()


def export(
    storage: Storage,
    fingerprint: Fingerprint,
    layout: Layout,
    archive: Archive,
    listener: Listener,
    companions: Mapping[str, Iterable[bytes]] | None = None,
    reading: ReadOptions | None = None,
) -> Transfer:
    """Write an index into an archive. Parts that exist and are still correct are left alone.

    Args:
        storage: The index, which nobody else writes meanwhile.
        fingerprint: What it was built with.
        layout: Its named vectors.
        archive: An empty folder, or an export of an index with the same fingerprint.
        listener: Called after each part.
        companions: Name and content of files that accompany the pages.
        reading: How page images are rendered that are not on this machine. By default none is.

    Raises:
        IndexMismatch: The archive holds an index of other models.
        StoreError: The folder holds something else, or a page was removed meanwhile.
    """
    storage.settle()
    known = _parts_of_earlier_export(archive, fingerprint)
    images = ExportedImages(storage, reading)
    entries = _entries(storage, images)
    transfer = Transfer()
    parts: list[Part] = []
    whole = frozenset(spec.name for spec in layout.vectors if spec.datatype == "float32")
    for number, chunk in enumerate(_chunks(entries, PAGES_PER_PART)):
        ids = tuple(entry.id for entry in chunk)
        state = state_of(entry.state for entry in chunk)
        part = known[number] if number < len(known) else None
        if part is None or (part.pages, part.state) != (ids, state) or not archive.holds(number, part):
            part = archive.write_part(number, state, _read(storage, layout, chunk), whole)
            transfer.written += len(ids)
            known[number:] = [part, *known[number + 1 :]]
            archive.write_contents(Contents(fingerprint.values, tuple(known)))
        parts.append(part)
        transfer.parts = len(parts)
        transfer.pages += len(ids)
        listener(Progress(transfer.pages, len(entries), archive.part_file(number).name))
    files = [archive.write_attachment(name, chunks) for name, chunks in (companions or {}).items()]
    contents = _contents(storage, fingerprint, parts)
    archive.write_contents(replace(contents, attachments=tuple(file for file in files if file)))
    archive.trim(len(parts))
    images.warn_of_missing()
    return transfer


def import_archive(
    storage: Storage,
    contents: Contents,
    archive: Archive,
    listener: Listener,
    image_base_url: str | None = None,
) -> Transfer:
    """Bring an index up to date with an archive. Parts whose pages are all present are not read.

    An ingest finishes document by document; an import finishes all of them together: points first, then a
    flush, then the manifest. Documents that are only in the index stay.

    Args:
        storage: An index with the fingerprint of the archive.
        contents: The contents of the archive.
        archive: A finished export.
        listener: Called after each part.
        image_base_url: The base URL at which page images are served. By default that of the index, else that
            of the export.

    Raises:
        StoreError: A part is damaged; the parts before it are imported.
    """
    storage.settle()
    storage.store.add_missing_indexes()
    documents = [DocumentRow(**row) for row in contents.documents]
    for document in documents:
        if storage.manifest.document(document.id) is None:
            storage.manifest.begin(document.id, document.source)
    transfer = Transfer()
    total_pages = sum(len(part.pages) for part in contents.parts)
    if image_base_url:
        transfer.addressed = storage.update_image_urls(image_base_url)
    addresses = storage.addresses_for(image_base_url, contents.image_base_url)
    for number, part in enumerate(contents.parts):
        if _state(storage, part.pages) != part.state:
            transfer.written += _write(storage, archive.read_part(number, part), addresses)
        transfer.parts += 1
        transfer.pages += len(part.pages)
        listener(Progress(transfer.pages, total_pages, archive.part_file(number).name))
    _finish(storage, documents, [FileRow(**row) for row in contents.files])
    if transfer.written:
        storage.store.optimize()
    return transfer


def _tuned_plan_bytes(folder: Path) -> Iterable[bytes]:
    """The content of the file of the tuned plan, which is checked; nothing if there is none."""
    if stages.load_plan(folder) is None:
        return ()
    return [(folder / stages.FILE).read_bytes()]


def _import_captions(archive: Archive, contents: Contents, folder: Path) -> int:
    """Add the captions of a vision model to those of the index; returns how many were new."""
    if CAPTIONS not in {file.name for file in contents.attachments}:
        return 0
    with closing(CaptionCache(folder / FILE)) as cache:
        return cache.merge(archive.read_attachment(CAPTIONS, contents))


def _import_tuned_plan(archive: Archive, contents: Contents, folder: Path, pages: int) -> str:
    """Search the index as the exported one was tuned, if that fits.

    Args:
        archive: The export.
        contents: Its contents.
        folder: The directory of the index.
        pages: The number of pages in the index, which has those of the export.

    Returns:
        Why the plan was not taken over; empty if it was, or if there is none.
    """
    text = b"".join(archive.read_attachment(stages.FILE, contents))
    if not text:
        return ""
    exported_pages = sum(len(part.pages) for part in contents.parts)
    plan = stages.parse_plan(text, archive.folder / stages.FILE)
    own = stages.load_plan(folder)
    if pages != exported_pages:
        return (
            f"{stages.FILE}: the export has {exported_pages} pages and the index {pages}; "
            "run docrag tune on the index"
        )
    if own and own != plan and own.fits(pages):
        file = folder / stages.FILE
        return f"{stages.FILE}: the index has been tuned itself; remove {file} to use the plan of the export"
    stages.save_plan(folder, plan)
    return ""


def _parts_of_earlier_export(archive: Archive, fingerprint: Fingerprint) -> list[Part]:
    """The parts of an export that was begun in this folder; an empty folder becomes a new export."""
    contents = archive.begun()
    if contents is None:
        archive.write_contents(Contents(fingerprint.values))
        return []
    require_equal(Fingerprint(contents.fingerprint), fingerprint)
    return list(contents.parts)


def _entries(storage: Storage, images: ExportedImages) -> list[_PageEntry]:
    """All pages, ordered by document and page number; their images are rendered where they are missing."""
    entries = []
    for record in storage.store.scroll(payload=["metadata"]):
        metadata = record.payload["metadata"]
        document_id, number = metadata["document_id"], metadata["page"] + 1
        state = page_state(record, images.size(document_id, number))
        entries.append(_PageEntry(document_id, number, record.id, state))
    return sorted(entries)


def _image_size(images: PageImages, record: PageRecord) -> int:
    """Bytes of the image of a page; 0 if there is none."""
    metadata = record.payload["metadata"]
    path = images.path(metadata["document_id"], metadata["page"] + 1)
    return path.stat().st_size if path.is_file() else 0


def _read(storage: Storage, layout: Layout, entries: Sequence[_PageEntry]) -> Iterator[ArchivedPage]:
    """The pages of a part, read in batches."""
    for chunk in _chunks(entries, BATCH):
        records = storage.store.retrieve([entry.id for entry in chunk], vectors=sorted(layout.names))
        if len(records) != len(chunk):
            raise StoreError("pages were removed while they were exported", "run the export again")
        for entry, record in zip(chunk, records, strict=True):
            path = storage.images.path(entry.document_id, entry.number)
            image = path.read_bytes() if path.is_file() else b""
            yield ArchivedPage(_with_sparse_vectors(record, layout), image)


def _with_sparse_vectors(record: PageRecord, layout: Layout) -> PageRecord:
    """The record with an empty sparse vector if it has no terms; engines return none in that case."""
    empty = {spec.name: SparseVector((), ()) for spec in layout.vectors if spec.kind == "sparse"}
    return replace(record, vectors={**empty, **record.vectors})


def _contents(storage: Storage, fingerprint: Fingerprint, parts: Sequence[Part]) -> Contents:
    return Contents(
        fingerprint.values,
        tuple(parts),
        documents=tuple(asdict(row) for row in storage.manifest.documents()),
        files=tuple(asdict(row) for row in storage.manifest.files()),
        complete=True,
        image_base_url=storage.image_base_url() or "",
    )


def _state(storage: Storage, ids: Sequence[str]) -> str:
    """The state of some pages in the index, to compare with that of a part."""
    records = storage.store.retrieve(ids, payload=["metadata"])
    return state_of(page_state(record, _image_size(storage.images, record)) for record in records)


def _write(storage: Storage, pages: Iterable[ArchivedPage], addresses: PageAddresses) -> int:
    """Write the pages of a part and return their number."""
    written = 0
    for chunk in _chunks(pages, BATCH):
        for record, image in chunk:
            metadata = record.payload["metadata"]
            if image:
                storage.images.write(metadata["document_id"], int(metadata["page"]) + 1, image)
        storage.store.upsert([_localised(page.record, storage.manifest, addresses) for page in chunk])
        written += len(chunk)
    storage.store.flush()
    return written


def _localised(record: PageRecord, manifest: Manifest, addresses: PageAddresses) -> PageRecord:
    """The record with the URL of its image here, and with the files that hold it here, if any are known."""
    metadata = dict(record.payload["metadata"])
    payload = dict(record.payload)
    payload["image_url"] = addresses.of(metadata["document_id"], metadata["page"] + 1)
    sources = manifest.sources(metadata["document_id"])
    if sources:
        metadata.update(source_metadata(sources))
    return replace(record, payload=current_form({**payload, "metadata": metadata}))


def _finish(storage: Storage, documents: Sequence[DocumentRow], files: Sequence[FileRow]) -> None:
    """All points are written: record which files they belong to, and update the points accordingly."""
    files_of: dict[str, list[FileRow]] = {}
    for file in files:
        files_of.setdefault(file.document_id, []).append(file)
    for document in documents:
        rows = files_of.get(document.id, [])
        current = storage.manifest.document(document.id)
        files_known = set(rows) <= set(storage.manifest.files(document.id))
        unchanged = files_known and current == replace(document, state="done")
        if document.state != "writing" and not unchanged:
            storage.manifest.finish(document.id, storage.count(document.id), document.lost, rows)
    storage.settle()


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _ignore(event: Progress) -> None:
    """The listener of callers who do not listen."""
