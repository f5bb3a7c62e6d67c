"""Late-interaction encoders of page images: everything around the model itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from docrag.common.images import fit
from docrag.encode.base import EncoderOptions, ModelSpec
from docrag.encode.page_images import page_images
from docrag.encode.runtime.once import once
from docrag.types import MultiVector, Page

if TYPE_CHECKING:
    from PIL.Image import Image

    from docrag.encode.runtime.batches import Batches

QUERIES_AT_ONCE = 32


class LateModel(Protocol):
    """A loaded checkpoint: each call is one forward pass."""

    device: str

    def encode_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """(n, dim) normalised rows per RGB image, without padding, each with its box."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> list[MultiVector]:
        """(n, dim) normalised rows per query, without padding, with their words if those are known."""
        ...


class LateEncoder:
    """A page encoder around a model that is loaded when it is first needed.

    Args:
        spec: What is known about the model.
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
    def _query_batches(self) -> Batches:
        from docrag.encode.runtime.batches import Batches

        return Batches(QUERIES_AT_ONCE, self._model.device)

    @once
    def _page_batches(self) -> Batches:
        from docrag.encode.runtime.batches import FIRST, Batches

        # Four pages of ColSmol at once took 1.4 times as long per page on a CPU as one.
        first = 1 if self._model.device == "cpu" else FIRST
        return Batches(self._options.batch_size, self._model.device, first)

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """One multi-vector per page, in order.

        Raises:
            PageFailed: A page has no image.
            ModelError: A single page does not fit into memory.
        """
        side = self.spec.image_side
        return self._page_batches.run(
            pages, lambda batch: self._model.encode_images(page_images(batch, side))
        )

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """One multi-vector per query, in order, without boxes; a text is never taken for a path.

        Raises:
            ModelError: A single query does not fit into memory.
        """
        return self._query_batches.run(texts, self._model.encode_texts)

    def encode_query_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """The patches of each image, to be compared with those of pages."""
        side = self.spec.image_side
        encoded = self._page_batches.run(
            images, lambda batch: self._model.encode_images([fit(image, side) for image in batch])
        )
        return [MultiVector(_patch_vectors(multi)) for multi in encoded]


def _patch_vectors(multi: MultiVector) -> NDArray[np.float32]:
    """The vectors that have a place on the page."""
    if multi.boxes is None:
        return multi.vectors
    return multi.vectors[~np.isnan(multi.boxes[:, 0])]
