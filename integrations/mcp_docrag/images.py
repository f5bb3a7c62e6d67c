"""Page images as they are sent to a model: JPEG, small enough for a client to take several."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from io import BytesIO

from mcp_types import ImageContent
from PIL import Image as pillow
from PIL.Image import Image

from docrag.errors import DocumentError
from docrag.search.crops import crop_regions
from docrag.types import Hit, IndexedPage
from mcp_docrag.schemas import Images

logger = logging.getLogger(__name__)

PAGE_SIDE = 1280
"""Pixels on the long side of a page, which is what docrag renders by default."""
THUMBNAIL_SIDE = 512
MAX_JPEG_BYTES = 240 * 1024
"""Three JPEGs of this size, in base64, stay below the limit of 1 MB that some clients have."""
QUALITIES = (85, 60, 35, 10)
"""JPEG qualities, of which the first one that is small enough is used."""
MAX_CROPS = 2
"""The highest number of regions of one page that are shown."""
PAGES_WITH_IMAGES: Mapping[Images, int] = {"none": 0, "thumbnail": 6, "regions": 3, "page": 3}
"""How many of the best pages are sent with images; the others are sent with links only."""


def open_page_image(page: IndexedPage) -> Image:
    """Read the rendered page.

    Raises:
        DocumentError: The file no longer exists, or it is damaged.
    """
    try:
        return page.image()
    except OSError as error:
        raise DocumentError(
            f"the image of {page.file}, page {page.page} is broken", "docrag ingest --again repairs it"
        ) from error


def to_jpeg(image: Image, side: int = PAGE_SIDE) -> bytes:
    """Scale an image down and compress it to at most MAX_JPEG_BYTES, if the lowest quality allows it.

    Args:
        image: An image of any size; a small one is not enlarged.
        side: The highest number of pixels on its long side.
    """
    scaled = image.convert("RGB")
    scaled.thumbnail((side, side), pillow.Resampling.LANCZOS)
    jpeg = b""
    for quality in QUALITIES:
        buffer = BytesIO()
        scaled.save(buffer, "JPEG", quality=quality)
        jpeg = buffer.getvalue()
        if len(jpeg) <= MAX_JPEG_BYTES:
            break
        logger.debug("an image has %d bytes at JPEG quality %d, which is too large", len(jpeg), quality)
    return jpeg


def image_content(image: Image, side: int = PAGE_SIDE) -> ImageContent:
    """An image as a part of an answer."""
    data = base64.b64encode(to_jpeg(image, side)).decode()
    return ImageContent(type="image", data=data, mime_type="image/jpeg")


def region_crops(hit: Hit) -> list[ImageContent]:
    """Crop what matched on a page; a page without regions is shown whole."""
    crops = crop_regions(open_page_image(hit), hit.regions, most=MAX_CROPS)
    return [image_content(crop) for crop in crops]


def hit_images(hit: Hit, images: Images) -> list[ImageContent]:
    """The images of a hit, in the detail that was asked for.

    Raises:
        DocumentError: The page image no longer exists, or it is damaged.
    """
    if images == "none":
        return []
    if images == "regions":
        return region_crops(hit)
    return [image_content(open_page_image(hit), THUMBNAIL_SIDE if images == "thumbnail" else PAGE_SIDE)]
