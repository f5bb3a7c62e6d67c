"""Leaves out the vectors of patches on blank paper: margins, the space under the last line.

A patch is blank if the grey of the page image hardly varies within its box. On filings and papers this is
true of 44 % of a 32 x 32 grid; keeping a margin of one patch around ink would save only 21 %. Whether the
vector of a blank patch still carries information about the page depends on the model, so this is an option.
"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from docrag.types import MultiVector, Page, PageImage

BLANK = 6.0
"""The standard deviation of grey (0 to 255) below which a box is blank. On printed pages of filings and
papers every value between 1 and 12 gives about the same result (42 to 47 % of a 32 x 32 grid is blank); on
scans, noise reaches 4."""
LEAST = 16
"""The fewest patches that a page keeps: those with the most ink, if too few are inked."""
SIDE = 640
"""The most pixels on the long side of the grey image that is examined: half of those of a rendered page."""


def keep_inked(vectors: MultiVector, page: Page) -> MultiVector:
    """The page without its blank patches; vectors without a box are kept, in their order.

    Args:
        vectors: The page's vectors; all are kept if they have no boxes.
        page: The page; all vectors are kept if it has no image.
    """
    if vectors.boxes is None or page.image is None:
        return vectors
    keep = inked(vectors.boxes, grey(page.image))
    return replace(vectors, vectors=vectors.vectors[keep], boxes=vectors.boxes[keep])


def inked(boxes: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which boxes to keep: those with ink, those without a place on the page, and at least LEAST.

    Args:
        boxes: (n, 4) in page units, NaN for a vector without a place on the page.
        image: (height, width) grey.

    Returns:
        (n,) whether to keep each.
    """
    has_place = ~np.isnan(boxes).any(axis=1)
    spread = np.full(len(boxes), np.inf, np.float32)
    spread[has_place] = _spread(boxes[has_place], image)
    keep = spread > BLANK
    if keep[has_place].sum() < LEAST:
        by_ink = np.argsort(-spread[has_place], kind="stable")
        keep[np.flatnonzero(has_place)[by_ink[:LEAST]]] = True
    return keep


def grey(image: PageImage) -> NDArray[np.uint8]:
    """(height, width) the page in grey, with about SIDE pixels on the long side."""
    from PIL import Image as pillow

    with pillow.open(io.BytesIO(image.jpeg)) as opened:
        scale = SIDE / max(opened.size)
        # The JPEG decoder skips the colours, and reduces the image to about this size.
        opened.draft("L", (int(opened.width * scale), int(opened.height * scale)))
        return np.asarray(opened.convert("L"))


def _spread(boxes: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n,) the standard deviation of grey in each box; a box is at least one pixel large."""
    height, width = image.shape
    x0 = np.clip(boxes[:, 0] * width, 0, width - 1).astype(int)
    y0 = np.clip(boxes[:, 1] * height, 0, height - 1).astype(int)
    x1 = np.clip(np.ceil(boxes[:, 2] * width).astype(int), x0 + 1, width)
    y1 = np.clip(np.ceil(boxes[:, 3] * height).astype(int), y0 + 1, height)
    areas = (x1 - x0) * (y1 - y0)
    pixels = image.astype(np.float64)
    moments = []  # means of the values and of their squares, from summed-area tables
    for values in (pixels, pixels * pixels):
        sums = np.zeros((height + 1, width + 1))
        np.cumsum(np.cumsum(values, axis=0), axis=1, out=sums[1:, 1:])
        moments.append((sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]) / areas)
    variance = moments[1] - moments[0] ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 0)), np.float32)
