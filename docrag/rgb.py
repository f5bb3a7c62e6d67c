"""Images of every kind as models see them; pages and queries must be turned alike, or none finds itself."""

from __future__ import annotations

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
