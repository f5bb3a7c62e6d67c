"""Read, caption, encode and write at once: processes read, threads caption and write, this one encodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from docrag.caption import Captioner, title_of
from docrag.common.timing import report_time
from docrag.encode.encoders import Encoders, PageVectors
from docrag.errors import DocumentError, PageFailed
from docrag.ingest.batch_size import AdaptiveBatchSize
from docrag.ingest.manifest import FileRow
from docrag.ingest.read_ahead import Prefetch
from docrag.ingest.report import FileReport, IngestReport, Progress
from docrag.ingest.writer import Finished, WriteBatch, Writer
from docrag.read.jobs import Closed, DocumentRefused, Event, Opened, PageLost, PageRead, TextLost
from docrag.store.payload import image_address, page_payload
from docrag.types import Document, Page, PageRecord

READ_AHEAD = 64
"""Events that may wait for the encoder, about 20 MB of page images."""

Lost = list[tuple[int, DocumentError]]
"""Pages of a document that were lost in whole or in part, with the reason."""
Result = TypeVar("Result")


@dataclass(slots=True)
class _Work:
    """A batch on its way to the encoders."""

    batch: WriteBatch = field(default_factory=WriteBatch)
    captions: list[str] = field(default_factory=list)
    rendered: list[float] = field(default_factory=list)
    """Seconds that each page's picture took to be drawn, in another process."""
    closed: list[str] = field(default_factory=list)
    """Ids of documents of which all pages are in this batch or an earlier one."""
    refused: list[FileReport] = field(default_factory=list)


