"""The encoders of one index, side by side: they turn pages and queries into the same named vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from docrag.common.images import to_rgb
from docrag.common.timing import timed
from docrag.encode.base import AudioQueryEncoder, ImageQueryEncoder, PageEncoder, TextEncoder
from docrag.encode.models.bm25 import Bm25Encoder
from docrag.encode.remote import RemoteQueryEncoder
from docrag.encode.runtime.once import once
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


Items = TypeVar("Items")
Result = TypeVar("Result")
QUERIES_AT_ONCE = 32
"""The most queries, of as many threads, that are encoded together."""

logger = logging.getLogger(__name__)


class QueryVectors(NamedTuple):
    """What the encoders give for the text of a query."""

    late: MultiVector
    dense: NDArray[np.float32]
    terms: SparseVector
    image: MultiVector | None


@dataclass(frozen=True, slots=True)
class PageVectors:
    """What is stored of a page: its named vectors, and the boxes of those in `patches`."""

    vectors: dict[str, Vector]
    boxes: NDArray[np.float32] | None
    note: str = ""
    """What a user should know about them: that neighbouring vectors were joined."""


@dataclass(frozen=True)
class Encoders:
    """The models an index is built with; queries may come from many threads."""

    late: PageEncoder
    text: TextEncoder
    terms: Bm25Encoder
    image: PageEncoder | None = None
    keep_patches: KeepPatches = "all"
    """inked: patches on blank paper are not stored; for a late-interaction encoder that sees page images."""
    pooling: Pooling = "rows"
    """How the patches of a page are pooled for the first stage of a search: a name in POOLINGS."""
    remote: RemoteQueryEncoder | None = None
    """Encodes the queries in another process; None if that is done here."""

    @once
    def _batcher(self) -> RequestBatcher[str, QueryVectors]:
        return RequestBatcher(self.encode_queries, QUERIES_AT_ONCE)

    @property
    def page_encoders(self) -> list[PageEncoder]:
        """The encoders that encode pages: one or two."""
        return [self.late] if self.image is None else [self.late, self.image]

    @property
    def image_side(self) -> int:
        """Pixels on the long side of the page images that the encoders need."""
        return max(encoder.spec.image_side for encoder in self.page_encoders)

    @property
    def sees(self) -> bool:
        """Whether one of them looks at page images."""
        return any(encoder.spec.needs == "image" for encoder in self.page_encoders)

    @property
    def sees_here(self) -> bool:
        """Whether one of them looks at page images on this machine."""
        return any(encoder.spec.needs == "image" and encoder.spec.digest for encoder in self.page_encoders)

    @property
    def can_be_shared(self) -> bool:
        """Whether all weights are on this machine, so that another process can load them for everybody.

        Encoders behind an API need a key, which is in the environment of those who use them.
        """
        return all(encoder.spec.digest for encoder in self.page_encoders) and bool(self.text.spec.digest)

    @property
    def takes_images(self) -> bool:
        """Whether a query may be an image."""
        return any(isinstance(encoder, ImageQueryEncoder) for encoder in self.page_encoders)

    @property
    def takes_recordings(self) -> bool:
        """Whether a query may be an audio recording."""
        return any(isinstance(encoder, AudioQueryEncoder) for encoder in self.page_encoders)

    def close(self) -> None:
        """End the processes of encoders that have any; they start again when they are needed."""
        for encoder in (*self.page_encoders, self.text):
            close = getattr(encoder, "close", None)
            if close is not None:
                close()

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
        patches = _timed_call(self.late, self.late.encode_pages, pages)
        if self.keep_patches == "inked":
            patches = [keep_inked(multi, page) for multi, page in zip(patches, pages, strict=True)]
        stored = [fitted(multi) for multi in patches]
        captions_dense = self._dense_vectors(stored, texts, self.text.encode_passages)
        terms = self.terms.encode_passages(texts)
        images: Sequence[MultiVector | None] = [None] * len(pages)
        if self.image is not None:
            images = _timed_call(self.image, self.image.encode_pages, pages)
        records = []
        for i in range(len(pages)):
            vectors: dict[str, Vector] = {
                PATCHES: stored[i].vectors,
                POOLED: POOLINGS[self.pooling](stored[i]),
                CAPTION: captions_dense[i],
                BM25: terms[i],
            }
            image = images[i]
            if image is not None:
                vectors[IMAGE] = image.vectors[0]
            note = _pooling_note(before=len(patches[i].vectors), after=len(stored[i].vectors))
            records.append(PageVectors(vectors, stored[i].boxes, note))
        return records

    def encode_query(
        self, text: str = "", image: Image | None = None, audio: Path | None = None
    ) -> dict[str, Vector]:
        """The query's vector for each named vector that it can be compared with.

        Texts that other threads ask for at the same time are encoded together. If a query has several parts,
        each weighs as much as the others.

        Args:
            text: A question or some words; empty for none.
            image: What pages should look like.
            audio: A recording, for encoders that take audio.
        """
        if self.remote is not None:
            return self.remote.encode_query(text, image, audio)
        vectors: dict[str, Vector] = {}
        late_parts: list[NDArray[np.float32]] = []
        image_parts: list[NDArray[np.float32]] = []
        if text:
            encoded = self._batcher(text)
            vectors[CAPTION] = encoded.dense
            vectors[BM25] = encoded.terms
            late_parts.append(encoded.late.vectors)
            if encoded.image is not None:
                image_parts.append(encoded.image.vectors[0])
        late_parts += [multi.vectors for multi in _encode_media(self.late, image, audio)]
        if self.image is not None:
            image_parts += [multi.vectors[0] for multi in _encode_media(self.image, image, audio)]
        if late_parts:
            vectors[PATCHES] = _join_parts(late_parts)
        if image_parts:
            vectors[IMAGE] = normalised(np.mean(image_parts, axis=0))
        return vectors

    def encode_words(self, text: str) -> MultiVector:
        """The query's vectors for late interaction, with the words that they stand for."""
        if self.remote is not None:
            return self.remote.encode_words(text)
        return self._batcher(text).late

    def encode_queries(self, texts: Sequence[str]) -> list[QueryVectors]:
        """What all encoders give for each text, in order; none of the texts is empty."""
        logger.debug("encoding %d queries together", len(texts))
        late = _timed_call(self.late, self.late.encode_queries, texts)
        dense = self._dense_vectors(late, texts, self.text.encode_queries)
        terms = self.terms.encode_queries(texts)
        images: Sequence[MultiVector | None] = [None] * len(texts)
        if self.image is not None:
            images = _timed_call(self.image, self.image.encode_queries, texts)
        return [QueryVectors(*vectors) for vectors in zip(late, dense, terms, images, strict=True)]

    def _dense_vectors(
        self,
        late: Sequence[MultiVector],
        texts: Sequence[str],
        encode: Callable[[Sequence[str]], NDArray[np.float32]],
    ) -> Sequence[NDArray[np.float32]]:
        """One vector per text: the summary of the late-interaction encoder, if the model is the same."""
        late_spec = self.late.spec
        text_spec = self.text.spec
        if (late_spec.library, late_spec.digest) == (text_spec.library, text_spec.digest):
            summaries = [multi.summary for multi in late if multi.summary is not None]
            if summaries:
                return summaries
        return list(_timed_call(self.text, encode, texts))


