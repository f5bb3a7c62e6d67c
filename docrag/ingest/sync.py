"""Make an index tell what its files tell: the flow behind `Index.ingest`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from docrag.errors import DocumentError
from docrag.ingest.image_urls import BASE_URL, address_images, base_url_of
from docrag.ingest.manifest import FileRow
from docrag.ingest.pipeline import Pipeline
from docrag.ingest.plan import IngestPlan, make_plan
from docrag.ingest.report import FileReport, FileStatus, IngestReport, Progress
from docrag.ingest.storage import Storage
from docrag.ingest.writer import Writer
from docrag.read.files import find_files, sha256
from docrag.read.jobs import ReadJob, ReadOptions
from docrag.read.pool import ReaderPool

Listener = Callable[[Progress | FileReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """SyncOptions files are read into an index."""

    make_pipeline: Callable[[str], Pipeline]
    """Called only when there is something to encode, since models take seconds to load; with the address
    where page images are served."""
    options: ReadOptions
    image_base_url: str | None
    """That address; None leaves it as it is."""
    workers: int | None
    """Reading processes; None chooses by the number of cores."""
    listener: Listener
    """Hears of every file, and of progress in between."""
    prune: bool = False
    """Whether to remove files that are gone."""
    again: bool = False
    """Whether to read files that did not change, and pages that an interrupted ingest wrote."""
    should_stop: Callable[[], bool] | None = None
    """Once it says yes, what is encoded is stored, and the rest is left to the next run."""


def sync(storage: Storage, paths: Sequence[Path], how: SyncOptions) -> IngestReport:
    """Bring the index up to date with some files and folders.

    Args:
        storage: The index.
        paths: Files and folders; only files of theirs are pruned.
        how: It is done.

    Raises:
        NotFound: A path does not exist; nothing is changed then.
        IndexInUse: Another process is changing the index.
        StoreError: The index cannot be written; what was reported before is safe.
    """
    started = time.perf_counter()
    unreadable: dict[Path, DocumentError] = {}
    files = find_files(paths, unreadable.__setitem__)
    with storage.alone(how.should_stop) as mine:
        if not mine:
            return IngestReport(seconds=time.perf_counter() - started, stopped=True)
        storage.reconcile()
        plan = make_plan(paths, files, storage.manifest, sha256, again=how.again, unreadable=unreadable)
        report = apply_plan(storage, plan, how)
    report.seconds = time.perf_counter() - started
    return report


def apply_plan(storage: Storage, plan: IngestPlan, how: SyncOptions) -> IngestReport:
    """Do what a plan says.

    Args:
        storage: An index that nobody else changes meanwhile.
        plan: Made by its manifest.
        how: It is done.

    Raises:
        StoreError: The index cannot be written; what was reported before is safe.
    """
    report = IngestReport()

    def tell(event: Progress | FileReport) -> None:
        if isinstance(event, FileReport):
            report.files.append(event)
        how.listener(event)

    _forget_abandoned(storage, plan)
    storage.settle()
    if how.image_base_url:
        report.addressed = address_images(storage.store, how.image_base_url)
    for event in _apply_without_reading(storage, plan, how.prune):
        tell(event)
    if plan.contents:
        jobs = [_job(storage, document_id, rows, how.again) for document_id, rows in plan.contents.items()]
        with ReaderPool(how.options, how.workers) as pool, Writer(storage) as writer:
            pipeline = how.make_pipeline(how.image_base_url or base_url_of(storage.store) or BASE_URL)
            for told in pipeline.run(pool.read(jobs), plan.contents, writer, report, how.should_stop):
                tell(told)
        if not report.stopped:
            storage.store.optimize()
    return report


def _forget_abandoned(storage: Storage, plan: IngestPlan) -> None:
    """Remove what a killed run left of documents that this run does not read."""
    for row in storage.manifest.documents("writing"):
        if row.id not in plan.contents:
            storage.drop(row.id)


def _apply_without_reading(storage: Storage, plan: IngestPlan, prune: bool) -> Iterable[FileReport]:
    """Everything that needs no reader."""
    for path, error in plan.failed:
        yield FileReport(path, "failed", 0, error.message, error.hint)
    for row in plan.touched:
        storage.manifest.touch(row)
    for row in (*plan.unchanged, *plan.touched):
        yield FileReport(row.source, "unchanged", _pages(storage, row))
    for row in plan.known:
        status: FileStatus = "updated" if storage.manifest.file(row.path) else "added"
        storage.manifest.assign([row])
        yield FileReport(row.source, status, _pages(storage, row))
    if prune:
        reports = [FileReport(row.source, "removed", _pages(storage, row)) for row in plan.gone]
        storage.manifest.forget([row.path for row in plan.gone])
        yield from reports
    storage.settle()


def _pages(storage: Storage, row: FileRow) -> int:
    document = storage.manifest.document(row.document_id)
    return document.pages if document else 0


def _job(storage: Storage, document_id: str, rows: Sequence[FileRow], again: bool) -> ReadJob:
    sources = tuple(row.source for row in rows)
    written = frozenset[int]() if again else storage.written(document_id, sources[0])
    return ReadJob(Path(rows[0].path), document_id, sources, written)
