"""Images of every kind as models see them; pages and queries must be turned alike, or none finds itself."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def to_rgb(image: Image) -> Image:
    """Any image as 8-bit RGB: on white where it is transparent, deeper grey scales stretched."""
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
    """An image made no longer than `longest` pixels on its long side; 0 leaves it as it is."""
    if not longest or max(image.size) <= longest:
        return image
    share = longest / max(image.size)
    return image.resize((max(1, round(image.width * share)), max(1, round(image.height * share))))


def jpeg_within(image: Image, quality: int, most_bytes: int = 0) -> tuple[bytes, int]:
    """An RGB image as JPEG, made smaller by quarters until it takes no more bytes than that.

    Args:
        image: In RGB.
        quality: 1 to 95.
        most_bytes: 0 for any.

    Returns:
        The JPEG, and how many pixels it has.
    """
    while True:
        content = io.BytesIO()
        image.save(content, "JPEG", quality=quality)
        if not most_bytes or content.tell() <= most_bytes:
            return content.getvalue(), image.width * image.height
        image = fit(image, max(image.size) * 3 // 4)
