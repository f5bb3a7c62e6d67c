"""The encoders of one index, side by side: they turn pages and queries into the same named vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from docrag.common.images import to_rgb
from docrag.common.timing import timed
from docrag.encode.base import AudioQueryEncoder, ImageQueryEncoder, PageEncoder, TextEncoder
from docrag.encode.models.bm25 import Bm25Encoder
from docrag.encode.runtime.request_batcher import RequestBatcher
from docrag.encode.vectors.inked import keep_inked
from docrag.encode.vectors.norms import normalised
from docrag.encode.vectors.pooling import POOLINGS, fitted
from docrag.types import (
    BM25,
    CAPTION,
    IMAGE,
    PATCHES,
    POOLED,
    KeepPatches,
    MultiVector,
    Page,
    Pooling,
    SparseVector,
    Vector,
)

if TYPE_CHECKING:
    from PIL.Image import Image


Item = TypeVar("Item")
Result = TypeVar("Result")
QUERIES_AT_ONCE = 32
"""Queries of as many threads that are encoded together."""


class QueryVectors(NamedTuple):
    """What the encoders give for the words of a query."""

    late: MultiVector
    dense: NDArray[np.float32]
    terms: SparseVector
    image: MultiVector | None


@dataclass(frozen=True, slots=True)
class PageVectors:
    """What is stored of a page: its named vectors, and where those of `patches` stand."""

    vectors: dict[str, Vector]
    boxes: NDArray[np.float32] | None
    note: str = ""
    """What a person should know of them: that neighbours were joined."""


@dataclass(frozen=True, slots=True)
class Encoders:
    """The models an index is built with; queries may come from many threads."""

    late: PageEncoder
    text: TextEncoder
    terms: Bm25Encoder
    image: PageEncoder | None = None
    keep_patches: KeepPatches = "all"
    """inked: patches on blank paper are not stored; for a late-interaction encoder that sees."""
    pooling: Pooling = "rows"
    """How the patches of a page become fewer for the first stage of a search: a name in POOLINGS."""
    _batcher: RequestBatcher[str, QueryVectors] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_batcher", RequestBatcher(self.encode_queries, QUERIES_AT_ONCE))

    @property
    def image_side(self) -> int:
        """Pixels on the long side of the page images that the encoders want."""
        return max(self.late.spec.image_side, self.image.spec.image_side if self.image else 0)

    @property
    def sees(self) -> bool:
        """Whether one of them looks at page images."""
        return any(encoder.spec.needs == "image" for encoder in (self.late, self.image) if encoder)

    @property
    def sees_here(self) -> bool:
        """Whether one of them looks at page images on this machine."""
        return any(
            encoder.spec.needs == "image" and encoder.spec.digest
            for encoder in (self.late, self.image)
            if encoder
        )

    @property
    def takes_images(self) -> bool:
        """Whether a query may be an image."""
        return any(isinstance(encoder, ImageQueryEncoder) for encoder in (self.late, self.image))

    @property
    def takes_recordings(self) -> bool:
        """Whether a query may be a recording."""
        return any(isinstance(encoder, AudioQueryEncoder) for encoder in (self.late, self.image))

    def close(self) -> None:
        """End the processes of encoders that run in some; they start again when they are needed."""
        for encoder in (self.late, self.text, self.image):
            getattr(encoder, "close", lambda: None)()

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for two sets of vectors to be comparable."""
        return {
            "late": self.late.spec.fingerprint(),
            "image": None if self.image is None else self.image.spec.fingerprint(),
            "text": self.text.spec.fingerprint(),
            "bm25": self.terms.fingerprint(),
            "pooling": self.pooling,
            "keep_patches": self.keep_patches,
        }

    def encode_pages(self, pages: Sequence[Page], captions: Sequence[str]) -> list[PageVectors]:
        """All vectors of each page, in order.

        Raises:
            PageFailed: A page has more vectors than Qdrant takes, and they cannot be pooled.
        """
        texts = [f"{caption}\n{page.text}" for caption, page in zip(captions, pages, strict=True)]
        late = _embedded(self.late, self.late.encode_pages, pages)
        if self.keep_patches == "inked":
            late = [keep_inked(multi, page) for multi, page in zip(late, pages, strict=True)]
        given = [len(multi.vectors) for multi in late]
        late = [fitted(multi) for multi in late]
        notes = [_note(many, multi) for many, multi in zip(given, late, strict=True)]
        dense = self._summaries(late) or list(_embedded(self.text, self.text.encode_passages, texts))
        terms = self.terms.encode_passages(texts)
        images: Sequence[MultiVector | None] = (
            _embedded(self.image, self.image.encode_pages, pages) if self.image else [None] * len(pages)
        )
        records = []
        for multi, caption, sparse, image, note in zip(late, dense, terms, images, notes, strict=True):
            vectors: dict[str, Vector] = {
                PATCHES: multi.vectors,
                POOLED: POOLINGS[self.pooling](multi),
                CAPTION: caption,
                BM25: sparse,
            }
            if image is not None:
                vectors[IMAGE] = image.vectors[0]
            records.append(PageVectors(vectors, multi.boxes, note))
        return records

    def _summaries(self, late: Sequence[MultiVector]) -> list[NDArray[np.float32]]:
        """One vector each, where the captions' model is that of the pages, which has read them already."""
        ours, theirs = self.late.spec, self.text.spec
        if (ours.library, ours.digest) != (theirs.library, theirs.digest):
            return []
        return [multi.summary for multi in late if multi.summary is not None]

    def encode_query(
        self, text: str = "", image: Image | None = None, audio: Path | None = None
    ) -> dict[str, Vector]:
        """The query's vector in each named space that it can be compared in.

        Words that other threads ask for at the same time are encoded together. Where a query
        has several parts, each counts as much as the others.

        Args:
            text: A question or some words; empty for none.
            image: What pages should look like.
            audio: A recording, for encoders that hear.
        """
        vectors: dict[str, Vector] = {}
        said = [self._batcher(text)] if text else []
        for words in said:
            vectors |= {CAPTION: words.dense, BM25: words.terms}
        late = [words.late for words in said]
        parts = [multi.vectors for multi in (*late, *_of_media(self.late, image, audio))]
        if parts:
            vectors[PATCHES] = _joined(parts)
        single = [words.image for words in said if words.image is not None]
        rows = [multi.vectors[0] for multi in (*single, *_of_media(self.image, image, audio))]
        if rows:
            vectors[IMAGE] = normalised(np.mean(rows, axis=0))
        return vectors

    def encode_words(self, text: str) -> MultiVector:
        """The query's vectors for late interaction, with the words that they stand for."""
        return self._batcher(text).late

    def encode_queries(self, texts: Sequence[str]) -> list[QueryVectors]:
        """What all encoders give for each text, in order; none of them is empty."""
        late = _embedded(self.late, self.late.encode_queries, texts)
        dense = self._summaries(late) or list(_embedded(self.text, self.text.encode_queries, texts))
        terms = self.terms.encode_queries(texts)
        images: Sequence[MultiVector | None] = (
            _embedded(self.image, self.image.encode_queries, texts) if self.image else [None] * len(texts)
        )
        return list(map(QueryVectors, late, dense, terms, images))


