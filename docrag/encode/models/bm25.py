"""BM25 term weights (Robertson & Zaragoza 2009) as sparse vectors; Qdrant multiplies them by the IDF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from docrag.encode.texts import split_years
from docrag.errors import SettingsError
from docrag.types import SparseVector

if TYPE_CHECKING:
    from qdrant_edge import SparseVector as EdgeSparseVector

K, B, AVERAGE_LENGTH = 1.5, 0.9, 400.0
"""Saturation, length normalisation, and the number of terms of an average page: 0.659 nDCG@10 on the
development set, where Qdrant's defaults 1.2, 0.75 and 256 gave 0.651."""


class Bm25Encoder:
    """Tokenises, stems and weighs terms, with the same term ids as a Qdrant server's own `qdrant/bm25`.

    Args:
        language: Language of the stemmer and the stop words, as Qdrant names it.

    Raises:
        SettingsError: Qdrant does not know the language.
    """

    def __init__(self, language: str = "english") -> None:
        from qdrant_edge import Bm25, Bm25Config

        self._language = language
        try:
            self._bm25 = Bm25(Bm25Config(language=language, k=K, b=B, avg_len=AVERAGE_LENGTH))
        except ValueError as error:
            raise SettingsError(
                f"language {language!r}: {error}", "use an English name, such as german"
            ) from None

    def fingerprint(self) -> dict[str, str]:
        """What must be equal for two sets of term weights to be comparable."""
        return {
            "family": "bm25",
            "language": self._language,
            "recipe": f"k {K}, b {B}, length {AVERAGE_LENGTH}",
        }

    def encode_passages(self, texts: Sequence[str]) -> list[SparseVector]:
        """Saturated, length-normalised term weights of each text."""
        return [_as_sparse_vector(self._bm25.embed_document(split_years(text))) for text in texts]

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        """Weight 1 for each term of each query."""
        return [_as_sparse_vector(self._bm25.embed_query(split_years(text))) for text in texts]


def _as_sparse_vector(vector: EdgeSparseVector) -> SparseVector:
    return SparseVector(tuple(vector.indices), tuple(vector.values))
