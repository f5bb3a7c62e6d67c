"""Leave out the vectors of patches that lie on blank paper: margins, the space under a last line.

A patch is blank where the grey of the page image hardly varies within its box. On filings and papers that are
44 % of a grid of 32 x 32; to keep a rim of one patch around ink would leave only 21 % to save. Whether the
vector of a blank patch still says something of the page depends on the model: so the user asks for this.
"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from docrag.types import MultiVector, Page, PageImage

BLANK = 6.0
"""Standard deviation of grey, of 255, under which a box is blank. On printed pages of filings and papers
anything between 1 and 12 divides alike (42 to 47 % of a grid of 32 x 32); on scans noise comes up to 4."""
LEAST = 16
"""Patches that a page keeps whatever they show: those with most on them."""
SIDE = 640
"""Pixels on the long side of the image that is judged, where it has as many: half of a rendered page's."""


def keep_inked(vectors: MultiVector, page: Page) -> MultiVector:
    """The page without its blank patches; vectors without a box stay, in their order.

    Args:
        vectors: With boxes, else all are kept.
        page: With its image, else all are kept.
    """
    if vectors.boxes is None or page.image is None:
        return vectors
    keep = inked(vectors.boxes, grey(page.image))
    return replace(vectors, vectors=vectors.vectors[keep], boxes=vectors.boxes[keep])


def inked(boxes: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which boxes show something, with those that stand nowhere, and never fewer than LEAST.

    Args:
        boxes: (n, 4) in page units, NaN for nowhere.
        image: (height, width) grey.

    Returns:
        (n,) whether to keep each.
    """
    placed = ~np.isnan(boxes).any(axis=1)
    spread = np.full(len(boxes), np.inf, np.float32)
    spread[placed] = _spread(boxes[placed], image)
    keep = spread > BLANK
    if keep[placed].sum() < LEAST:
        most = np.flatnonzero(placed)[np.argsort(-spread[placed], kind="stable")[:LEAST]]
        keep[most] = True
    return keep


def grey(image: PageImage) -> NDArray[np.uint8]:
    """(height, width) the page in grey, at about SIDE pixels."""
    from PIL import Image as pillow

    with pillow.open(io.BytesIO(image.jpeg)) as opened:
        share = SIDE / max(opened.size)
        # The decoder leaves out colours, and pixels down to this size.
        opened.draft("L", (int(opened.width * share), int(opened.height * share)))
        return np.asarray(opened.convert("L"))


def _spread(boxes: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n,) standard deviation of grey in each box; a box is one pixel at least."""
    height, width = image.shape
    x0, y0 = (np.clip(boxes[:, i] * side, 0, side - 1).astype(int) for i, side in ((0, width), (1, height)))
    x1, y1 = (np.ceil(boxes[:, i] * side).astype(int) for i, side in ((2, width), (3, height)))
    x1, y1 = np.clip(x1, x0 + 1, width), np.clip(y1, y0 + 1, height)
    pixels, areas = image.astype(np.float64), (x1 - x0) * (y1 - y0)
    moments = []
    for values in (pixels, pixels * pixels):
        sums = np.zeros((height + 1, width + 1))
        np.cumsum(np.cumsum(values, axis=0), axis=1, out=sums[1:, 1:])
        moments.append((sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]) / areas)
    variance = moments[1] - moments[0] ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 0)), np.float32)
