"""Late-interaction encoders of page images: all that is not the model itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from docrag.common.images import fit
from docrag.encode.base import ModelSpec
from docrag.encode.options import EncoderOptions
from docrag.encode.page_images import page_images
from docrag.encode.runtime.once import once
from docrag.types import MultiVector, Page

if TYPE_CHECKING:
    from PIL.Image import Image

    from docrag.encode.runtime.batches import Batches

QUERIES_AT_ONCE = 32


class LateModel(Protocol):
    """A loaded checkpoint: one call is one pass through it."""

    device: str

    def encode_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """(n, dim) normalised rows an image, padding cut off, each with its box; RGB images."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> list[MultiVector]:
        """(n, dim) normalised rows a query, padding cut off, with their words where the model can tell."""
        ...


class LateEncoder:
    """A page encoder around a model that is loaded when it is first needed.

    Args:
        spec: What the model is.
        load: Loads it.
        options: How it is run.
    """

    def __init__(self, spec: ModelSpec, load: Callable[[], LateModel], options: EncoderOptions) -> None:
        self.spec = spec
        self._load = load
        self._options = options

    @once
    def _model(self) -> LateModel:
        return self._load()

    @once
    def _queries(self) -> Batches:
        from docrag.encode.runtime.batches import Batches

        return Batches(QUERIES_AT_ONCE, self._model.device)

    @once
    def _batches(self) -> Batches:
        from docrag.encode.runtime.batches import FIRST, Batches

        # Four pages of ColSmol at once took 1.4 times as long a page on a CPU as one.
        first = 1 if self._model.device == "cpu" else FIRST
        return Batches(self._options.batch_size, self._model.device, first)

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """One multi-vector a page, in order.

        Raises:
            PageFailed: A page has no image.
            ModelError: One page does not fit into memory.
        """
        side = self.spec.image_side
        return self._batches.run(pages, lambda batch: self._model.encode_images(page_images(batch, side)))

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """One multi-vector a query, in order, without boxes; a text is never taken for a path.

        Raises:
            ModelError: One query does not fit into memory.
        """
        return self._queries.run(texts, self._model.encode_texts)

    def encode_query_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """The patches of each image, to be compared with those of pages."""
        side = self.spec.image_side
        encoded = self._batches.run(
            images, lambda batch: self._model.encode_images([fit(image, side) for image in batch])
        )
        return [MultiVector(only_patches(multi)) for multi in encoded]


def only_patches(multi: MultiVector) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The vectors that stand somewhere on the page."""
    if multi.boxes is None:
        return multi.vectors
    return multi.vectors[~np.isnan(multi.boxes[:, 0])]
