"""Image files as documents, read with Pillow: one page each, except that every frame of a TIFF is a page."""

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
"""Resolutions that are believed; anything else in a file is taken for a mistake."""


class ImageSource:
    """An open image file.

    Raises:
        UnsupportedFile: The file is not an image in a format that docrag reads.
        UnreadableDocument: The image is truncated, broken or too large.
    """

    title = ""
    headline = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as image:
            frames: int = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        self.total_pages = frames
        # Decoded now, so that a truncated file is refused before it counts as a document.
        self._decoded = self._decode(1)

    def text_layer(self, number: int) -> TextLayer:
        """Return the size of a page, counted from 1; an image has no words."""
        _, picture, dpi = self._frame(number)
        width, height = (round(side * 72 / dpi, 2) for side in picture.size)
        return TextLayer(str(number), width, height, (), (), 1.0)

    def picture(self, number: int, side: int, max_pixels: int) -> Image.Image:
        """Return a page as it is displayed, in RGB; see `Source.picture`. A small image is not enlarged."""
        _, picture, _ = self._frame(number)
        side = min(side, max(picture.size))
        return picture.resize(size_in_pixels(*picture.size, side, max_pixels), Image.Resampling.LANCZOS)

    def close(self) -> None:
        """Do nothing: the file is open only while a page is being decoded."""

    def _frame(self, number: int) -> tuple[int, Image.Image, float]:
        """Number, RGB picture and dots per inch of a frame; the last one decoded is kept in memory."""
        if self._decoded[0] != number:
            self._decoded = self._decode(number)
        return self._decoded

    def _decode(self, number: int) -> tuple[int, Image.Image, float]:
        """Decode a frame; `_frame` describes the result."""
        try:
            with self._open() as image:
                if self.total_pages > 1:
                    image.seek(number - 1)
                dpi = float(image.info.get("dpi", (72, 72))[0])
                picture = to_rgb(ImageOps.exif_transpose(image))
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise self._broken(error) from error
        return number, picture, dpi if round(dpi) in _LIKELY_DPI else 72.0

    @contextmanager
    def _open(self) -> Iterator[Image.Image]:
        """Open the file without decoding it."""
        name = self._path.name
        try:
            # Up to twice its limit Pillow only warns, and scans of large drawings are of that size.
            with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
                image = Image.open(self._path, formats=_FORMATS)
        except Image.DecompressionBombError as error:
            raise UnreadableDocument(
                f"{name} has too many pixels: {error}", "save it at a lower resolution"
            ) from error
        except UnidentifiedImageError as error:
            if self._path.suffix.lower() in IMAGE_SUFFIXES:
                raise UnreadableDocument(
                    f"{name} is broken or not an image, despite its name", "save it again"
                ) from error
            raise UnsupportedFile(f"{name} is neither a PDF nor an image", "convert it to PDF") from error
        except OSError as error:
            raise self._broken(error) from error
        with image:
            yield image

    def _broken(self, error: Exception) -> UnreadableDocument:
        return UnreadableDocument(
            f"{self._path.name} is truncated or broken: {error}", "copy or save it again"
        )
