"""Bring an index up to date with files: the flow behind `Index.ingest`.

A plan says which files are new, changed, moved, unchanged or gone. Then it is applied.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from docrag.errors import DocumentError, UnreadableDocument
from docrag.ingest.adopt import adopt, unlisted_documents
from docrag.ingest.manifest import FileRow, Manifest
from docrag.ingest.pipeline import Pipeline
from docrag.ingest.report import (
    FileReport,
    FileStatus,
    IngestEvent,
    IngestReport,
    Progress,
    WaitingForWriter,
)
from docrag.ingest.storage import Storage
from docrag.ingest.writer import Writer
from docrag.read.files import find_files, sha256
from docrag.read.jobs import ReadJob, ReadOptions
from docrag.read.pool import ReaderPool
from docrag.store.page_address import PageAddresses

logger = logging.getLogger(__name__)

Listener = Callable[[IngestEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """How files are read into an index."""

    make_pipeline: Callable[[PageAddresses], Pipeline]
    """Makes the pipeline, given where page images are served. It is only called when there is something to
    encode, since models take seconds to load."""
    reading: ReadOptions
    image_base_url: str | None
    """The base URL at which page images are served; None leaves it as it is."""
    workers: int | None
    """Number of reader processes; None chooses by the number of cores."""
    listener: Listener
    """Called for every file, with progress in between, and if another writer has to end first."""
    prune: bool = False
    """Whether to remove files that are gone."""
    again: bool = False
    """Whether to read unchanged files, and pages that an interrupted ingest wrote, as well."""
    should_stop: Callable[[], bool] | None = None
    """Once it returns true, what is encoded is stored and the rest is left to the next run."""


@dataclass(slots=True)
class IngestPlan:
    """The files of an ingest, each in one of these lists."""

    contents: dict[str, list[FileRow]] = field(default_factory=dict)
    """Contents to read, by document id, with the files that hold them."""
    known: list[FileRow] = field(default_factory=list)
    """Files whose content is indexed already, from another path."""
    touched: list[FileRow] = field(default_factory=list)
    """Files with a new time or size and the same content."""
    unchanged: list[FileRow] = field(default_factory=list)
    gone: list[FileRow] = field(default_factory=list)
    """Files that were ingested from the folders of this ingest and no longer exist."""
    failed: list[tuple[str, DocumentError]] = field(default_factory=list)


def sync(storage: Storage, paths: Sequence[Path], options: SyncOptions) -> IngestReport:
    """Bring an index up to date with files and folders.

    Args:
        storage: The index.
        paths: Files and folders. Only files of these folders are pruned.
        options: How this is done.

    Raises:
        NotFound: A path does not exist. Nothing is changed in that case.
        IndexInUse: This thread is changing the index already, or a migration is replacing it.
        IndexReplaced: A migration has replaced the index since it was opened.
        StoreError: The index cannot be written. Everything reported before is safe.
    """
    started = time.perf_counter()
    unreadable: dict[Path, DocumentError] = {}
    files = find_files(paths, unreadable.__setitem__)
    waits: list[WaitingForWriter] = []

    def note_wait(event: WaitingForWriter) -> None:
        waits.append(event)
        options.listener(event)

    with storage.exclusive(options.should_stop, note_wait) as acquired:
        if not acquired:
            return IngestReport(seconds=time.perf_counter() - started, stopped=True)
        if waits:  # the files may have changed meanwhile, and the wait is no part of this ingest
            started = time.perf_counter()
            unreadable.clear()
            files = find_files(paths, unreadable.__setitem__)
        storage.store.add_missing_indexes()
        storage.reconcile()
        plan = make_plan(paths, files, storage.manifest, sha256, again=options.again, unreadable=unreadable)
        report = apply_plan(storage, plan, options)
        if not report.stopped:
            _settle_unlisted(storage, paths, options, report)
    report.seconds = time.perf_counter() - started
    return report


def make_plan(
    paths: Sequence[Path],
    files: Sequence[Path],
    manifest: Manifest,
    digest: Callable[[Path], str],
    *,
    again: bool = False,
    unreadable: Mapping[Path, DocumentError] | None = None,
) -> IngestPlan:
    """Compare files with the manifest. Only files with a new size or time are read and hashed.

    Args:
        paths: What the user named. Files that are gone are looked for in the folders among them.
        files: The files found there.
        manifest: What was ingested before.
        digest: Gives the sha256 of a file, hexadecimal.
        again: Whether to read unchanged files as well.
        unreadable: Folders that could not be listed. What was ingested from them does not count as gone.
    """
    unreadable = unreadable or {}
    plan = IngestPlan(failed=[(_printable(path), error) for path, error in unreadable.items()])
    found: set[str] = set()
    for path in files:
        absolute = os.path.abspath(path)  # noqa: PTH100 (Path.resolve follows links, which are files of their own)
        if absolute not in found:
            found.add(absolute)
            _add(plan, path, absolute, manifest, digest, again=again)
    for rows in plan.contents.values():
        # The first one names the document, whatever the order of the arguments.
        rows.sort(key=lambda row: row.path)
    listed = _prefixes(path for path in paths if path not in unreadable and path.is_dir())
    hidden = _prefixes(unreadable)
    plan.gone = [
        row
        for row in manifest.files()
        if row.path.startswith(listed) and row.path not in found and not f"{row.path}/".startswith(hidden)
    ]
    return plan


def apply_plan(storage: Storage, plan: IngestPlan, options: SyncOptions) -> IngestReport:
    """Carry out a plan.

    Args:
        storage: The index, which nobody else changes meanwhile.
        plan: Made with its manifest.
        options: How this is done.

    Raises:
        StoreError: The index cannot be written. Everything reported before is safe.
    """
    logger.info(
        "ingest: %d documents to read, %d files unchanged, %d gone, %d failed",
        len(plan.contents),
        len(plan.unchanged) + len(plan.touched),
        len(plan.gone),
        len(plan.failed),
    )
    report = IngestReport()

    def tell(event: Progress | FileReport) -> None:
        if isinstance(event, FileReport):
            report.files.append(event)
        options.listener(event)

    _drop_unfinished(storage, plan)
    storage.settle()
    if options.image_base_url:
        report.addressed = storage.update_image_urls(options.image_base_url)
    if not options.again:
        for event in _adopt_stored(storage, plan):
            tell(event)
    for event in _apply_without_reading(storage, plan, prune=options.prune):
        tell(event)
    if plan.contents:
        with closing(_read_contents(storage, plan, options, report)) as events:
            for progress in events:
                tell(progress)
        if not report.stopped:
            storage.store.optimize()
    return report


def _drop_unfinished(storage: Storage, plan: IngestPlan) -> None:
    """Remove what a killed run left of documents that this run does not read."""
    for row in storage.manifest.documents("writing"):
        if row.id not in plan.contents:
            storage.drop(row.id)


def _settle_unlisted(
    storage: Storage, paths: Sequence[Path], options: SyncOptions, report: IngestReport
) -> None:
    """Report the documents that no file here belongs to, or remove those whose files were to be pruned."""
    folders = _prefixes(path for path in paths if path.is_dir())
    for document_id, sources in unlisted_documents(storage).items():
        if not options.prune or not all(_is_gone(source, folders) for source in sources):
            report.unlisted.append(sources[0])
            continue
        removed = FileReport(sources[0], "removed", storage.count(document_id))
        storage.drop(document_id)
        report.files.append(removed)
        options.listener(removed)
    report.unlisted.sort()


def _is_gone(source: str, folders: tuple[str, ...]) -> bool:
    """Whether a path, as it was ingested, lies in one of some folders and does not exist any more."""
    absolute = os.path.abspath(source)  # noqa: PTH100 (a link counts as a file of its own)
    return absolute.startswith(folders) and not os.path.lexists(absolute)


def _adopt_stored(storage: Storage, plan: IngestPlan) -> Iterator[FileReport]:
    """Take contents out of a plan of which every page is stored already."""
    for document_id, pages in adopt(storage, plan.contents).items():
        files = plan.contents.pop(document_id)
        storage.manifest.adopt(document_id, pages, files)
        for row in files:
            yield FileReport(row.source, "adopted", pages)


def _apply_without_reading(storage: Storage, plan: IngestPlan, *, prune: bool) -> Iterator[FileReport]:
    """Do everything for which no file needs to be read."""
    for path, error in plan.failed:
        yield FileReport(path, "failed", 0, error.message, error.hint)
    for row in plan.touched:
        storage.manifest.touch(row)
    for row in (*plan.unchanged, *plan.touched):
        yield FileReport(row.source, "unchanged", _page_count(storage, row))
    for row in plan.known:
        status: FileStatus = "updated" if storage.manifest.file(row.path) else "added"
        storage.manifest.assign([row])
        yield FileReport(row.source, status, _page_count(storage, row))
    if prune:
        reports = [FileReport(row.source, "removed", _page_count(storage, row)) for row in plan.gone]
        storage.forget(plan.gone)
        yield from reports
    storage.settle()


def _read_contents(
    storage: Storage, plan: IngestPlan, options: SyncOptions, report: IngestReport
) -> Generator[Progress | FileReport, None, None]:
    """Read, encode and write the contents of a plan."""
    jobs = [
        _read_job(storage, document_id, rows, again=options.again)
        for document_id, rows in plan.contents.items()
    ]
    addresses = storage.addresses_for(options.image_base_url)
    with ReaderPool(options.reading, options.workers) as pool, Writer(storage) as writer:
        pipeline = options.make_pipeline(addresses)
        yield from pipeline.run(pool.read(jobs), plan.contents, writer, report, options.should_stop)


def _page_count(storage: Storage, row: FileRow) -> int:
    document = storage.manifest.document(row.document_id)
    return document.pages if document else 0


def _read_job(storage: Storage, document_id: str, rows: Sequence[FileRow], *, again: bool) -> ReadJob:
    sources = tuple(row.source for row in rows)
    written = frozenset[int]() if again else storage.written_pages(document_id, sources[0])
    return ReadJob(Path(rows[0].path), document_id, sources, written)


def _prefixes(folders: Iterable[Path]) -> tuple[str, ...]:
    """What the absolute paths of all files below some folders start with."""
    return tuple(os.path.join(os.path.abspath(folder), "") for folder in folders)  # noqa: PTH100, PTH118


def _printable(path: Path) -> str:
    return os.fsencode(path).decode(errors="replace")


def _add(
    plan: IngestPlan,
    path: Path,
    absolute: str,
    manifest: Manifest,
    digest: Callable[[Path], str],
    *,
    again: bool,
) -> None:
    """Put a file into one of the lists of a plan."""
    if _printable(path) != str(path):  # neither SQLite nor Qdrant can store bytes that are not UTF-8
        error = UnreadableDocument(
            f"{_printable(path)}: the name is not UTF-8", "rename the file or its folder"
        )
        plan.failed.append((_printable(path), error))
        return
    before = manifest.file(absolute)
    try:
        stat = path.stat()
        same = before is not None and (before.size, before.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
        if before is not None and same and not again and _is_stored(manifest, before.document_id):
            plan.unchanged.append(before)
            return
        document_id = digest(path)
    except OSError as error:
        plan.failed.append(
            (str(path), UnreadableDocument(f"{path}: {error.strerror}", "check the file's permissions"))
        )
        return
    now = FileRow(absolute, str(path), stat.st_size, stat.st_mtime_ns, document_id)
    if again or not _is_stored(manifest, document_id):
        plan.contents.setdefault(document_id, []).append(now)
    elif before is not None and before.document_id == document_id:
        plan.touched.append(now)
    else:
        plan.known.append(now)


def _is_stored(manifest: Manifest, document_id: str) -> bool:
    """Whether every page of a document that could be read is in the store."""
    document = manifest.document(document_id)
    return document is not None and document.state in ("done", "relabel")
