"""Pictures of what a query matched: crops of a page image, and the page with its regions marked."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

from PIL import Image, ImageDraw

from docrag.read.order import reading_order
from docrag.types import Box, Region

MARGIN = 0.02
"""Added on each side of a region, in page units (0..1): about a line of text, so that no letter is cut."""
MOST_REGIONS = 3
MARK_COLOUR = (230, 80, 20)
MARK_OPACITY = 56
"""Of 255, for the best region; the others get less, in proportion to their score."""


def crop_regions(
    image: Image.Image, regions: Sequence[Region], *, margin: float = MARGIN, most: int = MOST_REGIONS
) -> list[Image.Image]:
    """Crops of a page at the regions that a query matched.

    Args:
        image: The page image, of any size.
        regions: Best first, as hits have them.
        margin: Added on each side of a region, in page units (0..1).
        most: How many of the best regions to use, 1 or more.

    Returns:
        The crops in reading order. Regions that overlap, including their margin, make one crop. A page
        without regions is returned whole.
    """
    boxes = crop_boxes([region.box for region in regions[:most]], margin)
    corners = [_pixels(box, image) for box in boxes]
    crops = [image.crop((x0, y0, x1, y1)) for x0, y0, x1, y1 in corners if x0 < x1 and y0 < y1]
    return crops or [image]


def crop_boxes(boxes: Sequence[Box], margin: float = MARGIN) -> list[Box]:
    """Where the crops of some boxes are on a page: with a margin, overlapping ones joined, in reading order.

    Args:
        boxes: In page units.
        margin: Added on each side, in page units.

    >>> crop_boxes([(0.1, 0.5, 0.9, 0.6), (0.1, 0.2, 0.9, 0.3), (0.1, 0.25, 0.9, 0.4)], margin=0)
    [(0.1, 0.2, 0.9, 0.4), (0.1, 0.5, 0.9, 0.6)]
    """
    joined: list[Box] = []
    for x0, y0, x1, y1 in boxes:
        box = (max(0.0, x0 - margin), max(0.0, y0 - margin), min(1.0, x1 + margin), min(1.0, y1 + margin))
        joined = _join(box, joined)
    return [joined[i] for row in reading_order(joined) for i in row]


def stack(crops: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Crops one below the other in a single image, because models charge for every image, however small.

    Args:
        crops: One or more images.
        gap: Pixels of grey between them.
    """
    if len(crops) == 1:
        return crops[0]
    width = max(crop.width for crop in crops)
    height = sum(crop.height + gap for crop in crops) - gap
    stacked = Image.new("RGB", (width, height), "white")
    y = 0
    for crop in crops:
        stacked.paste(crop, (0, y))
        stacked.paste("grey", (0, y + crop.height, width, min(height, y + crop.height + gap)))
        y += crop.height + gap
    return stacked


def mark_regions(page: Image.Image, regions: Sequence[Region]) -> Image.Image:
    """A copy of a page image with each region framed and tinted, the best one strongest.

    Args:
        page: The page image, of any size.
        regions: Best first.
    """
    layer = Image.new("RGBA", page.size, (*MARK_COLOUR, 0))
    draw = ImageDraw.Draw(layer)
    width, height = page.size
    margin = max(2, width // 300)
    best = max((region.score for region in regions), default=1.0)
    for region in reversed(regions):  # the best one is drawn last
        x0, y0, x1, y1 = region.box
        corners = (x0 * width - margin, y0 * height - margin, x1 * width + margin, y1 * height + margin)
        strength = max(0.2, region.score / best) ** 2 if best > 0 else 1.0
        fill = (*MARK_COLOUR, int(MARK_OPACITY * strength))
        outline = (*MARK_COLOUR, int(255 * strength))
        draw.rectangle(corners, fill, outline, width=margin)
    return Image.alpha_composite(page.convert("RGBA"), layer).convert("RGB")


def _join(box: Box, others: Sequence[Box]) -> list[Box]:
    """Some disjoint boxes and one more, joined with those that it overlaps."""
    remaining = list(others)
    while True:
        touching = [other for other in remaining if _boxes_overlap(other, box)]
        if not touching:
            return [*remaining, box]
        remaining = [other for other in remaining if other not in touching]
        box = _bounding_box([box, *touching])  # having grown, it may overlap others


def _pixels(box: Box, image: Image.Image) -> tuple[int, int, int, int]:
    """The pixels that a box covers; rounding errors do not add one."""
    x0, y0, x1, y1 = box
    width, height = image.size
    left = floor(x0 * width + 1e-6)
    upper = floor(y0 * height + 1e-6)
    return left, upper, ceil(x1 * width - 1e-6), ceil(y1 * height - 1e-6)


def _boxes_overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _bounding_box(boxes: Sequence[Box]) -> Box:
    """The smallest box that contains all of them."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
