"""Read, caption, encode and write at once: processes read ahead, a thread writes behind, this one encodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from docrag.caption import Captioner, title_of
from docrag.encode.encoders import Encoders
from docrag.errors import DocumentError
from docrag.ingest.manifest import FileRow
from docrag.ingest.prefetch import Prefetch
from docrag.ingest.report import FileReport, IngestReport, Progress
from docrag.ingest.writer import Batch, Finished, Writer
from docrag.read.jobs import Closed, Event, Opened, PageLost, PageRead, Refused, TextLost
from docrag.store.payload import page_payload
from docrag.types import Document, Page, PageRecord

BATCH = 32
"""Pages encoded together: enough to sort their windows by length, few enough to keep memory flat."""
READ_AHEAD = 64
"""Events that may wait for the encoder, about 20 MB of page images."""


class Pipeline:
    """Turns what the readers give into records, batch by batch.

    Args:
        encoders: Of the index.
        captioner: Gives each page its caption.
        image_base_url: Where page images are served.
    """

    def __init__(self, encoders: Encoders, captioner: Captioner, image_base_url: str) -> None:
        self._encoders = encoders
        self._captioner = captioner
        self._image_base_url = image_base_url.rstrip("/")
        self._documents: dict[str, Document] = {}
        self._lost: dict[str, list[tuple[int, DocumentError]]] = {}
        self._known = 0

    def run(
        self,
        events: Iterable[Event],
        contents: Mapping[str, Sequence[FileRow]],
        writer: Writer,
        report: IngestReport,
    ) -> Iterator[Progress | FileReport]:
        """Encode and write all pages that come.

        Args:
            events: From the readers; iterated in a thread.
            contents: The files of each document id.
            writer: Writes in its own thread.
            report: Pages and waiting time are added to it.

        Yields:
            Progress after each batch, and a report for each file once its pages are safely stored.
        """
        with Prefetch(events, READ_AHEAD) as ahead:
            for batch, refused in self._batches(ahead, contents):
                batch.records = self._encode(batch.pages)
                yield from refused
                yield from writer.put(batch)
                report.pages += len(batch.pages)
                if batch.pages:
                    yield Progress(report.pages, self._known, batch.pages[-1].document.sources[0])
            report.waited += ahead.waited
        yield from writer.finish()

    def _batches(
        self, events: Iterable[Event], contents: Mapping[str, Sequence[FileRow]]
    ) -> Iterator[tuple[Batch, list[FileReport]]]:
        batch, refused = Batch(), list[FileReport]()
        for event in events:
            job_id = event.job.document_id
            match event:
                case Opened(document=document):
                    self._documents[job_id] = replace(document, title=title_of(document))
                    self._lost[job_id] = []
                    self._known += document.total_pages - len(event.job.skip)
                    batch.begun.append(self._documents[job_id])
                case PageRead(page=page):
                    batch.pages.append(replace(page, document=self._documents[job_id]))
                case PageLost(number=number, error=error):
                    self._known -= 1
                    self._lost[job_id].append((number, error))
                case TextLost(number=number, error=error):
                    self._lost[job_id].append((number, error))
                case Closed():
                    lost, hint = describe_lost(self._lost.pop(job_id))
                    batch.finished.append(Finished(self._documents.pop(job_id), contents[job_id], lost, hint))
                case Refused(error=error):
                    batch.refused.append(job_id)
                    refused += [
                        FileReport(row.source, "failed", 0, error.message, error.hint)
                        for row in contents[job_id]
                    ]
            if len(batch.pages) == BATCH:
                yield batch, refused
                batch, refused = Batch(), []
        yield batch, refused

    def _encode(self, pages: Sequence[Page]) -> list[PageRecord]:
        if not pages:
            return []
        captions = self._captioner.caption(pages)
        encoded = self._encoders.encode_pages(pages, captions)
        records = []
        for page, caption, page_vectors in zip(pages, captions, encoded, strict=True):
            image_url = f"{self._image_base_url}/pages/{page.document.id}/{page.number}.jpg"
            payload = page_payload(page, caption, page_vectors.boxes, image_url)
            records.append(PageRecord(page.id, page_vectors.vectors, payload))
        return records


def describe_lost(lost: Sequence[tuple[int, DocumentError]]) -> tuple[str, str]:
    """Which pages were lost and why, in one line, and the hint of the first.

    >>> describe_lost([(2, DocumentError("cycle in page tree")), (1, DocumentError("cycle in page tree"))])
    ('pages 1, 2: cycle in page tree', '')
    """
    by_reason: dict[str, list[int]] = {}
    for number, error in sorted(lost, key=lambda item: item[0]):
        by_reason.setdefault(error.message, []).append(number)
    parts = []
    for reason, numbers in by_reason.items():
        named = ", ".join(str(number) for number in numbers[:10]) + (", ..." if len(numbers) > 10 else "")
        parts.append(f"page{'s' if len(numbers) > 1 else ''} {named}: {reason}")
    return "; ".join(parts), lost[0][1].hint if lost else ""
