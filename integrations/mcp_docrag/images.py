"""Page images as a model is sent them: JPEG, small enough for a client to take several."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from io import BytesIO

from mcp_types import ImageContent
from PIL import Image as pillow
from PIL.Image import Image

from docrag.errors import DocumentError
from docrag.search.crops import crop_regions
from docrag.types import Hit, IndexedPage
from mcp_docrag.schemas import Images

PAGE_SIDE = 1280
"""Pixels on the long side of a page; what docrag renders by default."""
THUMBNAIL_SIDE = 512
MOST_BYTES = 240 * 1024
"""Of a JPEG: three of them, in base64, stay under the megabyte that some clients take."""
CROPS = 2
"""Regions of one page that are shown."""
PICTURED: Mapping[Images, int] = {"none": 0, "thumbnail": 6, "regions": 3, "page": 3}
"""How many of the best pages come with pictures; the others are links."""


def image_of(page: IndexedPage) -> Image:
    """The rendered page.

    Raises:
        DocumentError: It is no longer beside the index, or broken.
    """
    try:
        return page.image()
    except OSError as error:
        raise DocumentError(
            f"the image of {page.file}, page {page.page} is broken", "docrag ingest --again repairs it"
        ) from error


def jpeg(image: Image, side: int = PAGE_SIDE) -> bytes:
    """An image as JPEG, no larger than it is.

    Args:
        image: Of any size.
        side: Pixels that its long side may have.
    """
    small = image.convert("RGB")
    small.thumbnail((side, side), pillow.Resampling.LANCZOS)
    for quality in (85, 60, 35, 10):
        out = BytesIO()
        small.save(out, "JPEG", quality=quality)
        if out.tell() <= MOST_BYTES:
            break
    return out.getvalue()


def content_of(image: Image, side: int = PAGE_SIDE) -> ImageContent:
    """An image as a part of an answer."""
    data = base64.b64encode(jpeg(image, side)).decode()
    return ImageContent(type="image", data=data, mime_type="image/jpeg")


def crops(hit: Hit) -> list[ImageContent]:
    """What of a page matched; the whole page where nothing stands anywhere."""
    return [content_of(crop) for crop in crop_regions(image_of(hit), hit.regions, most=CROPS)]


PICTURES: Mapping[Images, Callable[[Hit], list[ImageContent]]] = {
    "thumbnail": lambda hit: [content_of(image_of(hit), THUMBNAIL_SIDE)],
    "regions": crops,
    "page": lambda hit: [content_of(image_of(hit))],
}
