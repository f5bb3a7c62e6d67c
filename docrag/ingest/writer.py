"""Write what was encoded, in a thread of its own, so that encoding continues meanwhile.

Everything that changes the store or the manifest during an ingest happens here, in this order: points
first, then a flush, then the manifest records that the document is done, and only then the points of what
it replaces are removed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

from docrag.common.time_limit import patience
from docrag.errors import InvalidRecord
from docrag.ingest.manifest import FileRow
from docrag.ingest.report import FileReport, FileStatus, Losses, describe_losses
from docrag.ingest.storage import Storage
from docrag.store.layout import page_name
from docrag.types import Document, Page, PageRecord

logger = logging.getLogger(__name__)

FLUSH_EVERY = 100
"""Pages between flushes. After a kill, opening the index replays what was not flushed, 16 ms a page."""
MOST_WAITING = 2
"""Batches that may wait for the disk, about 30 MB each."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A document of which every page was read or lost."""

    document: Document
    files: Sequence[FileRow]
    losses: Losses
    note: str = ""


@dataclass(slots=True)
class WriteBatch:
    """What happened since the last batch."""

    begun: list[Document] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Ids of documents that cannot be opened."""
    pages: list[Page] = field(default_factory=list)
    records: list[PageRecord] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)


class Writer:
    """Writes batches in the order in which they were put."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="docrag-writer")
        self._pending: list[Future[list[FileReport]]] = []
        self._unflushed = 0
        self._finished: list[Finished] = []
        self._written: Counter[str] = Counter()
        """How many pages of each document, by id, were written and are not finished."""
        self._lost: dict[str, Losses] = {}
        """The pages of each document, by id, that the store refused."""
        self.lost_pages = 0
        """How many pages the store refused."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=error is not None)

    def put(self, batch: WriteBatch) -> Iterator[FileReport]:
        """Hand a batch to the writing thread, and yield reports of the files that were stored meanwhile.

        Raises:
            StoreError: An earlier batch could not be written. Everything reported before is safe.
        """
        self._submit(partial(self._write, batch))
        while self._pending and (len(self._pending) > MOST_WAITING or self._pending[0].done()):
            yield from self._pending.pop(0).result()

    def finish(self) -> Iterator[FileReport]:
        """Wait until everything is written and flushed, and yield the remaining reports."""
        self._submit(self._commit)
        while self._pending:
            yield from self._pending.pop(0).result()

    def _submit(self, do: Callable[[], list[FileReport]]) -> None:
        context = copy_context()  # what limits this thread limits the writing one
        self._pending.append(self._thread.submit(lambda: context.run(_patiently, do)))

    def _write(self, batch: WriteBatch) -> list[FileReport]:
        for document in batch.begun:
            self._storage.manifest.begin(document.id, document.sources[0])
        for document_id in batch.refused:
            self._storage.abandon(document_id)
        for page in batch.pages:
            if page.image is not None:
                self._storage.images.write(page.document.id, page.number, page.image.jpeg)
        self._upsert(batch.records)
        self._finished += batch.finished
        self._unflushed += len(batch.records)
        return self._commit() if self._unflushed >= FLUSH_EVERY else []

    def _upsert(self, records: Sequence[PageRecord]) -> None:
        """Write pages; one that the store refuses is lost, and the others are written."""
        try:
            self._storage.store.upsert(records)
        except InvalidRecord as error:
            middle = len(records) // 2
            if not middle:
                self._lose(records[0], error)
                return
            self._upsert(records[:middle])
            self._upsert(records[middle:])
        else:
            self._written.update(record.payload["metadata"]["document_id"] for record in records)

    def _lose(self, record: PageRecord, error: InvalidRecord) -> None:
        logger.warning("a page is lost: %s", error.message)
        metadata = record.payload["metadata"]
        reason = error.message.removeprefix(f"{page_name(record)}: ")
        loss = (metadata["page"] + 1, InvalidRecord(reason, error.hint))
        self._lost.setdefault(metadata["document_id"], []).append(loss)
        self.lost_pages += 1

    def _commit(self) -> list[FileReport]:
        self._storage.store.flush()
        logger.debug("flushed %d pages", self._unflushed)
        self._unflushed = 0
        reports = []
        while self._finished:
            reports += self._finish(self._finished.pop(0))
        return reports

    def _finish(self, finished: Finished) -> list[FileReport]:
        document = finished.document
        lost, hint = describe_losses([*finished.losses, *self._lost.pop(document.id, [])])
        written = self._written.pop(document.id, 0)
        pages = self._storage.count(document.id)
        if not pages:  # nothing of it could be read, so what was indexed before stays
            self._storage.drop(document.id)
            return [FileReport(file.source, "failed", 0, lost, hint) for file in finished.files]
        reports = [
            FileReport(file.source, self._status(file), pages, lost or None, hint, finished.note)
            for file in finished.files
        ]
        # Pages that an earlier run wrote may name files that no longer exist.
        named = document.sources if written == pages else ()
        self._storage.manifest.finish(document.id, pages, lost, finished.files, named)
        self._storage.settle()
        logger.info("%s: %d pages stored", document.name, pages)
        return reports

    def _status(self, file: FileRow) -> FileStatus:
        return "added" if self._storage.manifest.file(file.path) is None else "updated"


def _patiently(do: Callable[[], list[FileReport]]) -> list[FileReport]:
    """Call a function that waits for a server that restarts, also where it reads."""
    with patience():
        return do()
