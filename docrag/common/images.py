"""Conversion of images for models; pages and queries go through it alike, so that equal images stay equal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def to_rgb(image: Image) -> Image:
    """Convert any image to 8-bit RGB.

    Transparent parts become white; greyscales of more than 8 bits are stretched to the whole range.
    """
    import numpy as np
    from PIL import Image as pillow

    if image.mode.startswith(("I", "F")):
        grey = np.nan_to_num(np.asarray(image, dtype=np.float64))
        low, high = float(grey.min()), float(grey.max())
        return pillow.fromarray(((grey - low) * (255 / ((high - low) or 1))).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = pillow.new("RGBA", image.size, "white")
        return pillow.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def fit(image: Image, longest: int) -> Image:
    """Shrink an image whose long side has more than `longest` pixels; 0 means no limit."""
    if not longest or max(image.size) <= longest:
        return image
    scale = longest / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def jpeg_within(image: Image, quality: int, max_bytes: int = 0) -> tuple[bytes, int]:
    """Encode an image as JPEG; its sides shrink by a quarter until it takes at most `max_bytes`.

    Pillow does this in an eighth of the time that MuPDF takes.

    Args:
        image: In RGB.
        quality: 1 to 95.
        max_bytes: Limit on the size of the JPEG; 0 for none.

    Returns:
        The JPEG, and its number of pixels.
    """
    while True:
        content = io.BytesIO()
        image.save(content, "JPEG", quality=quality)
        if not max_bytes or content.tell() <= max_bytes:
            return content.getvalue(), image.width * image.height
        image = fit(image, max(image.size) * 3 // 4)
