"""Ingest jobs: one thread works them off, one after another, while searches go on."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from docrag.common.timing import listening
from docrag.errors import DocragError, DocumentError, NotFound
from docrag.index.index import Index
from docrag.ingest.report import FileReport, Progress
from docrag.serve.document_list import Documents
from docrag.serve.errors import FAILED, RequestRefused
from docrag.serve.metrics import Metrics
from docrag.serve.settings import ServeSettings
from docrag.serve.tracing import PAGES, ingestion
from docrag.serve.upload_checks import refusals
from docrag.serve.uploads import Uploads

logger = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "failed", "stopped"]
ENDED = frozenset({"done", "failed", "stopped"})
REMEMBERED = 200
"""Jobs that can still be asked about."""
PATIENCE = 5.0
"""Seconds that a removal waits for an ingest."""


class Stopped(Exception):
    """The server ends: what was encoded is stored, and the rest waits for the next start."""


@dataclass(slots=True)
class IngestJob:
    """An upload on its way into the index."""

    paths: Sequence[Path]
    refused: Sequence[FileReport] = ()
    """Files that were not accepted, with the reason."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: State = "waiting"
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Name and content of what happened, in order: progress, file, end."""

    def tell(self, event: Progress | FileReport) -> None:
        """Note what an ingest reports."""
        if isinstance(event, FileReport):
            self.events.append(("file", event.as_json() | {"file": Path(event.file).name}))
        else:
            name = Path(event.file).name
            self.events.append(("progress", {"pages": event.pages, "known": event.known, "file": name}))

    def end(self, state: State, **more: Any) -> None:
        """Nothing more happens."""
        self.events.append(("end", {"state": state, **more}))
        self.state = state

    def as_json(self) -> dict[str, Any]:
        """Where it stands."""
        last = {name: event for name, event in self.events}
        return {
            "job": self.id,
            "state": self.state,
            "files": [event for name, event in self.events if name == "file"],
            "waiting_files": [path.name for path in self.paths] if self.state == "waiting" else [],
            "progress": last.get("progress"),
            "end": last.get("end"),
        }


class Jobs:
    """The jobs of an application; a thread starts with the first.

    Args:
        index: Documents are added to it.
        documents: Is told when they have changed.
        settings: The limits.
        metrics: Are told what became of files.
    """

    def __init__(self, index: Index, documents: Documents, settings: ServeSettings, metrics: Metrics) -> None:
        self.uploads = Uploads(settings.uploads)
        self._index = index
        self._documents = documents
        self._settings = settings
        self._metrics = metrics
        self._jobs: OrderedDict[str, IngestJob] = OrderedDict()
        self._waiting: queue.SimpleQueue[IngestJob | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self.stopping = threading.Event()

    def resume(self) -> None:
        """Go on with what an earlier run had accepted."""
        if paths := self.uploads.waiting():
            logger.info("%d uploaded documents wait to be ingested", len(paths))
            self.submit(IngestJob(paths))

    def require_room(self) -> None:
        """Refuse an upload before it is kept.

        Raises:
            RequestRefused: Too many wait already, or the server ends.
        """
        if self.stopping.is_set():
            raise RequestRefused(503, "the server ends", "try again when it is back")
        if sum(job.state == "waiting" for job in list(self._jobs.values())) >= self._settings.most_jobs:
            raise RequestRefused(429, "too many uploads wait", "try again later", {"Retry-After": "30"})

    def submit(self, job: IngestJob) -> None:
        """Let a job wait for its turn."""
        for report in job.refused:
            job.tell(report)
        with self._lock:
            self._jobs[job.id] = job
            for old in [name for name, one in self._jobs.items() if one.state in ENDED][:-REMEMBERED]:
                del self._jobs[old]
            self._waiting.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="docrag-ingest", daemon=True)
                self._thread.start()

    def get(self, name: str) -> IngestJob:
        """A job by its id.

        Raises:
            NotFound: There is none.
        """
        if job := self._jobs.get(name):
            return job
        raise NotFound("there is no such job", "jobs are forgotten when the server ends")

    def stop(self) -> None:
        """Let the job at work end with the batch that it is at; what waits, waits for the next start."""
        self.stopping.set()
        self._waiting.put(None)

    def join(self) -> None:
        """Stop, and wait for the thread."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def remove(self, document_id: str) -> int:
        """Forget a document, and remove its file where it was uploaded; files of others stay where they are.

        Returns:
            How many pages were removed.

        Raises:
            NotFound: It is not in the index.
            RequestRefused: An ingest is at work.
        """
        with self._alone():
            found = next((one for one in self._index.documents() if one.id == document_id), None)
            if found is None:
                raise NotFound("no such document in the index", "see /v1/documents")
            for file in found.files:
                if self.uploads.owns(file):  # before it is forgotten: else a crash would leave it for ever
                    self.uploads.settled(Path(file), keep=False)
            try:
                return self._index.remove(document_id)
            finally:
                self._documents.changed()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._writing.acquire(timeout=PATIENCE):
            hint = "wait until it has ended"
            raise RequestRefused(409, "documents are being ingested", hint, {"Retry-After": "30"})
        try:
            yield
        finally:
            self._writing.release()

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            if self.stopping.is_set():
                job.end("stopped")
                continue
            with self._writing:
                self._run(job)

    def _run(self, job: IngestJob) -> None:
        job.state = "running"
        started = time.perf_counter()
        try:
            with ingestion(self._settings, len(job.paths)) as span, listening(self._metrics.stage):
                summary = self._ingest(job)
                span.set_attribute(PAGES, summary["pages"])
            job.end("done", summary=summary)
        except Stopped:
            job.end("stopped")
        except DocragError as error:
            logger.error("ingest failed: %s", error)
            job.end("failed", error={"message": error.message, "hint": error.hint})
        except Exception:
            logger.exception("ingest failed")
            job.end("failed", error=dict(zip(("message", "hint"), FAILED, strict=True)))
        finally:
            self._metrics.ingest_seconds.observe(time.perf_counter() - started)

    def _ingest(self, job: IngestJob) -> dict[str, Any]:
        """Read, embed and store the files of a job that can be read.

        Raises:
            Stopped: The server ends.
        """

        def tell(event: Progress | FileReport) -> None:
            if isinstance(event, FileReport):
                self._settle(event)
                event = self._told(event)
            job.tell(event)

        job.tell(Progress(0, 0, str(job.paths[0])))  # its turn has come; readers take seconds to start
        good = []
        for path, error in refusals(job.paths, self._settings.most_pages):
            if self.stopping.is_set():
                raise Stopped
            if error is None:
                good.append(path)
            else:
                tell(_failed(path, error))
        try:
            report = self._index.ingest(good, listener=tell, should_stop=self.stopping.is_set)
        finally:  # of what fails or stops, a part may be stored
            self._documents.changed()
        if report.stopped:
            raise Stopped
        return report.summary()

    def _settle(self, report: FileReport) -> None:
        if report.error:
            logger.warning("upload %s", report.error)
        self._metrics.ingest_documents.labels(report.status).inc()
        self._metrics.ingest_pages.labels(report.status).inc(report.pages)
        # One that was sent again and failed now may be the original of what is in the index.
        keep = report.status != "failed" or any(report.file in one.files for one in self._documents.all())
        self.uploads.settled(Path(report.file), keep=keep)
        self._documents.changed()

    def _told(self, report: FileReport) -> FileReport:
        """What became of a file, as others should hear it: no paths, and flags with their command."""
        error = report.error and report.error.replace(f"{self.uploads.folder}{os.sep}", "")
        flags = "--" in report.hint
        hint = f"docrag ingest it on the machine itself: {report.hint}" if flags else report.hint
        return replace(report, error=error, hint=hint)


def _failed(path: Path, error: DocumentError) -> FileReport:
    return FileReport(str(path), "failed", 0, error.message, error.hint)
