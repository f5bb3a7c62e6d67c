"""What an encoder is: protocols that outsiders can meet without importing docrag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from docrag.types import MultiVector, Page

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What there is to know about a model before it is loaded, and what makes its vectors comparable."""

    family: str
    """Name in the registry, or architecture of the checkpoint."""
    model: str
    """Checkpoint: a hub id, a path, or a package."""
    revision: str
    digest: str
    """sha256 of the weights and their configuration; empty where they are remote."""
    library: str
    """What computes the vectors; two libraries may give different vectors for the same weights."""
    dim: int
    kind: Literal["late", "single", "text"]
    """late: a vector per patch or word; single: one per page image; text: one per text."""
    needs: Literal["image", "words"]
    """What of a page it looks at."""
    licence: str
    recipe: str = ""
    """Version of the choices around the model (prompts, windows, what is dropped)."""
    image_side: int = 0
    """Pixels on the long side of the page image it wants; 0 where it needs none."""
    resolution: int = 0
    """What EncoderOptions.resolution asked for."""
    max_patches: int = 0
    """What EncoderOptions.max_patches asked for."""

    def fingerprint(self) -> dict[str, str | int]:
        """The part that must be equal for two sets of vectors to be comparable."""
        told = {k: v for k, v in asdict(self).items() if k not in {"licence", "needs"}}
        asked = ("resolution", "max_patches")
        return {k: v for k, v in told.items() if v or k not in asked}


class PageEncoder(Protocol):
    """Turns pages and queries into vectors of one space: late-interaction and CLIP-like models."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        ...

    def encode_pages(self, pages: Sequence[Page]) -> list[MultiVector]:
        """One multi-vector a page, in order; a page with nothing to see gives one row at least."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> list[MultiVector]:
        """One multi-vector a query, in order, without boxes."""
        ...


@runtime_checkable
class ImageQueryEncoder(PageEncoder, Protocol):
    """A page encoder that takes an image as a query too."""

    def encode_query_images(self, images: Sequence[Image]) -> list[MultiVector]:
        """One multi-vector an image, in order, without boxes."""
        ...


@runtime_checkable
class AudioQueryEncoder(PageEncoder, Protocol):
    """A page encoder that takes a recording as a query too."""

    def encode_query_audio(self, paths: Sequence[Path]) -> list[MultiVector]:
        """One multi-vector a sound file, in order, without boxes."""
        ...


@runtime_checkable
class MixedEncoder(ImageQueryEncoder, Protocol):
    """A CLIP-like encoder: images and texts in one space, one vector each."""

    def encode(self, items: Sequence[Image | str]) -> NDArray[np.float32]:
        """(len(items), dim) in the order given, rows L2-normalised; a string is always a text."""
        ...

    def label(self, images: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.float32]:
        """(n, len(labels)) probability of each label for image vectors (n, dim) of this encoder."""
        ...


class TextEncoder(Protocol):
    """Turns texts into one dense vector each."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        ...

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised."""
        ...