def _timed_call(
    encoder: PageEncoder | TextEncoder, encode: Callable[[Items], Result], items: Items
) -> Result:
    """The result of an encoder's method; reports the time it took."""
    with timed("embed", encoder.spec.model):
        return encode(items)


def _pooling_note(before: int, after: int) -> str:
    """What to say about a page whose vectors had to be pooled to fit; empty if they had not."""
    if before == after:
        return ""
    return f"{before} vectors are more than Qdrant takes, so {after} are stored, means of neighbours"


def _encode_media(encoder: PageEncoder, image: Image | None, audio: Path | None) -> list[MultiVector]:
    """The vectors of an image and of a recording, as far as the encoder takes them."""
    encoded: list[MultiVector] = []
    if image is not None and isinstance(encoder, ImageQueryEncoder):
        encoded += _timed_call(encoder, encoder.encode_query_images, [to_rgb(image)])
    if audio is not None and isinstance(encoder, AudioQueryEncoder):
        encoded += encoder.encode_query_audio([audio])
    return encoded


def _join_parts(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The rows of all parts, scaled so that each part weighs as much as the first.

    An image has a thousand rows where a question has twenty, and MaxSim sums over rows.
    """
    weight = np.linalg.norm(parts[0], axis=1).sum()
    return np.concatenate([part * np.float32(weight / np.linalg.norm(part, axis=1).sum()) for part in parts])
