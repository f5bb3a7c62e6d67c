"""The encoders of one index, side by side: they turn pages and queries into the same named vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from docrag.encode.base import PageEncoder, TextEncoder
from docrag.encode.bm25 import Bm25Encoder
from docrag.encode.pooling import pool_rows
from docrag.encode.registry import page_encoder, text_encoder
from docrag.types import BM25, CAPTION, IMAGE, PATCHES, POOLED, MultiVector, Page, Vector


@dataclass(frozen=True, slots=True)
class PageVectors:
    """What is stored of a page: its named vectors, and where those of `patches` stand."""

    vectors: dict[str, Vector]
    boxes: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Encoders:
    """The models an index is built with."""

    late: PageEncoder
    text: TextEncoder
    terms: Bm25Encoder
    image: PageEncoder | None = None

    @property
    def image_side(self) -> int:
        """Pixels on the long side of the page images that the encoders want."""
        return max(self.late.spec.image_side, self.image.spec.image_side if self.image else 0)

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for two sets of vectors to be comparable."""
        return {
            "late": self.late.spec.fingerprint(),
            "image": None if self.image is None else self.image.spec.fingerprint(),
            "text": self.text.spec.fingerprint(),
            "bm25": self.terms.fingerprint(),
            "pooling": "rows",
        }

    def encode_pages(self, pages: Sequence[Page], captions: Sequence[str]) -> list[PageVectors]:
        """All vectors of each page, in order."""
        texts = [f"{caption}\n{page.text}" for caption, page in zip(captions, pages, strict=True)]
        late = self.late.encode_pages(pages)
        dense = self._summaries(late) or self.text.encode_passages(texts)
        terms = self.terms.encode_passages(texts)
        images: Sequence[MultiVector | None] = (
            self.image.encode_pages(pages) if self.image else [None] * len(pages)
        )
        records = []
        for multi, caption, sparse, image in zip(late, dense, terms, images, strict=True):
            vectors: dict[str, Vector] = {
                PATCHES: multi.vectors,
                POOLED: pool_rows(multi),
                CAPTION: caption,
                BM25: sparse,
            }
            if image is not None:
                vectors[IMAGE] = image.vectors[0]
            records.append(PageVectors(vectors, multi.boxes))
        return records

    def _summaries(self, late: Sequence[MultiVector]) -> list[NDArray[np.float32]]:
        """One vector each, where the captions' model is that of the pages, which has read them already."""
        ours, theirs = self.late.spec, self.text.spec
        if (ours.library, ours.digest) != (theirs.library, theirs.digest):
            return []
        return [multi.summary for multi in late if multi.summary is not None]

    def encode_query(self, text: str) -> dict[str, Vector]:
        """The query's vector in each named space."""
        late = self.late.encode_queries([text])
        vectors: dict[str, Vector] = {
            PATCHES: late[0].vectors,
            CAPTION: (self._summaries(late) or self.text.encode_queries([text]))[0],
            BM25: self.terms.encode_queries([text])[0],
        }
        if self.image is not None:
            vectors[IMAGE] = self.image.encode_queries([text])[0].vectors[0]
        return vectors


def load_encoders(late: str, image: str | None, text: str, language: str) -> Encoders:
    """The encoders of those names; weights are loaded when they are first used.

    Raises:
        UnknownModel: No encoder goes by one of the names.
        ModelUnavailable: The package of one cannot be imported.
    """
    return Encoders(
        late=page_encoder(late),
        text=text_encoder(text),
        terms=Bm25Encoder(language),
        image=page_encoder(image) if image else None,
    )
