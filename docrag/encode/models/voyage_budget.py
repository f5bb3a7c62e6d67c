"""What Voyage takes: how large an image, and how much in one request.

The limits are those of Voyage's documentation of its multimodal models: 1000 inputs a request, 16 million
pixels and 20 MB an image, 560 pixels a token, 32,000 tokens an input (Voyage cuts off the rest, and leaves
out an image that the cut meets; 16 million pixels are 28,572) and 320,000 tokens a request. An image counts
for 50,000 pixels at least, as in Voyage's own client.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from docrag.common.images import jpeg_within

if TYPE_CHECKING:
    from PIL.Image import Image

Item = TypeVar("Item")

INPUTS = 1000
"""Inputs in a request."""
TOKENS = 320_000
"""Tokens in a request."""
PIXELS = 16_000_000
"""Pixels of an image."""
IMAGE_BYTES = 15_000_000
"""Bytes of a JPEG: in base64, which takes a third more, it is just 20 MB."""
REQUEST_BYTES = 20_000_000
"""Bytes of all inputs in a request before base64: not Voyage's limit, but what a slow line sends in time."""
PIXELS_A_TOKEN = 560
SMALLEST = 50_000
"""Pixels that an image counts for at least."""
JPEG_QUALITY = 92


@dataclass(frozen=True, slots=True)
class Cost:
    """What an input takes of a request's budget."""

    tokens: int
    bytes: int


def text_cost(text: str) -> Cost:
    """Of a text: as many tokens as bytes. A byte-level vocabulary never gives more, and mostly a quarter.

    >>> text_cost("Straße").tokens
    7
    """
    length = len(text.encode(errors="replace"))
    return Cost(length, length)


def image_cost(pixels: int, length: int) -> Cost:
    """Of an image of so many pixels and bytes.

    >>> image_cost(990 * 1280, 200_000).tokens, image_cost(10 * 10, 500).tokens
    (2263, 90)
    """
    return Cost(math.ceil(max(pixels, SMALLEST) / PIXELS_A_TOKEN), length)


def requests(inputs: Iterable[tuple[Item, Cost]], most: int = INPUTS) -> Iterator[list[Item]]:
    """Which inputs go together: as many as the budgets hold, in order, and no more of them held than that.

    Args:
        inputs: With their costs; one that is over a budget by itself goes alone.
        most: Inputs in a request.

    >>> list(requests([("a", Cost(200_000, 1)), ("b", Cost(120_000, 1)), ("c", Cost(1, 1))]))
    [['a', 'b'], ['c']]
    """
    together: list[Item] = []
    tokens = length = 0
    for item, cost in inputs:
        tokens, length = tokens + cost.tokens, length + cost.bytes
        if together and (len(together) == most or tokens > TOKENS or length > REQUEST_BYTES):
            yield together
            together, tokens, length = [], cost.tokens, cost.bytes
        together.append(item)
    if together:
        yield together


def jpeg_for_voyage(image: Image) -> tuple[bytes, int]:
    """An RGB image as JPEG, made smaller where it has too many pixels or bytes.

    Returns:
        The JPEG, and how many pixels it has.
    """
    share = math.sqrt(PIXELS / (image.width * image.height))
    if share < 1:
        image = image.resize((max(1, int(image.width * share)), max(1, int(image.height * share))))
    return jpeg_within(image, JPEG_QUALITY, IMAGE_BYTES)
