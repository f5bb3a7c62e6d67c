"""Translates docrag's queries and filters to qdrant-edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import qdrant_edge as edge

from docrag.errors import StoreError
from docrag.store.requests import (
    FieldIsEmpty,
    FieldMatch,
    FieldRange,
    HasId,
    PayloadCondition,
    PayloadFilter,
    Prefetch,
    QueryRequest,
)
from docrag.types import SparseVector, Vector


def to_query(source: QueryRequest) -> edge.QueryRequest:
    """Translate a query with all its prefetches; the answer has ids and scores only."""
    return edge.QueryRequest(
        query=_to_nearest(source.vector, source.using),
        prefetches=_to_prefetches(source.prefetch),
        filter=to_filter(source.filter),
        params=_to_params(source),
        limit=source.limit,
        offset=source.offset,
        with_payload=False,
        with_vector=False,
    )


@overload
def to_filter(source: PayloadFilter) -> edge.Filter: ...


@overload
def to_filter(source: None) -> None: ...


@overload
def to_filter(source: PayloadFilter | None) -> edge.Filter | None: ...


def to_filter(source: PayloadFilter | None) -> edge.Filter | None:
    """Translate a filter; None stays None.

    Raises:
        StoreError: The filter holds something that is not one of docrag's conditions.
    """
    if source is None:
        return None
    return edge.Filter(
        must=_to_conditions(source.must),
        should=_to_conditions(source.should),
        must_not=_to_conditions(source.must_not),
    )


def _to_prefetches(sources: Sequence[Prefetch]) -> list[edge.Prefetch]:
    return [
        edge.Prefetch(
            query=None if source.vector is None else _to_nearest(source.vector, source.using),
            prefetches=_to_prefetches(source.prefetch),
            filter=to_filter(source.filter),
            params=None,
            limit=source.limit,
        )
        for source in sources
    ]


def _to_nearest(vector: Vector, using: str) -> edge.Query:
    if isinstance(vector, SparseVector):
        sparse = edge.SparseVector(indices=list(vector.indices), values=list(vector.values))
        return edge.Query.Nearest(sparse, using)
    # The engine also takes the array itself, but needs almost twice as long to read it.
    return edge.Query.Nearest(np.asarray(vector, np.float32).tolist(), using)


def _to_params(source: QueryRequest) -> edge.SearchParams | None:
    if not source.exact and not source.ignore_quantization:
        return None
    quantization = edge.QuantizationSearchParams(ignore=True) if source.ignore_quantization else None
    return edge.SearchParams(exact=source.exact, indexed_only=False, quantization=quantization)


def _to_conditions(sources: Sequence[PayloadCondition]) -> list[Any] | None:
    return [_to_condition(source) for source in sources] or None


def _to_condition(source: PayloadCondition) -> Any:
    match source:
        case PayloadFilter():
            return to_filter(source)
        case FieldMatch():
            return _to_match(source)
        case FieldRange():
            bounds = edge.RangeFloat(gt=source.gt, gte=source.gte, lt=source.lt, lte=source.lte)
            return edge.FieldCondition(source.key, range=bounds)
        case HasId():
            return edge.HasIdCondition(set(source.ids))
        case FieldIsEmpty():
            return edge.IsEmptyCondition(source.key)
    # A condition that is silently left out would change the answer.
    raise StoreError(f"{source!r} is not a condition on a page", "use the classes of docrag.store.requests")


def _to_match(source: FieldMatch) -> Any:
    alternatives: list[Any] = []
    for values in source.values_by_type():
        match: Any = edge.MatchValue(values[0]) if len(values) == 1 else edge.MatchAny(values)
        alternatives.append(edge.FieldCondition(source.key, match=match))
    return alternatives[0] if len(alternatives) == 1 else edge.Filter(should=alternatives)
