"""Page images in the form in which models take them."""

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
    return list(image_threads().map(lambda page: page_image(page, longest), pages))


@cache
def image_threads() -> ThreadPoolExecutor:
    """Threads for Pillow, which releases the interpreter lock while it decodes and resizes."""
    return ThreadPoolExecutor(thread_name_prefix="docrag-images")


def page_image(page: Page, longest: int = 0) -> Image:
    """The page's image in RGB.

    Args:
        page: The page as it was read.
        longest: The most pixels on its long side; 0 leaves it as it is.

    Raises:
        PageFailed: The page was read without an image.
    """
    from PIL import Image as pillow

    if page.image is None:
        raise PageFailed(f"page {page.number} of {page.document.name} has no image", "ingest the file again")
    with pillow.open(io.BytesIO(page.image.jpeg)) as opened:
        return fit(opened.convert("RGB"), longest)


def widen(image: Image, max_aspect: int) -> Image:
    """An image, stretched to be at most `max_aspect` times as long as wide; 0 for any shape."""
    if not max_aspect or max(image.size) <= max_aspect * min(image.size):
        return image
    shortest = -(-max(image.size) // max_aspect)
    return image.resize((max(shortest, image.width), max(shortest, image.height)))
