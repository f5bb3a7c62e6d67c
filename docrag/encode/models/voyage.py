"""Voyage's multimodal embeddings, over HTTP: page images and queries leave this machine.

Each page image and each query is sent to Voyage AI, or to the address in VOYAGE_BASE_URL, with the key in
VOYAGE_API_KEY; keys of MongoDB Atlas have an address of their own. A page is its image alone, though
Voyage would take text with it: captions and text have a vector of their own beside it, so that what each says
can be searched and weighed by itself. No measurement stands behind that: it would take a key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from docrag.common.images import fit, to_rgb
from docrag.encode.base import ModelSpec
from docrag.encode.models.towers import WHOLE_PAGE
from docrag.encode.models.voyage_budget import (
    IMAGE_BYTES,
    INPUTS,
    PIXELS,
    Cost,
    image_cost,
    jpeg_for_voyage,
    requests,
    text_cost,
)
from docrag.encode.options import EncoderOptions, refuse_knobs
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
"""How keys begin that MongoDB Atlas gives for the same models, as in Voyage's own client."""
PATH = "multimodalembeddings"
IMAGE_SIDE = 1280
"""Pixels on the long side; an A4 page then has 1.2 million, and Voyage makes use of 2 million at most."""
LABEL_SCALE = 100.0
"""What cosines are multiplied by before they are made probabilities; CLIP's, for Voyage tells none."""

Item = TypeVar("Item")
InputType = Literal["document", "query"]
Input = tuple[dict[str, str], Cost]
"""A piece of content as the request has it, and what it costs."""


class VoyageEncoder:
    """A page encoder, single vector, whose model runs at Voyage.

    Args:
        name: In docrag's registry.
        model: In Voyage's.
        dim: Of its vectors.
        choices: More fields of the request.
        options: Of these only resolution and batch_size (inputs in a request) mean something here.

    Raises:
        SettingsError: The options bound its patches.
    """

    def __init__(
        self, name: str, model: str, dim: int, choices: Mapping[str, int], options: EncoderOptions
    ) -> None:
        refuse_knobs(options, f"{name} tells nothing of patches", "give --resolution", ("resolution",))
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
        self._request = {"model": model, "truncation": True, **choices}
        self._most = min(options.batch_size or INPUTS, INPUTS)

    @cached_property
    def _client(self) -> JsonClient:
        from docrag.common.http import JsonClient

        key = os.environ.get("VOYAGE_API_KEY", "").strip()
        if not key:
            raise ModelUnavailable(
                f"{self.spec.family} runs at Voyage AI, and VOYAGE_API_KEY is not set",
                "get a key from Voyage AI and set VOYAGE_API_KEY to it",
            )
        usual = ATLAS_ADDRESS if key.startswith(ATLAS_KEY) else ADDRESS
        return JsonClient(os.environ.get("VOYAGE_BASE_URL") or usual, key)

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """One row a page, in order, that stands for all of it.

        Raises:
            PageFailed: A page has no image.
            ModelUnavailable: There is no key.
            RemoteError: Voyage does not answer, refuses, or answers something that cannot be used.
        """
        rows = self._embed(pages, self._page_input, "document")
        return [MultiVector(row[None], WHOLE_PAGE) for row in rows]

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """One row a text, in order; errors as for pages."""
        return [MultiVector(row[None]) for row in self._embed(texts, text_input, "query")]

    def encode_query_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """One row an image, in order; errors as for pages."""
        return [MultiVector(row[None]) for row in self._embed(images, self._image_input, "query")]

    def encode(self, items: Sequence[Image | str]) -> NDArray[np.float32]:
        """Images and texts, mixed as they come, neither as documents nor as queries.

        Returns:
            (len(items), dim) in the order given, rows L2-normalised; a string is always a text.
        """
        return self._embed(items, self._input, None)

    def label(self, images: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.float32]:
        """Zero-shot classification: which label fits best, and by how much more than the others.

        The order is the model's. The probabilities are not: Voyage tells no temperature, so that CLIP's is
        taken, and 0.9 does not mean that nine of ten such labels are right.

        Args:
            images: (n, dim) vectors that this encoder gave for images.
            labels: Texts that may describe them.

        Returns:
            (n, len(labels)) probabilities, each row sums to 1.
        """
        cosines = images @ self._embed(labels, text_input, "query").T
        return softmax(np.asarray(LABEL_SCALE * cosines, np.float32))

    def _page_input(self, page: Page) -> Input:
        found = page.image
        if found is not None and max(found.width, found.height) <= self.spec.image_side:
            pixels = found.width * found.height
            if pixels <= PIXELS and len(found.jpeg) <= IMAGE_BYTES:
                return jpeg_input(found.jpeg, pixels)  # as it is: to compress it again would only blur it
        return self._image_input(page_image(page))

    def _image_input(self, image: Image) -> Input:
        return jpeg_input(*jpeg_for_voyage(fit(to_rgb(image), self.spec.image_side)))

    def _input(self, item: Image | str) -> Input:
        return text_input(item) if isinstance(item, str) else self._image_input(item)

    def _embed(
        self, items: Sequence[Item], form: Callable[[Item], Input], input_type: InputType | None
    ) -> NDArray[np.float32]:
        """(len(items), dim), rows L2-normalised."""
        parts = [np.empty((0, self.spec.dim), np.float32)]
        for together in requests(map(form, items), self._most):
            inputs = [{"content": [piece]} for piece in together]
            body = {**self._request, "input_type": input_type, "inputs": inputs}
            answer = self._client.post(PATH, body)
            parts.append(self._checked(answer, len(inputs)))
        return normalised(np.concatenate(parts))

    def _checked(self, answer: Mapping[str, Any], count: int) -> NDArray[np.float32]:
        """(count, dim) in the order of the inputs, each finite and not zero."""
        data = answer.get("data")
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise self._unusable("no list of embeddings")
        if len(data) != count:
            raise self._unusable(f"{len(data)} embeddings for {count} inputs")
        places = [item.get("index", i) for i, item in enumerate(data)]
        if not all(i in places for i in range(count)):
            raise self._unusable(f"embeddings of inputs {places}, not of 0 to {count - 1}")
        ordered = [
            item.get("embedding") for _, item in sorted(zip(places, data, strict=True), key=itemgetter(0))
        ]
        try:
            rows = np.array(ordered, np.float32)
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


def text_input(text: str) -> Input:
    """A text as the request has it; never taken for the address of an image."""
    return {"type": "text", "text": text}, text_cost(text)


def jpeg_input(jpeg: bytes, pixels: int) -> Input:
    """An image as the request has it."""
    from docrag.common.http import data_url

    return {"type": "image_base64", "image_base64": data_url(jpeg)}, image_cost(pixels, len(jpeg))


def _voyage_3_5(options: EncoderOptions, *, dim: int) -> VoyageEncoder:
    model = "voyage-multimodal-3.5"
    name = model if dim == 1024 else f"{model}-{dim}"
    return VoyageEncoder(name, model, dim, {"output_dimension": dim}, options)


voyage_3 = partial(VoyageEncoder, "voyage-multimodal-3", "voyage-multimodal-3", 1024, {})
voyage_3_5 = partial(_voyage_3_5, dim=1024)
voyage_3_5_256 = partial(_voyage_3_5, dim=256)
voyage_3_5_512 = partial(_voyage_3_5, dim=512)
voyage_3_5_2048 = partial(_voyage_3_5, dim=2048)
