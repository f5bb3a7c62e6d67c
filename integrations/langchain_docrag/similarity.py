"""The points nearest to a vector, as documents: by cosine, or so that they differ from each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray
from qdrant_client import models

from docrag.errors import IndexMismatch, QueryError
from docrag.types import CAPTION, PageRecord
from langchain_docrag.backend import Points

Filter = Mapping[str, Any]


def nearest(
    points: Points, vector: Sequence[float], k: int, filter: Filter | None
) -> list[tuple[Document, float]]:
    """The documents nearest to a vector, with their cosines, best first.

    Raises:
        QueryError: k or the filter cannot be used.
        IndexMismatch: The vector is not as long as those of the points.
    """
    return [(points.document(record), score) for record, score in _search(points, vector, k, filter)]


def varied(
    points: Points, vector: Sequence[float], k: int, fetch_k: int, share: float, filter: Filter | None
) -> list[Document]:
    """The documents of the best balance between near to a vector and far from each other.

    Args:
        points: What is searched.
        vector: Of the query.
        k: How many documents.
        fetch_k: How many of the nearest they are chosen from; k at least.
        share: What nearness to the vector counts, 0..1; distance from each other counts the rest.
        filter: What the metadata must be like.

    Raises:
        QueryError: A number or the filter cannot be used.
        IndexMismatch: The vector is not as long as those of the points.
    """
    if not 0 <= share <= 1:
        raise QueryError(f"lambda_mult = {share}", "between 0 (all different) and 1 (all near)")
    _require_positive(k)
    records = [record for record, _ in _search(points, vector, max(k, fetch_k), filter, (CAPTION,))]
    if not records:
        return []
    rows = np.array([record.vectors[CAPTION] for record in records], np.float32)
    return [points.document(records[place]) for place in balanced(np.array(vector), rows, k, share)]


def balanced(query: NDArray[Any], rows: NDArray[np.float32], k: int, share: float) -> list[int]:
    """Places of at most k rows, each the best one beside those before it: maximal marginal relevance.

    Args:
        query: (dim,)
        rows: (n, dim)
        k: How many.
        share: What nearness to the query counts, 0..1.
    """
    near = _unit(rows) @ _unit(query[None])[0]
    alike = _unit(rows) @ _unit(rows).T
    chosen = [int(near.argmax())]
    while len(chosen) < min(k, len(rows)):
        value = share * near - (1 - share) * alike[:, chosen].max(axis=1)
        value[chosen] = -np.inf
        chosen.append(int(value.argmax()))
    return chosen


def _search(
    points: Points, vector: Sequence[float], k: int, filter: Filter | None, vectors: Sequence[str] = ()
) -> list[tuple[PageRecord, float]]:
    _require_positive(k)
    condition = points.condition(filter) if filter else None
    store, dim = points.store(), points.dim
    if store is None:
        return []
    if len(vector) != dim:
        raise IndexMismatch(
            f"{points.uri} holds vectors of {dim} numbers, the query's has {len(vector)}",
            "search with the embeddings that the store was filled with",
        )
    numbers = [float(number) for number in vector]
    request = models.QueryRequest(query=numbers, using=CAPTION, filter=condition, limit=k)
    [ranked] = store.query([request])
    found = store.retrieve([point.id for point in ranked], vectors=vectors, payload=points.payload)
    records = {record.id: record for record in found}
    return [(records[point.id], point.score) for point in ranked if point.id in records]


def _require_positive(k: int) -> None:
    if k < 1:
        raise QueryError(f"k = {k}", "ask for at least one document")


def _unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """The rows with length 1; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)
