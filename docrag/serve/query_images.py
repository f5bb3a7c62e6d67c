"""Images that people search by: kept for a while, so that an address can name one."""

from __future__ import annotations

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

MOST_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
MOST_KEPT = 64 * 1024 * 1024
"""Bytes of all images together; the one used longest ago goes first."""


class Kept(NamedTuple):
    """An image as it was sent."""

    name: str
    content: bytes


class Pictures:
    """The images that were searched by; many threads may ask.

    Args:
        most: Bytes of all together.
    """

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, name: str, content: bytes) -> str:
        """Keep an image.

        Returns:
            Its key, the same for the same content.

        Raises:
            QueryError: It is none, or has too many pixels.
        """
        open_picture(content)
        key = hashlib.sha256(content).hexdigest()[:32]
        with self._lock:
            self._kept[key] = Kept(name, content)
            while len(self._kept) > 1 and sum(len(one.content) for one in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return key

    def get(self, key: str) -> Kept:
        """An image by its key.

        Raises:
            NotFound: It is not kept any more.
        """
        with self._lock:
            if key not in self._kept:
                raise NotFound("the image of this search is no longer kept", "choose or drop it again")
            self._kept.move_to_end(key)
            return self._kept[key]


def open_picture(content: bytes) -> Image:
    """An image that came with a request, upright and RGB.

    Raises:
        QueryError: It is none, or has too many pixels.
    """
    hint = f"give a PNG, JPEG, WebP or TIFF of at most {MOST_PIXELS // 10**6} million pixels"
    try:
        with pillow.open(BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:  # asked before anything is decoded
                raise QueryError("the image has too many pixels", hint)
            return to_rgb(ImageOps.exif_transpose(image))
    except QueryError:
        raise
    except Exception as error:  # what is broken fails in any way: TypeError and struct.error are among them
        raise QueryError("the image cannot be read", hint) from error
