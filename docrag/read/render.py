"""The image of a single page, outside of an ingest.

Importing this loads neither PyMuPDF nor Pillow.
"""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from docrag.errors import DocumentError, PageFailed
from docrag.read.jobs import ReadOptions

_mupdf = threading.Lock()
"""MuPDF must not be called by two threads at the same time."""


def render_page(path: Path, number: int, options: ReadOptions) -> bytes:
    """Render a page as an ingest does.

    Args:
        path: A PDF or an image.
        number: The page, from 1.
        options: Size and quality of the image, and passwords.

    Returns:
        The image as JPEG.

    Raises:
        DocumentError: The file cannot be opened, or the page cannot be rendered.
    """
    from docrag.common.images import jpeg_within
    from docrag.read.opening import open_source

    with _mupdf:
        try:
            with closing(open_source(path, options.passwords)) as source:
                picture = source.picture(number, options.image_side, options.max_pixels)
                jpeg, _ = jpeg_within(picture, options.jpeg_quality)
        except DocumentError:
            raise
        except Exception as error:  # MuPDF has errors of its own
            raise PageFailed(f"page {number} of {path.name} cannot be rendered: {error}") from error
    return jpeg
