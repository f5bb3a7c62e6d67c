"""Pages by their colours: two small encoders, as a stranger would write them."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from docrag.encode.base import EncoderOptions, ModelSpec
from docrag.types import MultiVector, Page

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (220, 20, 30),
    "orange": (255, 150, 20),
    "yellow": (255, 235, 40),
    "green": (30, 150, 50),
    "blue": (30, 60, 200),
    "purple": (130, 40, 150),
    "pink": (255, 170, 190),
    "brown": (130, 75, 35),
}
SIDE = 64
"""Pixels along each side of the image that is looked at."""
TILES = 4
"""Tiles along each side of a page."""


def nearest_colours(image: Image.Image) -> NDArray[np.intp]:
    """(SIDE, SIDE) index of the named colour that each pixel is nearest to."""
    pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE)), np.float32)
    palette = np.array(list(COLOURS.values()), np.float32)
    return np.linalg.norm(pixels[:, :, None] - palette, axis=-1).argmin(axis=-1)


def histogram(nearest: NDArray[np.intp]) -> NDArray[np.float32]:
    """(11,) of length 1: how much there is of each colour; roots, so that a little still counts."""
    shares = np.bincount(nearest.ravel(), minlength=len(COLOURS)) / nearest.size
    return np.asarray(np.sqrt(shares), np.float32)


def colours_named(text: str) -> NDArray[np.float32]:
    """(n, 11) a row for each colour that a text names, in order; one of all colours where it names none."""
    names = list(COLOURS)
    named = [names.index(word) for word in re.findall(r"[a-z]+", text.lower()) if word in COLOURS]
    rows = np.eye(len(COLOURS), dtype=np.float32)[named]
    return rows if named else np.full((1, len(COLOURS)), len(COLOURS) ** -0.5, np.float32)


def image_of(page: Page) -> Image.Image:
    """The page's image."""
    assert page.image is not None, "read with images, since the spec says needs='image'"
    return Image.open(io.BytesIO(page.image.jpeg))


class ColourHistogram:
    """One vector a page: how much of it is of which colour."""

    def __init__(self, options: EncoderOptions) -> None:
        self.spec = ModelSpec(
            family="colour-histogram",
            model="colour-docrag",
            revision="1.2",
            digest="",
            library="colour-docrag",
            dim=len(COLOURS),
            kind="single",
            needs="image",
            licence="Apache-2.0",
        )

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """One row a page."""
        whole = np.array([[0, 0, 1, 1]], np.float32)
        return [MultiVector(histogram(nearest_colours(image_of(page)))[None], whole) for page in pages]

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """One row a text: the mean of the colours that it names."""
        sums = [colours_named(text).sum(axis=0) for text in texts]
        return [MultiVector((total / np.linalg.norm(total))[None]) for total in sums]

    def encode_query_images(self, images: Sequence[Image.Image]) -> list[MultiVector]:
        """One row an image."""
        return [MultiVector(histogram(nearest_colours(image))[None]) for image in images]


class ColourTiles:
    """Late interaction: a vector for each of 16 tiles of a page, and one for each colour of a question."""

    def __init__(self, options: EncoderOptions) -> None:
        self.spec = ModelSpec(
            family="colour-tiles",
            model="colour-docrag",
            revision="1.2",
            digest="",
            library="colour-docrag",
            dim=len(COLOURS),
            kind="late",
            needs="image",
            licence="Apache-2.0",
        )

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """16 rows a page, tile by tile from the top left."""
        corners = np.array([(x, y) for y in range(TILES) for x in range(TILES)], np.float32) / TILES
        boxes = np.concatenate([corners, corners + 1 / TILES], axis=1)
        return [MultiVector(self._tiles(nearest_colours(image_of(page))), boxes) for page in pages]

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """A row for each colour that a text names."""
        return [MultiVector(colours_named(text)) for text in texts]

    def _tiles(self, nearest: NDArray[np.intp]) -> NDArray[np.float32]:
        side = SIDE // TILES
        cut = nearest.reshape(TILES, side, TILES, side).swapaxes(1, 2).reshape(-1, side, side)
        return np.stack([histogram(tile) for tile in cut])
