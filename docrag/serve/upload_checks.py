"""A check of uploaded documents before they are ingested, in a process that a broken file may crash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from docrag.errors import DocumentError, NotFound, UnreadableDocument
from docrag.read import DocumentRefused, Opened, ReaderPool, ReadJob


def check_documents(paths: Sequence[Path], max_pages: int) -> Iterator[tuple[Path, DocumentError | None]]:
    """Open each document, and yield it with the reason to refuse it, or None if it can be ingested.

    Args:
        paths: Uploaded documents.
        max_pages: Number of pages that a document may have.
    """
    with ReaderPool(workers=1) as pool:
        for path in paths:
            yield path, _refusal(pool, path, max_pages)


def _refusal(pool: ReaderPool, path: Path, max_pages: int) -> DocumentError | None:
    if not path.is_file():
        return NotFound(f"{path.name} was removed before it was ingested", "upload it again")
    events = pool.read([ReadJob(path, "", (str(path),))])
    try:
        match next(events):
            case DocumentRefused(error=error):
                return error
            case Opened(document=document) if document.total_pages > max_pages:
                reason = f"{path.name} has {document.total_pages} pages, and at most {max_pages} are accepted"
                return UnreadableDocument(reason, "split it, or run docrag ingest on the server's machine")
    finally:
        events.close()  # before any page is read
    return None
