"""What goes into the reader pool, and the events that come out of it.

Every worker process imports this module, so it imports little.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docrag.errors import DocumentError, PageFailed
from docrag.types import Document, Page


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How documents are read; sent to each worker process once."""

    image_side: int = 1280
    """Long side of a page image, in pixels."""
    max_pixels: int = 4_000_000
    """Limit on the number of pixels of a page image; a larger page is rendered smaller."""
    jpeg_quality: int = 85
    """Quality of page images on Pillow's scale, 1..95."""
    page_timeout: float = 30.0
    """Seconds that reading and rendering one page may take, and opening a document."""
    ocr: bool = True
    """Whether the text of scanned pages is read by OCR."""
    ocr_timeout: float = 120.0
    """Seconds that OCR of one page may take."""
    passwords: tuple[str, ...] = ()
    """Tried in this order on encrypted documents."""
    threads: int = 1
    """Threads of the OCR model in each worker."""


@dataclass(frozen=True, slots=True)
class ReadJob:
    """A document to read."""

    path: Path
    document_id: str
    """sha256 of the file, hexadecimal."""
    sources: tuple[str, ...]
    """Paths as ingested, the first one first."""
    skip: frozenset[int] = frozenset()
    """Numbers of the pages that are not read, from 1."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A document was opened; its pages follow."""

    job: ReadJob
    document: Document


@dataclass(frozen=True, slots=True)
class PageRead:
    """A page was read and rendered."""

    job: ReadJob
    page: Page
    seconds: float = 0.0
    """How long rendering took."""


@dataclass(frozen=True, slots=True)
class PageLost:
    """A page cannot be read; the other pages of the document can still follow."""

    job: ReadJob
    number: int
    """From 1."""
    error: PageFailed


@dataclass(frozen=True, slots=True)
class TextLost:
    """OCR failed on a page. The page follows as `PageRead`, with its image and the words it has otherwise."""

    job: ReadJob
    number: int
    """From 1."""
    error: PageFailed


@dataclass(frozen=True, slots=True)
class Closed:
    """A document is finished: every page of it was read or lost."""

    job: ReadJob


@dataclass(frozen=True, slots=True)
class DocumentRefused:
    """A document cannot be opened; no other event follows for its job."""

    job: ReadJob
    error: DocumentError


Event = Opened | PageRead | PageLost | TextLost | Closed | DocumentRefused
