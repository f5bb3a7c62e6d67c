"""The parts of a page image that a query matched: a fraction of the page for a model that looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

from PIL import Image

from docrag.read.order import reading_order
from docrag.types import Box, Region

MARGIN = 0.02
"""What is added on each side of a region, in page units: a line of text, so that no letter is cut."""
MOST = 3


def crop_regions(
    image: Image.Image, regions: Sequence[Region], *, margin: float = MARGIN, most: int = MOST
) -> list[Image.Image]:
    """Crops of a page at the regions that a query matched.

    Args:
        image: The page as rendered, of any size.
        regions: Best first, as hits have them.
        margin: Added on each side of a region, in page units (0..1).
        most: Regions that count, 1 or more; the best ones.

    Returns:
        In reading order. Regions that overlap, with their margin, make one crop; a page without regions is
        given whole.
    """
    boxes = crop_boxes([region.box for region in regions[:most]], margin)
    crops = [_corners(box, image) for box in boxes]
    return [image.crop((x0, y0, x1, y1)) for x0, y0, x1, y1 in crops if x0 < x1 and y0 < y1] or [image]


def crop_boxes(boxes: Sequence[Box], margin: float = MARGIN) -> list[Box]:
    """Where the crops of some boxes lie on a page: with a margin, overlapping ones joined, in reading order.

    Args:
        boxes: In page units.
        margin: Added on each side, in page units.

    >>> crop_boxes([(0.1, 0.5, 0.9, 0.6), (0.1, 0.2, 0.9, 0.3), (0.1, 0.25, 0.9, 0.4)], margin=0)
    [(0.1, 0.2, 0.9, 0.4), (0.1, 0.5, 0.9, 0.6)]
    """
    joined: list[Box] = []
    for x0, y0, x1, y1 in boxes:
        new = (max(0.0, x0 - margin), max(0.0, y0 - margin), min(1.0, x1 + margin), min(1.0, y1 + margin))
        while touching := [box for box in joined if _overlap(box, new)]:  # what it grows to may touch others
            joined = [box for box in joined if box not in touching]
            new = _around([new, *touching])
        joined.append(new)
    return [joined[i] for row in reading_order(joined) for i in row]


def _corners(box: Box, image: Image.Image) -> tuple[int, int, int, int]:
    """The pixels that a box touches; what it passes by rounding alone is not touched."""
    (x0, y0, x1, y1), (width, height) = box, image.size
    left, upper = floor(x0 * width + 1e-6), floor(y0 * height + 1e-6)
    return left, upper, ceil(x1 * width - 1e-6), ceil(y1 * height - 1e-6)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of them."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def stack(crops: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Crops one below the other in a single image, since models count every image, however small.

    Args:
        crops: One or more.
        gap: Pixels of grey between them.
    """
    if len(crops) == 1:
        return crops[0]
    width, height = max(crop.width for crop in crops), sum(crop.height + gap for crop in crops) - gap
    stacked = Image.new("RGB", (width, height), "white")
    y = 0
    for crop in crops:
        stacked.paste(crop, (0, y))
        stacked.paste("grey", (0, y + crop.height, width, min(height, y + crop.height + gap)))
        y += crop.height + gap
    return stacked
