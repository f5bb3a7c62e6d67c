"""Images to search by: read from requests, and kept for a while so that an address can name one."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import OrderedDict
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image as pillow
from PIL import ImageOps

from docrag.common.images import to_rgb
from docrag.errors import NotFound, QueryError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
MAX_BYTES = 64 * 1024 * 1024
"""Size of all kept images together."""


class QueryImage(NamedTuple):
    """An image as it was uploaded."""

    name: str
    content: bytes


class QueryImages:
    """The images of recent searches; safe to use from several threads. Each server process has its own.

    Args:
        max_bytes: Size of all images together; the least recently used one is dropped first.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._images: OrderedDict[str, QueryImage] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, name: str, content: bytes) -> str:
        """Keep an image.

        Returns:
            Its key, which is the same for the same content.

        Raises:
            QueryError: It is not an image, or has too many pixels.
        """
        decode_image(content)
        key = hashlib.sha256(content).hexdigest()[:32]
        with self._lock:
            self._images[key] = QueryImage(name, content)
            while len(self._images) > 1 and self._size() > self._max_bytes:
                self._images.popitem(last=False)
        return key

    def get(self, key: str) -> QueryImage:
        """An image by its key.

        Raises:
            NotFound: It is not kept any more.
        """
        with self._lock:
            if key not in self._images:
                raise NotFound("the image of this search is no longer available", "choose or drop it again")
            self._images.move_to_end(key)
            return self._images[key]

    def _size(self) -> int:
        return sum(len(image.content) for image in self._images.values())


def decode_image(content: bytes) -> Image:
    """Decode an image from a request: upright and RGB.

    Raises:
        QueryError: It is not an image, or has too many pixels.
    """
    hint = f"use a PNG, JPEG, WebP or TIFF image of at most {MAX_PIXELS // 10**6} million pixels"
    try:
        with pillow.open(BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:  # checked before any pixel is decoded
                raise QueryError("the image has too many pixels", hint)
            return to_rgb(ImageOps.exif_transpose(image))
    except QueryError:
        raise
    except Exception as error:  # broken files fail in many ways, TypeError and struct.error among them
        raise QueryError("the image cannot be read", hint) from error


def decode_base64_image(text: str) -> Image:
    """Decode an image that came as base64 or as a data URL: upright and RGB.

    Raises:
        QueryError: It is not an image, or has too many pixels.
    """
    encoded = text.partition("base64,")[2] if text.startswith("data:") else text
    try:
        content = base64.b64decode(encoded)
    except ValueError as error:
        raise QueryError("the image cannot be read", "send it in base64") from error
    return decode_image(content)
