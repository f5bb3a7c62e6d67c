"""Image files as documents, by Pillow: one page each, and one page a frame in a TIFF."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from docrag.common.images import to_rgb
from docrag.errors import UnreadableDocument, UnsupportedFile
from docrag.read.files import IMAGE_SUFFIXES
from docrag.read.source import TextLayer, size_in_pixels

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
_LIKELY_DPI = range(30, 2401)


class ImageSource:
    """An open image file.

    Raises:
        UnsupportedFile: It is no image that docrag reads.
        UnreadableDocument: It is cut off, broken or too large.
    """

    title = ""
    headline = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as image:
            frames: int = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        self.total_pages = frames
        # Decoded now, so that a file that is cut off is refused before it counts as a document.
        self._decoded = self._decode(1)

    def text_layer(self, number: int) -> TextLayer:
        """The measures of a page, from 1; an image has no words."""
        _, picture, dpi = self._frame(number)
        width, height = (round(side * 72 / dpi, 2) for side in picture.size)
        return TextLayer(str(number), width, height, (), (), 1.0)

    def picture(self, number: int, side: int, max_pixels: int) -> Image.Image:
        """A page as it is displayed: RGB; a small image is not enlarged."""
        _, picture, _ = self._frame(number)
        side = min(side, max(picture.size))
        return picture.resize(size_in_pixels(*picture.size, side, max_pixels), Image.Resampling.LANCZOS)

    def close(self) -> None:
        """The file is only open while a page is decoded."""

    def _frame(self, number: int) -> tuple[int, Image.Image, float]:
        """Number, RGB picture and dots per inch of a frame; the last one is kept."""
        if self._decoded[0] != number:
            self._decoded = self._decode(number)
        return self._decoded

    def _decode(self, number: int) -> tuple[int, Image.Image, float]:
        try:
            with self._open() as image:
                if self.total_pages > 1:
                    image.seek(number - 1)
                dpi = float(image.info.get("dpi", (72, 72))[0])
                picture = to_rgb(ImageOps.exif_transpose(image))
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            reason = f"{self._path.name} is cut off or broken: {error}"
            raise UnreadableDocument(reason, "copy or save it again") from error
        return number, picture, dpi if round(dpi) in _LIKELY_DPI else 72.0

    @contextmanager
    def _open(self) -> Iterator[Image.Image]:
        """The file, not decoded yet."""
        name = self._path.name
        try:
            # Below twice its limit Pillow only warns; scans of plans are that large.
            with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
                image = Image.open(self._path, formats=_FORMATS)
        except Image.DecompressionBombError as error:
            raise UnreadableDocument(f"{name} has too many pixels: {error}", "save it smaller") from error
        except UnidentifiedImageError as error:
            if self._path.suffix.lower() in IMAGE_SUFFIXES:
                raise UnreadableDocument(f"{name} is not an image, or broken", "save it again") from error
            raise UnsupportedFile(f"{name} is neither a PDF nor an image", "convert it to PDF") from error
        except OSError as error:
            raise UnreadableDocument(
                f"{name} is cut off or broken: {error}", "copy or save it again"
            ) from error
        with image:
            yield image
