"""Bring an index up to date with files: the flow behind `Index.ingest`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from docrag.errors import DocumentError
from docrag.ingest.image_urls import DEFAULT_BASE_URL, base_url_of, update_image_urls
from docrag.ingest.manifest import FileRow
from docrag.ingest.pipeline import Pipeline
from docrag.ingest.plan import IngestPlan, make_plan
from docrag.ingest.report import FileReport, FileStatus, IngestReport, Progress
from docrag.ingest.storage import Storage
from docrag.ingest.writer import Writer
from docrag.read.files import find_files, sha256
from docrag.read.jobs import ReadJob, ReadOptions
from docrag.read.pool import ReaderPool

logger = logging.getLogger(__name__)

Listener = Callable[[Progress | FileReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """How files are read into an index."""

    make_pipeline: Callable[[str], Pipeline]
    """Makes the pipeline, given the base URL of page images. It is only called when there is something to
    encode, since models take seconds to load."""
    reading: ReadOptions
    image_base_url: str | None
    """The base URL at which page images are served; None leaves it as it is."""
    workers: int | None
    """Number of reader processes; None chooses by the number of cores."""
    listener: Listener
    """Called for every file, and with progress in between."""
    prune: bool = False
    """Whether to remove files that are gone."""
    again: bool = False
    """Whether to read unchanged files, and pages that an interrupted ingest wrote, as well."""
    should_stop: Callable[[], bool] | None = None
    """Once it returns true, what is encoded is stored and the rest is left to the next run."""


def sync(storage: Storage, paths: Sequence[Path], options: SyncOptions) -> IngestReport:
    """Bring an index up to date with files and folders.

    Args:
        storage: The index.
        paths: Files and folders. Only files of these folders are pruned.
        options: How this is done.

    Raises:
        NotFound: A path does not exist. Nothing is changed in that case.
        IndexInUse: Another process is changing the index.
        StoreError: The index cannot be written. Everything reported before is safe.
    """
    started = time.perf_counter()
    unreadable: dict[Path, DocumentError] = {}
    files = find_files(paths, unreadable.__setitem__)
    with storage.exclusive(options.should_stop) as acquired:
        if not acquired:
            return IngestReport(seconds=time.perf_counter() - started, stopped=True)
        storage.reconcile()
        plan = make_plan(paths, files, storage.manifest, sha256, again=options.again, unreadable=unreadable)
        report = apply_plan(storage, plan, options)
    report.seconds = time.perf_counter() - started
    return report


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
        report.addressed = update_image_urls(storage.store, options.image_base_url)
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
        storage.manifest.forget([row.path for row in plan.gone])
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
    base_url = options.image_base_url or base_url_of(storage.store) or DEFAULT_BASE_URL
    with ReaderPool(options.reading, options.workers) as pool, Writer(storage) as writer:
        pipeline = options.make_pipeline(base_url)
        yield from pipeline.run(pool.read(jobs), plan.contents, writer, report, options.should_stop)


def _page_count(storage: Storage, row: FileRow) -> int:
    document = storage.manifest.document(row.document_id)
    return document.pages if document else 0


def _read_job(storage: Storage, document_id: str, rows: Sequence[FileRow], *, again: bool) -> ReadJob:
    sources = tuple(row.source for row in rows)
    written = frozenset[int]() if again else storage.written_pages(document_id, sources[0])
    return ReadJob(Path(rows[0].path), document_id, sources, written)
