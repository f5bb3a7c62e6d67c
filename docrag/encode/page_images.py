"""The image of a page as models take it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

from docrag.common.images import fit
from docrag.errors import PageFailed
from docrag.types import Page

if TYPE_CHECKING:
    from PIL.Image import Image


def page_images(pages: Sequence[Page], longest: int = 0) -> list[Image]:
    """The images of pages, decoded on all cores; see page_image."""
    return list(threads().map(lambda page: page_image(page, longest), pages))


@cache
def threads() -> ThreadPoolExecutor:
    """For Pillow, which lets go of the interpreter while it decodes and resizes."""
    return ThreadPoolExecutor(thread_name_prefix="docrag-images")


def page_image(page: Page, longest: int = 0) -> Image:
    """The page's image in RGB.

    Args:
        page: As read.
        longest: Pixels on its long side at most; 0 for as it is.

    Raises:
        PageFailed: The page was read without an image.
    """
    from PIL import Image as pillow

    if page.image is None:
        raise PageFailed(f"page {page.number} of {page.document.name} has no image", "ingest the file again")
    with pillow.open(io.BytesIO(page.image.jpeg)) as opened:
        return fit(opened.convert("RGB"), longest)


def widen(image: Image, thinnest: int) -> Image:
    """An image stretched on its short side, to be at most `thinnest` times as long as wide; 0 for any."""
    if not thinnest or max(image.size) <= thinnest * min(image.size):
        return image
    least = -(-max(image.size) // thinnest)
    return image.resize((max(least, image.width), max(least, image.height)))
