"""Voyage's multimodal embeddings over HTTP: page images and queries leave this machine.

Each page image and each query is sent to Voyage AI, or to the address in VOYAGE_BASE_URL, with the key in
VOYAGE_API_KEY; keys of MongoDB Atlas have an address of their own. Only the image of a page is sent, although
Voyage would accept text with it: captions and text have a vector of their own, so that each can be searched
and weighted separately. This choice was not measured, which would require a key.

The limits are those of Voyage's documentation of its multimodal models: 1000 inputs per request, 16 million
pixels and 20 MB per image, 560 pixels per token, 32,000 tokens per input (Voyage cuts off the rest, and drops
an image that the cut touches; 16 million pixels are 28,572 tokens) and 320,000 tokens per request. An image
counts as at least 50,000 pixels, as in Voyage's own client.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from docrag.common.images import fit, jpeg_within, to_rgb
from docrag.encode.base import EncoderOptions, Family, ModelSpec, refuse_vision_options
from docrag.encode.models.towers import WHOLE_PAGE
from docrag.encode.page_images import page_image
from docrag.encode.vectors.norms import normalised, softmax
from docrag.errors import ModelUnavailable, RemoteError
from docrag.types import MultiVector, Page

if TYPE_CHECKING:
    from PIL.Image import Image

    from docrag.common.http import JsonClient

ADDRESS = "https://api.voyageai.com/v1"
ATLAS_ADDRESS = "https://ai.mongodb.com/v1"
ATLAS_KEY = "al-"
"""The beginning of keys that MongoDB Atlas issues for the same models, as in Voyage's own client."""
PATH = "multimodalembeddings"
IMAGE_SIDE = 1280
"""Pixels on the long side; an A4 page then has 1.2 million, and Voyage makes use of at most 2 million."""
LABEL_SCALE = 100.0
"""Factor of the cosines before they become probabilities: CLIP's, since Voyage does not publish its own."""

INPUTS = 1000
"""Inputs in a request."""
TOKENS = 320_000
"""Tokens in a request."""
PIXELS = 16_000_000
"""Pixels of an image."""
IMAGE_BYTES = 15_000_000
"""Bytes of a JPEG: in base64, which takes a third more, this is just 20 MB."""
REQUEST_BYTES = 20_000_000
"""Bytes of all inputs in a request before base64: not a limit of Voyage, but what a slow connection can send
in time."""
PIXELS_PER_TOKEN = 560
MIN_PIXELS = 50_000
"""The fewest pixels that an image counts as."""
JPEG_QUALITY = 92

