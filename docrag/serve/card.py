"""A page as the cards of Qdrant's dashboard need it: its top in the small square, the whole page behind it.

The dashboard draws one address twice: cut to a square of its middle in a card, and whole after a click. Only
a picture that looks different at the two sizes can serve both, and SVG is one: its style may ask how large it
is drawn. In a card the page is moved so that what the square shows is its top.
"""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

from PIL import Image as pillow

LARGEST_CARD = 320
"""Pixels up to which a picture is taken for a card; the dashboard has cards of 120 and previews of 300."""
SMALLEST_WHOLE = 640
"""Pixels that the shorter side has at least after a click, so that no small page is taken for a card."""

CARD_HEADERS = {"Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'"}
"""Of a card that is opened by itself: nothing but the image and the style that are in it."""


def card_of(jpeg: bytes) -> bytes:
    """Return an SVG that shows a page of any shape whole, and in a square of at most LARGEST_CARD its top.

    An upright page fills the width of the square. A page that is wider than high is shown whole in it.

    Args:
        jpeg: The image of the page.
    """
    with pillow.open(BytesIO(jpeg), formats=("JPEG",)) as image:
        width, height = image.size
    enlarged = max(1.0, SMALLEST_WHOLE / min(width, height))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * enlarged:.0f}" '
        f'height="{height * enlarged:.0f}" viewBox="0 0 {width} {height}">'
        f"<style>{_style(width, height)}</style>"
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<image width="{width}" height="{height}" href="data:image/jpeg;base64,'
    )
    return svg.encode() + b64encode(jpeg) + b'"/></svg>'


def _style(width: int, height: int) -> str:
    """Return how a page stands in a card, of which the square in the middle is seen."""
    if width <= height:
        move = f"translate(0, {(height - width) / 2}px)"
        return f"@media (max-width: {LARGEST_CARD}px) {{ image {{ transform: {move} }} }}"
    scale = height / width
    move = f"translate({(width - height) / 2}px, {height * (1 - scale) / 2}px) scale({scale})"
    return f"@media (max-height: {LARGEST_CARD}px) {{ image {{ transform: {move} }} }}"