def _embedded(encoder: PageEncoder | TextEncoder, encode: Callable[[Item], Result], given: Item) -> Result:
    """What an encoder gives, measured."""
    with timed("embed", encoder.spec.model):
        return encode(given)


def _note(given: int, stored: MultiVector) -> str:
    """What to say of a page that had to be pooled to fit."""
    many = len(stored.vectors)
    if many == given:
        return ""
    return f"{given} vectors are more than Qdrant takes, so {many} are stored, means of neighbours"


def _of_media(encoder: PageEncoder | None, image: Image | None, audio: Path | None) -> Sequence[MultiVector]:
    """The vectors of an image and a recording, as far as the encoder takes them."""
    found: list[MultiVector] = []
    if image is not None and isinstance(encoder, ImageQueryEncoder):
        found += _embedded(encoder, encoder.encode_query_images, [to_rgb(image)])
    if audio is not None and isinstance(encoder, AudioQueryEncoder):
        found += encoder.encode_query_audio([audio])
    return found


def _joined(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The rows of all parts, shortened so that each part weighs as much as the first.

    An image has a thousand rows where a question has twenty, and MaxSim sums over rows.
    """
    weight = np.linalg.norm(parts[0], axis=1).sum()
    return np.concatenate([part * np.float32(weight / np.linalg.norm(part, axis=1).sum()) for part in parts])
