"""CLIP-like encoders: an image tower and a text tower into one space, one vector for each input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from docrag.common.images import to_rgb
from docrag.encode.base import EncoderOptions, ModelSpec
from docrag.encode.page_images import page_images
from docrag.encode.runtime.once import once
from docrag.encode.vectors.norms import normalised
from docrag.types import MultiVector, Page

if TYPE_CHECKING:
    from PIL.Image import Image

    from docrag.encode.runtime.batches import Batches

Item = TypeVar("Item")

WHOLE_PAGE = np.array([[0, 0, 1, 1]], np.float32)
"""The box of a vector that stands for a whole page."""


class Towers(Protocol):
    """A loaded model: each call is one forward pass."""

    device: str

    def encode_images(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, dim) of RGB images; the rows may have any length."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim), the rows may have any length; texts too long for the model are cut."""
        ...

    def probabilities(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, labels) the probabilities that the model was trained to give, from its cosines."""
        ...


class TwoTowerEncoder:
    """A page encoder, single vector, around two towers that are loaded when they are first needed.

    Args:
        spec: What is known about the model.
        load: Loads it.
        options: How it is run.
    """

    def __init__(self, spec: ModelSpec, load: Callable[[], Towers], options: EncoderOptions) -> None:
        self.spec = spec
        self._load = load
        self._options = options

    @once
    def towers(self) -> Towers:
        """The model, loaded when it is first used."""
        return self._load()

    @once
    def _batches(self) -> Batches:
        from docrag.encode.runtime.batches import Batches

        return Batches(self._options.batch_size, self.towers.device)

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """One row per page, in order, which stands for the whole page.

        Raises:
            PageFailed: A page has no image.
            ModelError: A single page does not fit into memory.
        """
        rows = self._run(pages, lambda batch: self.towers.encode_images(page_images(batch)))
        return [MultiVector(row[None], WHOLE_PAGE) for row in rows]

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """One row per text, in order."""
        return [MultiVector(row[None]) for row in self.encode(texts)]

    def encode_query_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """One row per image, in order."""
        return [MultiVector(row[None]) for row in self.encode(images)]

    def encode(self, items: Sequence[Image | str]) -> NDArray[np.float32]:
        """Images and texts, mixed in any order.

        Returns:
            (len(items), dim) in the order given, rows L2-normalised; a string is always taken as text.
        """
        rows = np.empty((len(items), self.spec.dim), np.float32)
        texts = {i: item for i, item in enumerate(items) if isinstance(item, str)}
        images = {i: to_rgb(item) for i, item in enumerate(items) if not isinstance(item, str)}
        if texts:
            rows[list(texts)] = self._run(list(texts.values()), self.towers.encode_texts)
        if images:
            rows[list(images)] = self._run(list(images.values()), self.towers.encode_images)
        return rows

    def label(self, images: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.float32]:
        """Zero-shot classification.

        Args:
            images: (n, dim) vectors that this encoder gave for images.
            labels: Texts that may describe them.

        Returns:
            (n, len(labels)) probabilities: CLIP's sum to 1 over the labels, SigLIP's are independent.
        """
        cosines = images @ self.encode(list(labels)).T
        return self.towers.probabilities(cosines) if cosines.size else cosines

    def _run(
        self, items: Sequence[Item], tower: Callable[[Sequence[Item]], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """(len(items), dim), rows L2-normalised."""
        rows = self._batches.run(items, lambda batch: list(tower(batch)))
        return normalised(np.array(rows, np.float32).reshape(-1, self.spec.dim))