Item = TypeVar("Item")
InputType = Literal["document", "query"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cost:
    """What an input takes of a request's budget."""

    tokens: int
    bytes: int


Input = tuple[dict[str, str], Cost]
"""A piece of content as the request contains it, and its cost."""


class VoyageEncoder:
    """A page encoder, single vector, whose model runs at Voyage.

    Args:
        name: Its name in docrag's registry.
        model: Its name at Voyage.
        dim: Length of its vectors.
        fields: More fields of the request.
        options: Only resolution and batch_size (inputs in a request) have an effect.

    Raises:
        SettingsError: The options limit its patches.
    """

    def __init__(
        self, name: str, model: str, dim: int, fields: Mapping[str, int], options: EncoderOptions
    ) -> None:
        refuse_vision_options(
            options, f"{name} does not reveal its patches", "give --resolution", ("resolution",)
        )
        self.spec = ModelSpec(
            family=name,
            model=name,
            revision="",
            digest="",
            library="voyage",
            dim=dim,
            kind="single",
            needs="image",
            licence="hosted: Voyage AI's terms",
            recipe="image alone",
            image_side=options.resolution or IMAGE_SIDE,
            resolution=options.resolution,
        )
        self._request = {"model": model, "truncation": True, **fields}
        self._max_inputs = min(options.batch_size or INPUTS, INPUTS)

    @cached_property
    def _client(self) -> JsonClient:
        from docrag.common.http import JsonClient

        key = os.environ.get("VOYAGE_API_KEY", "").strip()
        if not key:
            raise ModelUnavailable(
                f"{self.spec.family} runs at Voyage AI, and VOYAGE_API_KEY is not set",
                "get a key from Voyage AI and set VOYAGE_API_KEY to it",
            )
        default_address = ATLAS_ADDRESS if key.startswith(ATLAS_KEY) else ADDRESS
        client = JsonClient(os.environ.get("VOYAGE_BASE_URL") or default_address, key)
        logger.info("%s: page images and queries are sent to %s", self.spec.family, client.address(PATH))
        return client

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """One row per page, in order, which stands for the whole page.

        Raises:
            PageFailed: A page has no image.
            ModelUnavailable: There is no key.
            RemoteError: Voyage does not answer, refuses, or returns something that cannot be used.
        """
        rows = self._embed(pages, self._page_input, "document")
        return [MultiVector(row[None], WHOLE_PAGE) for row in rows]

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """One row per text, in order; raises the same errors as for pages."""
        return [MultiVector(row[None]) for row in self._embed(texts, text_input, "query")]

    def encode_query_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """One row per image, in order; raises the same errors as for pages."""
        return [MultiVector(row[None]) for row in self._embed(images, self._image_input, "query")]

    def encode(self, items: Sequence[Image | str]) -> NDArray[np.float32]:
        """Images and texts, mixed in any order, neither as documents nor as queries.

        Returns:
            (len(items), dim) in the order given, rows L2-normalised; a string is always taken as text.
        """
        return self._embed(items, self._mixed_input, None)

    def label(self, images: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.float32]:
        """Zero-shot classification: which label fits best, and by how much more than the others.

        The order is the model's. The probabilities are not calibrated: Voyage does not publish a temperature,
        so CLIP's is used, and 0.9 does not mean that nine of ten such labels are right.

        Args:
            images: (n, dim) vectors that this encoder gave for images.
            labels: Texts that may describe them.

        Returns:
            (n, len(labels)) probabilities, each row sums to 1.
        """
        cosines = images @ self._embed(labels, text_input, "query").T
        return softmax(np.asarray(LABEL_SCALE * cosines, np.float32))

    def _page_input(self, page: Page) -> Input:
        image = page.image
        if image is not None and max(image.width, image.height) <= self.spec.image_side:
            pixels = image.width * image.height
            if pixels <= PIXELS and len(image.jpeg) <= IMAGE_BYTES:
                return jpeg_input(image.jpeg, pixels)  # as it is: compressing it again would only blur it
        return self._image_input(page_image(page))

    def _image_input(self, image: Image) -> Input:
        return jpeg_input(*jpeg_for_voyage(fit(to_rgb(image), self.spec.image_side)))

    def _mixed_input(self, item: Image | str) -> Input:
        return text_input(item) if isinstance(item, str) else self._image_input(item)

    def _embed(
        self, items: Sequence[Item], as_input: Callable[[Item], Input], input_type: InputType | None
    ) -> NDArray[np.float32]:
        """(len(items), dim), rows L2-normalised."""
        parts = [np.empty((0, self.spec.dim), np.float32)]
        for pieces in requests(map(as_input, items), self._max_inputs):
            inputs = [{"content": [piece]} for piece in pieces]
            body = {**self._request, "input_type": input_type, "inputs": inputs}
            logger.debug("%s: a request with %d inputs", self.spec.family, len(inputs))
            response = self._client.post(PATH, body)
            parts.append(self._checked(response, len(inputs)))
        return normalised(np.concatenate(parts))

    def _checked(self, response: Mapping[str, Any], count: int) -> NDArray[np.float32]:
        """(count, dim) in the order of the inputs, each finite and not zero."""
        data = response.get("data")
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise self._unusable("no list of embeddings")
        if len(data) != count:
            raise self._unusable(f"{len(data)} embeddings for {count} inputs")
        positions = [item.get("index", i) for i, item in enumerate(data)]
        if not all(i in positions for i in range(count)):
            raise self._unusable(f"embeddings of inputs {positions}, not of 0 to {count - 1}")
        by_position = sorted(zip(positions, data, strict=True), key=itemgetter(0))
        try:
            rows = np.array([item.get("embedding") for _, item in by_position], np.float32)
        except (TypeError, ValueError):
            raise self._unusable("embeddings that are no lists of numbers of one length") from None
        if rows.shape != (count, self.spec.dim):
            raise self._unusable(f"embeddings of shape {rows.shape[1:]} instead of ({self.spec.dim},)")
        if not np.isfinite(rows).all() or not rows.any(axis=1).all():
            raise self._unusable("an embedding that is not finite, or zero")
        return rows

    def _unusable(self, what: str) -> RemoteError:
        return RemoteError(
            f"{self._client.address(PATH)} answered with {what}", "does VOYAGE_BASE_URL lead to Voyage?"
        )


def _voyage_3_5(options: EncoderOptions, *, dim: int) -> VoyageEncoder:
    model = "voyage-multimodal-3.5"
    name = model if dim == 1024 else f"{model}-{dim}"
    return VoyageEncoder(name, model, dim, {"output_dimension": dim}, options)


FAMILY = Family(
    library="voyage",
    why="hosted: page images are sent there",
    pages={
        "voyage-multimodal-3": partial(VoyageEncoder, "voyage-multimodal-3", "voyage-multimodal-3", 1024, {}),
        "voyage-multimodal-3.5": partial(_voyage_3_5, dim=1024),
        "voyage-multimodal-3.5-256": partial(_voyage_3_5, dim=256),
        "voyage-multimodal-3.5-512": partial(_voyage_3_5, dim=512),
        "voyage-multimodal-3.5-2048": partial(_voyage_3_5, dim=2048),
    },
)


def text_input(text: str) -> Input:
    """A text as the request contains it; never taken for the address of an image."""
    return {"type": "text", "text": text}, text_cost(text)


def jpeg_input(jpeg: bytes, pixels: int) -> Input:
    """An image as the request contains it."""
    from docrag.common.http import data_url

    return {"type": "image_base64", "image_base64": data_url(jpeg)}, image_cost(pixels, len(jpeg))


def text_cost(text: str) -> Cost:
    """The cost of a text: a token per byte. A byte-level vocabulary never gives more, mostly a quarter.

    >>> text_cost("Straße").tokens
    7
    """
    length = len(text.encode(errors="replace"))
    return Cost(length, length)


def image_cost(pixels: int, length: int) -> Cost:
    """The cost of an image of so many pixels and bytes.

    >>> image_cost(990 * 1280, 200_000).tokens, image_cost(10 * 10, 500).tokens
    (2263, 90)
    """
    return Cost(math.ceil(max(pixels, MIN_PIXELS) / PIXELS_PER_TOKEN), length)


def requests(inputs: Iterable[tuple[Item, Cost]], max_inputs: int = INPUTS) -> Iterator[list[Item]]:
    """Divide inputs into requests, each as large as the budgets allow, in order; only one is held at a time.

    Args:
        inputs: The inputs with their costs; one that exceeds a budget by itself is sent alone.
        max_inputs: Inputs in a request.

    >>> list(requests([("a", Cost(200_000, 1)), ("b", Cost(120_000, 1)), ("c", Cost(1, 1))]))
    [['a', 'b'], ['c']]
    """
    request: list[Item] = []
    tokens = 0
    length = 0
    for item, cost in inputs:
        is_full = (
            len(request) == max_inputs or tokens + cost.tokens > TOKENS or length + cost.bytes > REQUEST_BYTES
        )
        if request and is_full:
            yield request
            request = []
            tokens = 0
            length = 0
        request.append(item)
        tokens += cost.tokens
        length += cost.bytes
    if request:
        yield request


def jpeg_for_voyage(image: Image) -> tuple[bytes, int]:
    """An RGB image as JPEG, made smaller if it has too many pixels or bytes.

    Returns:
        The JPEG, and how many pixels it has.
    """
    scale = math.sqrt(PIXELS / (image.width * image.height))
    if scale < 1:
        image = image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))))
    return jpeg_within(image, JPEG_QUALITY, IMAGE_BYTES)
