"""A page image with the matched regions marked."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from docrag.types import Region

INK = (230, 80, 20)
FILL_OPACITY = 56
"""Of 255, for the best region; the others get less, in proportion to their score."""


def mark_regions(page: Image.Image, regions: Sequence[Region]) -> Image.Image:
    """A copy of the page with each region framed and tinted, the best one strongest.

    Args:
        page: As rendered, of any size.
        regions: Best first.
    """
    layer = Image.new("RGBA", page.size, (*INK, 0))
    draw = ImageDraw.Draw(layer)
    width, height = page.size
    margin = max(2, width // 300)
    best = max((region.score for region in regions), default=1.0)
    for region in reversed(regions):  # the best one is drawn last
        x0, y0, x1, y1 = region.box
        corners = (x0 * width - margin, y0 * height - margin, x1 * width + margin, y1 * height + margin)
        share = max(0.2, region.score / best) ** 2 if best > 0 else 1.0
        draw.rectangle(corners, (*INK, int(FILL_OPACITY * share)), (*INK, int(255 * share)), width=margin)
    return Image.alpha_composite(page.convert("RGBA"), layer).convert("RGB")
