"""Ingest jobs: one thread works through the uploads, one after another, while searches go on."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from docrag.common.timing import listening
from docrag.errors import (
    DocragError,
    DocumentError,
    IndexInUse,
    IndexReplaced,
    NotFound,
    ServerUnreachable,
)
from docrag.index.index import Index
from docrag.ingest.removal import Removal
from docrag.ingest.report import FileReport, IngestReport
from docrag.serve.document_list import DocumentList
from docrag.serve.errors import INTERNAL_ERROR, INTERNAL_ERROR_HINT, RequestRefused, for_clients
from docrag.serve.ingest_attempts import IngestAttempts
from docrag.serve.ingest_job import ENDED, IngestJob, JobFiles
from docrag.serve.metrics import Metrics
from docrag.serve.peers import Peers
from docrag.serve.searches import require_answer
from docrag.serve.settings import ServeSettings
from docrag.serve.tracing import PAGES, ingest_span
from docrag.serve.upload_checks import check_documents
from docrag.serve.uploads import Uploads

logger = logging.getLogger(__name__)

MAX_ENDED_JOBS = 200
"""Number of ended jobs that clients can still ask about."""
REMOVAL_TIMEOUT = 5.0
"""Seconds that a removal waits for an ingest to end, and again for one by another process."""
FIRST_WAIT = 2.0
"""Seconds after which a Qdrant server that did not answer is asked again; the waits become longer."""
LONGEST_WAIT = 30.0
"""The longest wait in seconds between two such questions."""
ANSWER_SECONDS = 2.0
"""Seconds that the server has to answer one."""
MAX_FRUITLESS = 3
"""Attempts in a row that store no document, although the server answers before each of them, until a job
fails."""
_RETRY_LATER = {"Retry-After": "30"}


class IngestStopped(Exception):
    """The server stops: what was encoded is stored, and the next start continues with the rest."""


class Jobs:
    """The jobs of an application; their thread starts with the first one.

    Other servers of the same index have theirs: each of them can tell the state of all jobs, and the jobs of
    one wait for those of another, because one process at a time changes an index.

    Args:
        index: The index that documents are added to.
        documents: Invalidated when documents change.
        settings: The limits.
        metrics: Where ingested files are counted.
    """

    def __init__(
        self, index: Index, documents: DocumentList, settings: ServeSettings, metrics: Metrics
    ) -> None:
        self._peers = Peers(settings.uploads.with_name(".serve"))
        self._files = JobFiles(self._peers)
        self.uploads = Uploads(settings.uploads, self._peers)
        self._index = index
        self._documents = documents
        self._settings = settings
        self._metrics = metrics
        self._jobs: OrderedDict[str, IngestJob] = OrderedDict()
        self._queue: queue.SimpleQueue[IngestJob | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.stopping = threading.Event()

    def resume(self) -> None:
        """Continue with what servers had accepted that have ended since.

        Raises:
            StoreError: The folder of the uploads cannot be written.
        """
        with self._peers.alone():
            self._peers.forget_dead()
            self._files.forget_dead()
        paths = self.uploads.recover()
        if paths:
            logger.info("resuming the ingest of %d uploaded documents", len(paths))
            self.submit(IngestJob(paths))

    def require_room(self) -> None:
        """Refuse an upload before any of its files is kept.

        Raises:
            RequestRefused: Too many uploads wait in this server already, or it is stopping.
        """
        if self.stopping.is_set():
            raise RequestRefused(503, "the server is stopping", "try again when it is back")
        waiting = sum(job.state == "waiting" for job in list(self._jobs.values()))
        if waiting >= self._settings.max_waiting_jobs:
            raise RequestRefused(429, "too many uploads are waiting", "try again later", _RETRY_LATER)

    def submit(self, job: IngestJob) -> None:
        """Queue a job.

        Raises:
            StoreError: The folder of the jobs cannot be written.
        """
        logger.info(
            "job %s queued (files accepted: %d, refused: %d)", job.id, len(job.paths), len(job.refused)
        )
        for report in job.refused:
            job.record(report)
        self._files.create(job)
        with self._lock:
            self._jobs[job.id] = job
            ended = [old.id for old in self._jobs.values() if old.state in ENDED]
            for job_id in ended[:-MAX_ENDED_JOBS]:
                del self._jobs[job_id]
                self._files.remove(job_id)
            self._queue.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="docrag-ingest", daemon=True)
                self._thread.start()

    def get(self, job_id: str) -> IngestJob:
        """A job by its id: one of this server, or the present state of one of another server.

        Raises:
            NotFound: There is no such job.
        """
        job = self._jobs.get(job_id) or self._files.read(job_id)
        if job is None:
            raise NotFound("there is no such job", "jobs are forgotten when the server stops")
        return job

    def stop(self) -> None:
        """Let the running job end after its current batch; waiting jobs wait for the next start."""
        self.stopping.set()
        self._queue.put(None)

    def join(self) -> None:
        """Stop, wait for the thread, and forget the jobs."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
        for job_id in self._jobs:
            self._files.remove(job_id)
        self._peers.leave()

    def remove_document(self, document_id: str) -> Removal:
        """Remove a document from the index, and its file if it was uploaded; other files are left alone.

        Returns:
            The number of pages that were removed, and who holds those that were not.

        Raises:
            NotFound: The document is not in the index.
            RequestRefused: Documents are being ingested, here or by another process.
        """
        with self._exclusive():
            documents = self._index.documents()
            document = next((document for document in documents if document.id == document_id), None)
            if document is None:
                raise NotFound("no such document in the index", "see /v1/documents")
            removal = self._remove(document_id)
            for file in document.files:
                if self.uploads.contains(file):
                    self.uploads.finish(Path(file), keep=False)
            logger.info("removed document %s: %d pages", document_id, removal.pages)
            return removal

    def _remove(self, document_id: str) -> Removal:
        end = time.monotonic() + REMOVAL_TIMEOUT
        try:
            return self._index.remove_file(document_id, should_stop=lambda: time.monotonic() > end)
        except IndexInUse as error:
            logger.info("document %s is not removed: %s", document_id, error)
            raise _being_ingested() from None
        finally:
            self._documents.invalidate()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        if not self._write_lock.acquire(timeout=REMOVAL_TIMEOUT):
            raise _being_ingested()
        try:
            yield
        finally:
            self._write_lock.release()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if self.stopping.is_set():
                job.end("stopped")
                continue
            with self._write_lock:
                self._run(job)

    def _run(self, job: IngestJob) -> None:
        started = time.perf_counter()
        logger.info("job %s started", job.id)
        try:
            with ingest_span(self._settings, len(job.paths)) as span, listening(self._metrics.observe_stage):
                summary = self._ingest(job)
                span.set_attribute(PAGES, summary["pages"])
            job.end("done", summary=summary)
            logger.info("job %s done: %s", job.id, summary)
        except IngestStopped:
            job.end("stopped")
            logger.info("job %s stopped; the next start continues with it", job.id)
        except DocragError as error:
            logger.error("job %s failed: %s", job.id, error)
            job.end("failed", error=for_clients(error)._asdict())
        except Exception:
            logger.exception("job %s failed", job.id)
            job.end("failed", error={"message": INTERNAL_ERROR, "hint": INTERNAL_ERROR_HINT})
        finally:
            self._metrics.ingest_seconds.observe(time.perf_counter() - started)

    def _ingest(self, job: IngestJob) -> dict[str, Any]:
        """Read, embed and store those files of a job that can be read.

        While the Qdrant server does not answer, the job waits for it. If a migration replaces the index, what
        remains goes to the new one.

        Raises:
            IngestStopped: The server stops.
            ServerUnreachable: The Qdrant server answers, and fails again and again to store a document.
            IndexReplaced: The index was replaced again and again before a document was stored.
        """
        job.start()
        attempts = IngestAttempts(job, self._finish_file, self._for_clients)
        for path, error in check_documents(job.paths, self._settings.max_pages):
            if self.stopping.is_set():
                raise IngestStopped
            if error is None:
                attempts.readable.append(path)
            else:
                attempts.refused.append(_failed(path, error))
        while True:
            try:
                report = self._attempt(attempts)
            except ServerUnreachable as error:
                if attempts.fruitless >= MAX_FRUITLESS:
                    raise
                logger.warning("job %s waits for the Qdrant server: %s", job.id, error)
                self._wait_for_server(job)
                attempts.begin_next()
            except IndexReplaced as replaced:
                if attempts.fruitless >= MAX_FRUITLESS:
                    raise
                logger.info("job %s goes on with the new index: %s", job.id, replaced.message)
                attempts.begin_next()
            else:
                return attempts.summary(report)

    def _attempt(self, attempts: IngestAttempts) -> IngestReport:
        """Refuse the files that cannot be read, and ingest the others; those that are done are left alone.

        Raises:
            IngestStopped: The server stops.
            ServerUnreachable: The Qdrant server does not answer, or fails.
            IndexReplaced: A migration has replaced the index.
        """
        attempts.refuse_unreadable()
        try:
            report = self._index.ingest(
                attempts.remaining(), listener=attempts.record, should_stop=self.stopping.is_set
            )
        finally:  # an ingest that fails or stops may have stored some documents
            self._documents.invalidate()
        if report.stopped:
            raise IngestStopped
        return report

    def _wait_for_server(self, job: IngestJob) -> None:
        """Return once the Qdrant server answers again; documents can be removed meanwhile.

        Raises:
            IngestStopped: The server stops.
        """
        job.wait_for_server()
        self._write_lock.release()
        try:
            wait = FIRST_WAIT
            while not self._answers(wait):
                wait = min(2 * wait, LONGEST_WAIT)
        finally:
            self._write_lock.acquire()

    def _answers(self, wait: float) -> bool:
        """Whether the Qdrant server answers after some seconds.

        Raises:
            IngestStopped: The server stops.
        """
        if self.stopping.wait(wait):
            raise IngestStopped
        try:
            require_answer(self._index, ANSWER_SECONDS)
        except ServerUnreachable as error:
            logger.debug("the Qdrant server still does not answer: %s", error)
            return False
        return True

    def _finish_file(self, report: FileReport) -> None:
        # A document that is in the index may be uploaded again and fail this time: then its file is kept.
        # This may fail while the server is away, and the file is then finished once more: so it comes first.
        keep = report.status != "failed" or self._is_indexed(report.file)
        if report.error:
            logger.warning("upload failed: %s", report.error)
        self._metrics.ingest_documents.labels(report.status).inc()
        self._metrics.ingest_pages.labels(report.status).inc(report.pages)
        self.uploads.finish(Path(report.file), keep=keep)
        self._documents.invalidate()

    def _is_indexed(self, file: str) -> bool:
        return any(file in document.files for document in self._documents.all())

    def _for_clients(self, report: FileReport) -> FileReport:
        """A report without the server's paths, and with hints that make sense away from its command line."""
        error = report.error and report.error.replace(f"{self.uploads.folder}{os.sep}", "")
        hint = report.hint
        if "--" in hint:  # names a flag
            hint = f"run docrag ingest on the server's machine: {hint}"
        return replace(report, error=error, hint=hint)


def _failed(path: Path, error: DocumentError) -> FileReport:
    return FileReport(str(path), "failed", 0, error.message, error.hint)


def _being_ingested() -> RequestRefused:
    hint = "wait until the ingest has ended"
    return RequestRefused(409, "documents are being ingested", hint, _RETRY_LATER)
