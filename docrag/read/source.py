"""What a PDF and an image file have in common for the readers: pages with a text layer and a picture."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from docrag.errors import EmptyDocument, NotFound, UnreadableDocument
from docrag.types import Block, PageImage, Word

if TYPE_CHECKING:
    from PIL.Image import Image

FEW_WORDS = 40
"""A page with fewer words may be a picture of text, with a stamp or a heading over it."""
_HEAD_BYTES = 1024
_CONTRAST = 32


@dataclass(frozen=True, slots=True)
class TextLayer:
    """What a page says of itself, without its picture."""

    label: str
    width: float
    """In points (1/72 inch), as displayed."""
    height: float
    words: tuple[Word, ...]
    blocks: tuple[Block, ...]
    picture_share: float
    """Share of the page that pictures cover, 0..1; only measured where there are few words."""


class Source(Protocol):
    """An open document; page numbers are from 1."""

    total_pages: int
    title: str
    headline: str

    def text_layer(self, number: int) -> TextLayer:
        """Words, blocks and measures of a page."""
        ...

    def picture(self, number: int, side: int, max_pixels: int) -> Image:
        """A page as it is displayed: RGB, the long side `side` pixels unless that makes too many pixels."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def open_source(path: Path, passwords: tuple[str, ...]) -> Source:
    """Open a PDF or an image; what a file is, its first bytes say, and not its name.

    Raises:
        NotFound: There is no such file.
        UnsupportedFile: It is neither a PDF nor an image.
        UnreadableDocument: It is broken or cannot be read.
        EmptyDocument: It has no pages.
        PasswordRequired: It is encrypted, and no password fits.
    """
    head = _head(path)
    if not head:
        raise EmptyDocument(f"{path.name} is empty (0 bytes)", "copy or download it again")
    if b"%PDF-" in head:
        from docrag.read.pdf import PdfSource

        return PdfSource(path, passwords)
    if path.suffix.lower() == ".pdf":
        raise UnreadableDocument(
            f"{path.name} is not a PDF, whatever its name says", "look at what it contains"
        )
    from docrag.read.image import ImageSource

    return ImageSource(path)


def size_in_pixels(width: float, height: float, side: int, max_pixels: int) -> tuple[int, int]:
    """Width and height of a picture with the long side `side` pixels, and at most `max_pixels` in all.

    >>> size_in_pixels(612, 792, 1280, 4_000_000)
    (989, 1280)
    >>> size_in_pixels(3, 3, 1280, 10_000)
    (100, 100)
    """
    scale = min(side / max(width, height), math.sqrt(max_pixels / (width * height)))
    return max(int(width * scale + 1e-6), 1), max(int(height * scale + 1e-6), 1)


def encode_jpeg(picture: Image, quality: int) -> PageImage:
    """A picture as JPEG; Pillow takes an eighth of the time that MuPDF takes."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return PageImage(buffer.getvalue(), picture.width, picture.height)


def is_blank(picture: Image) -> bool:
    """Whether nothing can be seen on a picture; single specks do not count."""
    grey = np.asarray(picture.convert("L").reduce(4))
    return int(grey.max()) - int(grey.min()) < _CONTRAST


def _head(path: Path) -> bytes:
    """The first bytes of a file."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist", "it may have been moved while others were read") from error
    except OSError as error:
        raise UnreadableDocument(f"{path.name} cannot be read: {error.strerror}") from error
