"""What goes into the readers and what comes out; light, since every worker process imports it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docrag.errors import DocumentError, PageFailed
from docrag.types import Document, Page


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How documents are read; travels to each worker once."""

    image_side: int = 1280
    """Long side of a page image, in pixels."""
    max_pixels: int = 4_000_000
    """No page image has more pixels, whatever its sides."""
    jpeg_quality: int = 85
    """1..95, as Pillow counts."""
    page_timeout: float = 30.0
    """Seconds for one page, and for opening a document."""
    ocr: bool = True
    """Whether pages without text are read from their image."""
    ocr_timeout: float = 120.0
    """Seconds for reading one page from its image."""
    passwords: tuple[str, ...] = ()
    """Tried on encrypted documents, in this order."""
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
    """Numbers of pages that are not to be read, from 1."""


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
    """That its picture took to be drawn."""


@dataclass(frozen=True, slots=True)
class PageLost:
    """A page cannot be read; the others go on."""

    job: ReadJob
    number: int
    """From 1."""
    error: PageFailed


@dataclass(frozen=True, slots=True)
class TextLost:
    """OCR could not read a page; it follows as `PageRead`, with its picture and the words it has."""

    job: ReadJob
    number: int
    """From 1."""
    error: PageFailed


@dataclass(frozen=True, slots=True)
class Closed:
    """Every page of a document was read or lost."""

    job: ReadJob


@dataclass(frozen=True, slots=True)
class DocumentRefused:
    """A document cannot be opened."""

    job: ReadJob
    error: DocumentError


Event = Opened | PageRead | PageLost | TextLost | Closed | DocumentRefused
