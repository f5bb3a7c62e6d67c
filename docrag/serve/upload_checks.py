"""What an uploaded document is, before its pages are read: opened in a process that may die of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from docrag.errors import DocumentError, NotFound, UnreadableDocument
from docrag.read import DocumentRefused, Opened, ReaderPool, ReadJob


def refusals(paths: Sequence[Path], most_pages: int) -> Iterator[tuple[Path, DocumentError | None]]:
    """Each file with the reason why it is not ingested, None where it is.

    Args:
        paths: Of uploaded documents.
        most_pages: That a document may have.
    """
    with ReaderPool(workers=1) as pool:
        for path in paths:
            yield path, _refusal(pool, path, most_pages)


def _refusal(pool: ReaderPool, path: Path, most_pages: int) -> DocumentError | None:
    if not path.is_file():
        return NotFound(f"{path.name} was removed before its turn came", "send it again")
    events = pool.read([ReadJob(path, "", (str(path),))])
    try:
        match next(events):
            case DocumentRefused(error=error):
                return error
            case Opened(document=document) if document.total_pages > most_pages:
                reason = f"{path.name} has {document.total_pages} pages, and {most_pages} are taken"
                return UnreadableDocument(reason, "split it, or docrag ingest it on the machine itself")
    finally:
        events.close()  # before a page is read
    return None
