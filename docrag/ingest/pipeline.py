"""Read, caption, encode and write at the same time.

Processes read, one thread captions, another one writes, and the calling thread encodes. `ReadAhead`
connects a producer in a thread to its consumer.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Generic, Self, TypeVar

from docrag.caption import Captioner, title_of
from docrag.common.timing import report_time
from docrag.encode.base import EncoderOptions
from docrag.encode.encoders import Encoders, PageVectors
from docrag.errors import PageFailed
from docrag.ingest.manifest import FileRow
from docrag.ingest.report import FileReport, IngestReport, Losses, Progress, describe
from docrag.ingest.storage import STOP_POLL_SECONDS
from docrag.ingest.writer import Finished, WriteBatch, Writer
from docrag.read.jobs import Closed, DocumentRefused, Event, Opened, PageLost, PageRead, TextLost
from docrag.store.page_address import PageAddresses
from docrag.store.payload import page_payload
from docrag.types import Document, Page, PageRecord

logger = logging.getLogger(__name__)

READ_AHEAD_EVENTS = 64
"""Events that may wait for the encoders, about 20 MB of page images."""
WORDS = 32
"""Pages in a batch for encoders of words: enough to sort their windows by length, few enough to keep memory
flat."""
CPU_FIRST, FIRST, MOST = 4, 32, 128
"""Pages for each device, for encoders of images: in the first batch on a CPU, in the first batch on a GPU,
and at most. A page takes 10 ms to a minute."""
QUICK_SECONDS, SLOW_SECONDS = 1.0, 10.0
"""A batch that is quicker is doubled, one that is slower is halved. Encoded pages are safe only once their
batch is written, so no batch should take long."""
STOP_WAIT_SECONDS = 1.0
"""How long `ReadAhead` waits for a producer that is no longer needed."""

Item = TypeVar("Item")


@dataclass(slots=True)
class _EncodeBatch:
    """A batch on its way to the encoders."""

    write: WriteBatch = field(default_factory=WriteBatch)
    captions: list[str] = field(default_factory=list)
    render_seconds: list[float] = field(default_factory=list)
    """How long each page took to render in its reader process."""
    closed: list[str] = field(default_factory=list)
    """Ids of documents whose pages are all in this batch or in an earlier one."""
    refused: list[FileReport] = field(default_factory=list)


class Pipeline:
    """Turns the events of the readers into records, batch by batch.

    Args:
        encoders: The encoders of the index.
        captioner: Gives each page its caption.
        addresses: Where page images are served.
        batch_size: Decides how many pages go through the encoders together.
    """

    def __init__(
        self,
        encoders: Encoders,
        captioner: Captioner,
        addresses: PageAddresses,
        batch_size: AdaptiveBatchSize,
    ) -> None:
        self._encoders = encoders
        self._captioner = captioner
        self._addresses = addresses
        self._batch_size = batch_size
        self._documents: dict[str, Document] = {}
        self._losses: dict[str, Losses] = {}
        self._notes: dict[str, list[tuple[int, str]]] = {}
        self._known_pages = 0

    def run(
        self,
        events: Iterable[Event],
        contents: Mapping[str, Sequence[FileRow]],
        writer: Writer,
        report: IngestReport,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[Progress | FileReport]:
        """Encode and write all pages.

        Args:
            events: What the readers give; iterated in a thread.
            contents: The files of each document id.
            writer: Writes in a thread of its own.
            report: The pages, the waiting time and whether the run stopped early are added to it.
            should_stop: Once it returns true, nothing more is encoded, and what is encoded is written.

        Yields:
            Progress after each batch, and a report for each file once its pages are safely stored.
        """
        with (
            ReadAhead(events, READ_AHEAD_EVENTS) as read,
            ReadAhead(self._captioned_batches(read, contents), 1, should_stop) as batches,
        ):
            for batch in batches:
                yield from self._encode_and_write(batch, contents, writer, report)
            report.waited += batches.waited
            report.stopped = batches.stopped
        yield from writer.finish()
        report.pages -= writer.lost_pages

    def _encode_and_write(
        self,
        batch: _EncodeBatch,
        contents: Mapping[str, Sequence[FileRow]],
        writer: Writer,
        report: IngestReport,
    ) -> Iterator[Progress | FileReport]:
        for seconds in batch.render_seconds:
            report_time("render", seconds)
        write = batch.write
        write.records = self._encode(write.pages, batch.captions)
        write.finished += [self._finished(document_id, contents) for document_id in batch.closed]
        yield from batch.refused
        yield from writer.put(write)
        report.pages += len(write.records)
        if write.pages:
            yield Progress(report.pages, self._known_pages, write.pages[-1].document.sources[0])

    def _finished(self, document_id: str, contents: Mapping[str, Sequence[FileRow]]) -> Finished:
        """A document of which no more pages follow."""
        document, losses = self._documents.pop(document_id), self._losses.pop(document_id)
        return Finished(document, contents[document_id], losses, describe(self._notes.pop(document_id, [])))

    def _captioned_batches(
        self, events: Iterable[Event], contents: Mapping[str, Sequence[FileRow]]
    ) -> Iterator[_EncodeBatch]:
        """The batches with captions.

        This runs while the batch before is encoded: a vision model takes seconds.
        """
        for batch in self._batches(events, contents):
            batch.captions = self._caption(batch.write.pages)
            yield batch

    def _batches(
        self, events: Iterable[Event], contents: Mapping[str, Sequence[FileRow]]
    ) -> Iterator[_EncodeBatch]:
        batch = _EncodeBatch()
        for event in events:
            self._add(batch, event, contents)
            if len(batch.write.pages) >= self._batch_size.pages:
                yield batch
                batch = _EncodeBatch()
        yield batch

    def _add(self, batch: _EncodeBatch, event: Event, contents: Mapping[str, Sequence[FileRow]]) -> None:
        """Add what an event tells to a batch."""
        document_id = event.job.document_id
        match event:
            case Opened(document=document):
                titled = replace(document, title=title_of(document))
                self._documents[document_id] = titled
                self._losses[document_id] = []
                self._known_pages += document.total_pages - len(event.job.skip)
                batch.write.begun.append(titled)
            case PageRead(page=page, seconds=seconds):
                batch.render_seconds.append(seconds)
                batch.write.pages.append(replace(page, document=self._documents[document_id]))
            case PageLost(number=number, error=error):
                self._known_pages -= 1
                self._losses[document_id].append((number, error))
            case TextLost(number=number, error=error):
                self._losses[document_id].append((number, error))
            case Closed():
                batch.closed.append(document_id)
            case DocumentRefused(error=error):
                batch.write.refused.append(document_id)
                batch.refused += [
                    FileReport(file.source, "failed", 0, error.message, error.hint)
                    for file in contents[document_id]
                ]

    def _caption(self, pages: Sequence[Page]) -> list[str]:
        """A caption for each page. A page whose caption failed counts as lost in part."""
        captions = self._captioner.caption(pages) if pages else []
        for page, caption in zip(pages, captions, strict=True):
            if caption.error is not None:
                self._losses[page.document.id].append((page.number, caption.error))
        return [caption.text for caption in captions]

    def _encode(self, pages: Sequence[Page], captions: Sequence[str]) -> list[PageRecord]:
        """A record for each page that the encoders can read."""
        started = time.perf_counter()
        caption_of = {page.id: caption for page, caption in zip(pages, captions, strict=True)}
        encoded = self._encode_or_lose(pages, caption_of)
        self._batch_size.took(len(pages), time.perf_counter() - started)
        return [
            self._record(page, caption_of[page.id], encoded[page.id]) for page in pages if page.id in encoded
        ]

    def _encode_or_lose(self, pages: Sequence[Page], caption_of: Mapping[str, str]) -> dict[str, PageVectors]:
        """The vectors of each page, by page id.

        If an encoder fails on a page, the pages are encoded one by one, and those that fail again are lost.
        """
        if not pages:
            return {}
        try:
            vectors = self._encoders.encode_pages(pages, [caption_of[page.id] for page in pages])
        except PageFailed as error:
            if len(pages) > 1:
                logger.info("an encoder failed on one of %d pages: encoding them one by one", len(pages))
                return {
                    page_id: vectors
                    for page in pages
                    for page_id, vectors in self._encode_or_lose([page], caption_of).items()
                }
            [page] = pages
            logger.warning("page %d of %s is lost: %s", page.number, page.document.name, error.message)
            self._losses[page.document.id].append((page.number, error))
            return {}
        return {page.id: one for page, one in zip(pages, vectors, strict=True)}

    def _record(self, page: Page, caption: str, vectors: PageVectors) -> PageRecord:
        image_url = self._addresses.of(page.document.id, page.number)
        payload = page_payload(page, caption, vectors.boxes, image_url)
        if vectors.note:
            self._notes.setdefault(page.document.id, []).append((page.number, vectors.note))
        return PageRecord(page.id, vectors.vectors, payload)


class AdaptiveBatchSize:
    """The number of pages in the next batch, adapted to how long the last ones took.

    Args:
        first: Pages of the first batch.
        least: The smallest batch: what all devices take at once.
        most: The largest batch.

    >>> batch_size = AdaptiveBatchSize(4, 1, 128)
    >>> batch_size.took(4, 60)  # includes the loading of the model
    >>> batch_size.took(4, 0.2)
    >>> batch_size.pages
    8
    """

    def __init__(self, first: int, least: int, most: int) -> None:
        self.pages = max(first, least)
        self._least = least
        self._most = max(most, least)
        self._model_is_loaded = False

    @classmethod
    def of(cls, encoders: Encoders, options: EncoderOptions) -> AdaptiveBatchSize:
        """The batch size for some encoders. It is constant for encoders of words and for hosted models.

        A request that waits in the queue of a hosted model is no reason to send less with the next one.
        """
        if not encoders.sees or not encoders.sees_here:
            return cls(WORDS, WORDS, WORDS)
        from docrag.encode.runtime.extras import is_cpu

        devices = len(options.devices)
        on_cpu = is_cpu(options.devices[0])
        least = devices * max(options.batch_size, 1)
        return cls(devices * (CPU_FIRST if on_cpu else FIRST), least, devices * MOST)

    def took(self, pages: int, seconds: float) -> None:
        """Report how long a batch took.

        The first one, which loads the model, and partial ones do not count.
        """
        counts = self._model_is_loaded and pages >= self.pages
        self._model_is_loaded = True
        if not counts:
            return
        before = self.pages
        if seconds < QUICK_SECONDS:
            self.pages = min(2 * self.pages, self._most)
        elif seconds > SLOW_SECONDS:
            self.pages = max(self._least, self.pages // 2)
        if self.pages != before:
            logger.debug("batch of %d pages took %.1f s: the next has %d", before, seconds, self.pages)


class _End:
    """Marks the end of the items, with the error that ended them, if there was one."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class ReadAhead(Generic[Item]):
    """Items that a thread produces while the consumer is busy with earlier ones.

    Args:
        items: Iterated in the thread.
        most: How many items may wait; the producer pauses at that number.
        should_stop: Asked while the consumer waits, too. Once it returns true, there are no more items.

    >>> with ReadAhead(range(3), 2) as items:
    ...     list(items)
    [0, 1, 2]
    """

    def __init__(
        self, items: Iterable[Item], most: int, should_stop: Callable[[], bool] | None = None
    ) -> None:
        self.waited = 0.0
        """Seconds in which the consumer waited for an item."""
        self.stopped = False
        """Whether the items ended because `should_stop` returned true."""
        self._should_stop = should_stop
        self._queue: queue.Queue[Item | _End] = queue.Queue(most)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._produce, args=(items,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the producer end after its present item; one that takes long over it is left behind."""
        self._left.set()
        deadline = time.monotonic() + STOP_WAIT_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline:
            while not self._queue.empty():  # a producer that waits for room has to notice the end
                self._queue.get_nowait()
            self._thread.join(0.02)

    def __iter__(self) -> Iterator[Item]:
        """The items in order. An error of the producer is raised after the items before it."""
        while True:
            item = self._get()
            if isinstance(item, _End):
                break
            yield item
        if item.error is not None:
            raise item.error

    def _get(self) -> Item | _End:
        started = time.perf_counter()
        try:
            while not (self._should_stop and self._should_stop()):
                with suppress(queue.Empty):
                    return self._queue.get(timeout=STOP_POLL_SECONDS if self._should_stop else None)
            self.stopped = True
            return _End(None)
        finally:
            self.waited += time.perf_counter() - started

    def _produce(self, items: Iterable[Item]) -> None:
        error: BaseException | None = None
        try:
            for item in items:
                self._queue.put(item)
                if self._left.is_set():
                    break
        except BaseException as raised:  # noqa: BLE001 (raised again in the consumer)
            error = raised
        self._queue.put(_End(error))