class Pipeline:
    """Turns what the readers give into records, batch by batch.

    Args:
        encoders: Of the index.
        captioner: Gives each page its caption.
        image_base_url: Where page images are served; without a slash at the end.
        batch_size: Says how many pages go through the encoders together.
    """

    def __init__(
        self, encoders: Encoders, captioner: Captioner, image_base_url: str, batch_size: AdaptiveBatchSize
    ) -> None:
        self._encoders = encoders
        self._captioner = captioner
        self._image_base_url = image_base_url
        self._batch_size = batch_size
        self._documents: dict[str, Document] = {}
        self._lost: dict[str, Lost] = {}
        self._notes: dict[str, list[tuple[int, str]]] = {}
        self._known = 0

    def run(
        self,
        events: Iterable[Event],
        contents: Mapping[str, Sequence[FileRow]],
        writer: Writer,
        report: IngestReport,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[Progress | FileReport]:
        """Encode and write all pages that come.

        Args:
            events: From the readers; iterated in a thread.
            contents: The files of each document id.
            writer: Writes in its own thread.
            report: Pages and waiting time are added to it, and whether it stopped early.
            should_stop: Once it says yes, nothing more is encoded; what was is written.

        Yields:
            Progress after each batch, and a report for each file once its pages are safely stored.
        """
        with (
            Prefetch(events, READ_AHEAD) as ahead,
            Prefetch(self._captioned(ahead, contents), 1, should_stop) as works,
        ):
            for work in works:
                yield from self._store(work, contents, writer, report)
            report.waited += works.waited
            report.stopped = works.stopped
        yield from writer.finish()

    def _store(
        self,
        work: _Work,
        contents: Mapping[str, Sequence[FileRow]],
        writer: Writer,
        report: IngestReport,
    ) -> Iterator[Progress | FileReport]:
        batch = work.batch
        for seconds in work.rendered:
            report_time("render", seconds)
        batch.records = self._encode(batch.pages, work.captions)
        for document_id in work.closed:
            lost, hint = describe_lost(self._lost.pop(document_id))
            done = self._documents.pop(document_id)
            note = describe(self._notes.pop(document_id, []))
            batch.finished.append(Finished(done, contents[document_id], lost, hint, note))
        yield from work.refused
        yield from writer.put(batch)
        report.pages += len(batch.records)
        if batch.pages:
            yield Progress(report.pages, self._known, batch.pages[-1].document.sources[0])

    def _captioned(
        self, events: Iterable[Event], contents: Mapping[str, Sequence[FileRow]]
    ) -> Iterator[_Work]:
        """The batches, captioned while the one before is encoded: a vision model may take seconds."""
        for work in self._works(events, contents):
            work.captions = self._caption(work.batch.pages)
            yield work

    def _works(self, events: Iterable[Event], contents: Mapping[str, Sequence[FileRow]]) -> Iterator[_Work]:
        work = _Work()
        for event in events:
            job_id = event.job.document_id
            match event:
                case Opened(document=document):
                    self._documents[job_id] = replace(document, title=title_of(document))
                    self._lost[job_id] = []
                    self._known += document.total_pages - len(event.job.skip)
                    work.batch.begun.append(self._documents[job_id])
                case PageRead(page=page, seconds=seconds):
                    work.rendered.append(seconds)
                    work.batch.pages.append(replace(page, document=self._documents[job_id]))
                case PageLost(number=number, error=error):
                    self._known -= 1
                    self._lost[job_id].append((number, error))
                case TextLost(number=number, error=error):
                    self._lost[job_id].append((number, error))
                case Closed():
                    work.closed.append(job_id)
                case DocumentRefused(error=error):
                    work.batch.refused.append(job_id)
                    work.refused += [
                        FileReport(row.source, "failed", 0, error.message, error.hint)
                        for row in contents[job_id]
                    ]
            if len(work.batch.pages) >= self._batch_size.pages:
                yield work
                work = _Work()
        yield work

    def _caption(self, pages: Sequence[Page]) -> list[str]:
        """A caption for each page; one that is less than was asked for is told as lost in part."""
        captions = self._captioner.caption(pages) if pages else []
        for page, caption in zip(pages, captions, strict=True):
            if caption.error is not None:
                self._lost[page.document.id].append((page.number, caption.error))
        return [caption.text for caption in captions]

    def _encode(self, pages: Sequence[Page], captions: Sequence[str]) -> list[PageRecord]:
        """A record for each page that its encoders can read."""
        started = time.perf_counter()
        by_id = dict(zip([page.id for page in pages], captions, strict=True))
        encoded = self._each(
            pages, lambda some: self._encoders.encode_pages(some, [by_id[page.id] for page in some])
        )
        self._batch_size.took(len(pages), time.perf_counter() - started)
        return [
            self._record(page, caption, vectors)
            for page, caption, vectors in zip(pages, captions, encoded, strict=True)
            if vectors is not None
        ]

    def _record(self, page: Page, caption: str, vectors: PageVectors) -> PageRecord:
        image_url = image_address(self._image_base_url, page.document.id, page.number)
        payload = page_payload(page, caption, vectors.boxes, image_url)
        if vectors.note:
            self._notes.setdefault(page.document.id, []).append((page.number, vectors.note))
        return PageRecord(page.id, vectors.vectors, payload)

    def _each(
        self, pages: Sequence[Page], work: Callable[[Sequence[Page]], Sequence[Result]]
    ) -> list[Result | None]:
        """What `work` gives for each page; where it fails on one, for each by itself, None for that one."""
        if not pages:
            return []
        try:
            return list(work(pages))
        except PageFailed as error:
            if len(pages) == 1:
                self._lost[pages[0].document.id].append((pages[0].number, error))
                return [None]
        return [result for page in pages for result in self._each([page], work)]


def describe_lost(lost: Sequence[tuple[int, DocumentError]]) -> tuple[str, str]:
    """Which pages were lost and why, in one line, and the hint of the first.

    >>> describe_lost([(2, DocumentError("cycle in page tree")), (1, DocumentError("cycle in page tree"))])
    ('pages 1, 2: cycle in page tree', '')
    """
    return describe([(number, error.message) for number, error in lost]), lost[0][1].hint if lost else ""


def describe(said: Sequence[tuple[int, str]]) -> str:
    """What is said of which pages, in one line.

    >>> describe([(2, "no words"), (3, "too large"), (1, "no words")])
    'pages 1, 2: no words; page 3: too large'
    """
    by_words: dict[str, list[int]] = {}
    for number, words in sorted(said, key=lambda item: item[0]):
        by_words.setdefault(words, []).append(number)
    parts = []
    for words, numbers in by_words.items():
        named = ", ".join(str(number) for number in numbers[:10]) + (", ..." if len(numbers) > 10 else "")
        parts.append(f"page{'s' if len(numbers) > 1 else ''} {named}: {words}")
    return "; ".join(parts)
