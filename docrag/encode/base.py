"""What an encoder is: protocols that outsiders can meet without importing docrag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from docrag.types import MultiVector, Page


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What there is to know about a model before it is loaded, and what makes its vectors comparable."""

    family: str
    """Name in the registry."""
    model: str
    """Checkpoint: a hub id, a path, or a package."""
    revision: str
    digest: str
    """sha256 of the weights; empty where they are remote."""
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

    def fingerprint(self) -> dict[str, str | int]:
        """The part that must be equal for two sets of vectors to be comparable."""
        return {k: v for k, v in asdict(self).items() if k not in {"licence", "needs"}}


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
