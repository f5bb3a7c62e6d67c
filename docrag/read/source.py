"""What a PDF and an image file have in common for the readers: pages with a text layer and a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from docrag.types import Block, Word

if TYPE_CHECKING:
    from PIL.Image import Image

FEW_WORDS = 40
"""A page with fewer words may be a picture of text with a stamp or a heading over it."""


@dataclass(frozen=True, slots=True)
class TextLayer:
    """What a file says about a page without rendering it."""

    label: str
    """What is printed on the page as its number; see `Page.label`."""
    width: float
    """In points (1/72 inch), as displayed."""
    height: float
    words: tuple[Word, ...]
    blocks: tuple[Block, ...]
    picture_share: float
    """Share of the page that pictures cover, 0..1; measured only on pages with fewer than `FEW_WORDS` words,
    and 0 on the others."""


class Source(Protocol):
    """An open document. Page numbers start at 1."""

    total_pages: int
    title: str
    """The title in the file's metadata; empty where there is none."""
    headline: str
    """The lines in the largest letters of the first page; empty where there are none."""

    def text_layer(self, number: int) -> TextLayer:
        """Return the words, blocks and size of a page."""
        ...

    def picture(self, number: int, side: int, max_pixels: int) -> Image:
        """Render a page as it is displayed, in RGB.

        Args:
            number: The page, from 1.
            side: Length of the picture's long side in pixels.
            max_pixels: The picture is made smaller than `side` where it would have more pixels than this.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def size_in_pixels(width: float, height: float, side: int, max_pixels: int) -> tuple[int, int]:
    """Width and height of a picture whose long side is `side` pixels, and which has at most `max_pixels`.

    >>> size_in_pixels(612, 792, 1280, 4_000_000)
    (989, 1280)
    >>> size_in_pixels(3, 3, 1280, 10_000)
    (100, 100)
    """
    scale = min(side / max(width, height), math.sqrt(max_pixels / (width * height)))
    return max(int(width * scale + 1e-6), 1), max(int(height * scale + 1e-6), 1)
