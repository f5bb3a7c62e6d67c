"""Translates docrag's queries and filters to the models of qdrant-client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from qdrant_client import models

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


def to_query(source: QueryRequest) -> models.QueryRequest:
    """Translate a query with all its prefetches."""
    return models.QueryRequest(
        query=_to_vector(source.vector),
        using=source.using,
        prefetch=_to_prefetches(source.prefetch),
        filter=to_filter(source.filter),
        params=_to_params(source),
        limit=source.limit,
        offset=source.offset or None,
    )


@overload
def to_filter(source: PayloadFilter) -> models.Filter: ...


@overload
def to_filter(source: None) -> None: ...


@overload
def to_filter(source: PayloadFilter | None) -> models.Filter | None: ...


def to_filter(source: PayloadFilter | None) -> models.Filter | None:
    """Translate a filter; None stays None.

    Raises:
        StoreError: The filter holds something that is not one of docrag's conditions.
    """
    if source is None:
        return None
    return models.Filter(
        must=_to_conditions(source.must),
        should=_to_conditions(source.should),
        must_not=_to_conditions(source.must_not),
    )


def _to_prefetches(sources: Sequence[Prefetch]) -> list[models.Prefetch] | None:
    prefetches = [
        models.Prefetch(
            query=None if source.vector is None else _to_vector(source.vector),
            using=source.using or None,
            prefetch=_to_prefetches(source.prefetch),
            filter=to_filter(source.filter),
            limit=source.limit,
        )
        for source in sources
    ]
    return prefetches or None


def _to_vector(vector: Vector) -> list[float] | list[list[float]] | models.SparseVector:
    if isinstance(vector, SparseVector):
        return models.SparseVector(indices=list(vector.indices), values=list(vector.values))
    return np.asarray(vector, np.float32).tolist()  # type: ignore[no-any-return]


def _to_params(source: QueryRequest) -> models.SearchParams | None:
    if not source.exact and not source.ignore_quantization:
        return None
    quantization = models.QuantizationSearchParams(ignore=True) if source.ignore_quantization else None
    return models.SearchParams(exact=source.exact or None, quantization=quantization)


def _to_conditions(sources: Sequence[PayloadCondition]) -> list[models.Condition] | None:
    return [_to_condition(source) for source in sources] or None


def _to_condition(source: PayloadCondition) -> models.Condition:
    match source:
        case PayloadFilter():
            return to_filter(source)
        case FieldMatch():
            return _to_match(source)
        case FieldRange():
            bounds = models.Range(gt=source.gt, gte=source.gte, lt=source.lt, lte=source.lte)
            return models.FieldCondition(key=source.key, range=bounds)
        case HasId():
            return models.HasIdCondition(has_id=list(source.ids))
        case FieldIsEmpty():
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=source.key))
    # A condition that is silently left out would change the answer.
    raise StoreError(f"{source!r} is not a condition on a page", "use the classes of docrag.store.requests")


def _to_match(source: FieldMatch) -> models.Condition:
    alternatives: list[models.Condition] = []
    for values in source.values_by_type():
        match = models.MatchValue(value=values[0]) if len(values) == 1 else models.MatchAny(any=values)
        alternatives.append(models.FieldCondition(key=source.key, match=match))
    return alternatives[0] if len(alternatives) == 1 else models.Filter(should=alternatives)
