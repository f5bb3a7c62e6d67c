"""Similarity search in a vector store: the nearest documents, or near ones that differ from each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray

from docrag.errors import IndexMismatch, QueryError
from docrag.store.requests import QueryRequest
from docrag.types import CAPTION, PageRecord
from langchain_docrag.backend import VectorStoreBackend

MetadataFilter = Mapping[str, Any]


def nearest(
    backend: VectorStoreBackend, vector: Sequence[float], k: int, filter: MetadataFilter | None
) -> list[tuple[Document, float]]:
    """Find the documents nearest to a vector, with their cosines, best first.

    Raises:
        QueryError: k or the filter is invalid.
        IndexMismatch: The vector is not as long as the stored ones.
    """
    return [(backend.document(record), score) for record, score in _search(backend, vector, k, filter)]


def diverse(
    backend: VectorStoreBackend,
    vector: Sequence[float],
    k: int,
    fetch_k: int,
    relevance_weight: float,
    filter: MetadataFilter | None,
) -> list[Document]:
    """Find documents that are near to a vector and differ from each other, by maximal marginal relevance.

    Args:
        backend: The documents that are searched.
        vector: The vector of the query.
        k: The number of documents.
        fetch_k: The number of nearest documents that they are chosen from; at least k are fetched.
        relevance_weight: The weight of the similarity to the query, 0..1; the rest is the weight of the
            difference from documents that were chosen before.
        filter: The values that the metadata must have.

    Raises:
        QueryError: A number or the filter is invalid.
        IndexMismatch: The vector is not as long as the stored ones.
    """
    if not 0 <= relevance_weight <= 1:
        raise QueryError(
            f"lambda_mult = {relevance_weight}", "between 0 (most different) and 1 (most similar)"
        )
    _require_positive(k)
    results = _search(backend, vector, max(k, fetch_k), filter, (CAPTION,))
    if not results:
        return []
    records = [record for record, _ in results]
    rows = np.array([record.vectors[CAPTION] for record in records], np.float32)
    chosen = marginal_relevance(np.array(vector), rows, k, relevance_weight)
    return [backend.document(records[index]) for index in chosen]


def marginal_relevance(
    query: NDArray[Any], rows: NDArray[np.float32], k: int, relevance_weight: float
) -> list[int]:
    """Choose at most k rows one after the other, each the best beside those chosen before it.

    Args:
        query: (dim,)
        rows: (n, dim)
        k: The number of rows.
        relevance_weight: The weight of the similarity to the query, 0..1.

    Returns:
        The indices of the rows, in the order in which they were chosen.
    """
    units = _normalised(rows)
    to_query = units @ _normalised(query[None])[0]  # (n,)
    to_each_other = units @ units.T  # (n, n)
    chosen = [int(to_query.argmax())]
    while len(chosen) < min(k, len(rows)):
        redundancy = to_each_other[:, chosen].max(axis=1)
        value = relevance_weight * to_query - (1 - relevance_weight) * redundancy
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
    return chosen


def _search(
    backend: VectorStoreBackend,
    vector: Sequence[float],
    k: int,
    filter: MetadataFilter | None,
    vectors: Sequence[str] = (),
) -> list[tuple[PageRecord, float]]:
    """The nearest points with their cosines; `vectors` names those that are read with them."""
    _require_positive(k)
    condition = backend.condition(filter) if filter else None
    store = backend.store()
    if store is None:
        return []
    if len(vector) != backend.dim:
        raise IndexMismatch(
            f"{backend.uri} holds vectors of {backend.dim} numbers, the query's has {len(vector)}",
            "search with the embeddings that the store was filled with",
        )
    request = QueryRequest(np.array(vector, np.float32), CAPTION, k, condition)
    [ranked] = store.query([request], vectors=vectors, payload=backend.payload)
    # A point that was deleted meanwhile may have no record.
    return [(point.record, point.score) for point in ranked if point.record]


def _require_positive(k: int) -> None:
    if k < 1:
        raise QueryError(f"k = {k}", "ask for at least one document")


def _normalised(rows: NDArray[Any]) -> NDArray[np.float32]:
    """The rows with length 1; rows of zeros stay as they are."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)
