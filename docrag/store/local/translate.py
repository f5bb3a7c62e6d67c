"""The queries and filters of qdrant_client.models, as qdrant-edge wants them.

The names are almost the same but the classes are not, and edge takes none of the client's. What is not
covered raises StoreError: a condition left out in silence would change the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import qdrant_edge as edge
from pydantic import BaseModel
from qdrant_client import models

from docrag.errors import StoreError

DEFAULT_LIMIT = 10
"""How many points Qdrant gives where a request names no limit."""

DEFAULT_RRF_K = 2
"""Qdrant's constant of reciprocal rank fusion."""


def request(source: models.QueryRequest) -> edge.QueryRequest:
    """A whole query with its tree of prefetches; ids and scores alone are asked for.

    Raises:
        StoreError: It uses something that is not covered.
    """
    _only(source, "prefetch", "query", "using", "filter", "params", "score_threshold", "limit", "offset")
    return edge.QueryRequest(
        query=_query(source.query, source.using),
        prefetches=[_prefetch(part) for part in _listed(source.prefetch)],
        filter=filter_of(source.filter),
        params=_params(source.params),
        score_threshold=source.score_threshold,
        limit=DEFAULT_LIMIT if source.limit is None else source.limit,
        offset=source.offset,
        with_payload=False,
        with_vector=False,
    )


@overload
def filter_of(source: models.Filter) -> edge.Filter: ...


@overload
def filter_of(source: None) -> None: ...


@overload
def filter_of(source: models.Filter | None) -> edge.Filter | None: ...


def filter_of(source: models.Filter | None) -> edge.Filter | None:
    """A filter; None stays None.

    Raises:
        StoreError: It uses something that is not covered.
    """
    if source is None:
        return None
    _only(source, "must", "should", "must_not")
    return edge.Filter(
        must=_conditions(source.must),
        should=_conditions(source.should),
        must_not=_conditions(source.must_not),
    )


def _only(source: BaseModel, *covered: str) -> None:
    """Refuse a field that is set and not covered, also one that a later qdrant-client adds."""
    for name in type(source).model_fields:
        if name not in covered and getattr(source, name, None) is not None:
            raise _uncovered(f"{type(source).__name__}.{name}")


def _uncovered(what: str) -> StoreError:
    return StoreError(f"the embedded engine does not take {what} here", "use a Qdrant server for it")


def _listed(source: Any) -> list[Any]:
    """Qdrant takes one thing wherever it takes a list of them."""
    if source is None:
        return []
    return list(source) if isinstance(source, Sequence) else [source]


def _prefetch(source: models.Prefetch) -> edge.Prefetch:
    _only(source, "prefetch", "query", "using", "filter", "params", "score_threshold", "limit")
    return edge.Prefetch(
        query=_query(source.query, source.using),
        prefetches=[_prefetch(part) for part in _listed(source.prefetch)],
        filter=filter_of(source.filter),
        params=_params(source.params),
        score_threshold=source.score_threshold,
        limit=DEFAULT_LIMIT if source.limit is None else source.limit,
    )


def _query(source: Any, using: str | None) -> Any:
    if source is None:
        return None
    if isinstance(source, models.FusionQuery):
        return edge.Fusion.Rrf(DEFAULT_RRF_K) if source.fusion == models.Fusion.RRF else edge.Fusion.Dbsf()
    if isinstance(source, models.RrfQuery):
        _only(source.rrf, "k", "weights")
        k = DEFAULT_RRF_K if source.rrf.k is None else source.rrf.k
        return edge.Fusion.Rrf(k, source.rrf.weights)
    if isinstance(source, models.NearestQuery):
        _only(source, "nearest")
        source = source.nearest
    return edge.Query.Nearest(_vector(source), using)


def _vector(source: Any) -> Any:
    if isinstance(source, models.SparseVector):
        return edge.SparseVector(indices=source.indices, values=source.values)
    if isinstance(source, np.ndarray):
        return source.tolist()
    if isinstance(source, list):
        return source
    raise _uncovered(f"a query by {type(source).__name__}")


def _params(source: models.SearchParams | None) -> edge.SearchParams | None:
    if source is None:
        return None
    _only(source, "hnsw_ef", "exact", "indexed_only", "quantization")
    return edge.SearchParams(
        hnsw_ef=source.hnsw_ef,
        exact=bool(source.exact),
        indexed_only=bool(source.indexed_only),
        quantization=_quantization(source.quantization),
    )


def _quantization(source: models.QuantizationSearchParams | None) -> edge.QuantizationSearchParams | None:
    if source is None:
        return None
    _only(source, "ignore", "rescore", "oversampling")
    return edge.QuantizationSearchParams(
        ignore=bool(source.ignore), rescore=source.rescore, oversampling=source.oversampling
    )


def _conditions(source: Any) -> list[Any] | None:
    return None if source is None else [_condition(part) for part in _listed(source)]


def _condition(source: Any) -> Any:
    if isinstance(source, models.Filter):
        return filter_of(source)
    if isinstance(source, models.FieldCondition):
        _only(source, "key", "match", "range")
        return edge.FieldCondition(source.key, match=_match(source.match), range=_range(source.range))
    if isinstance(source, models.HasIdCondition):
        return edge.HasIdCondition({id if isinstance(id, int) else str(id) for id in source.has_id})
    if isinstance(source, models.IsEmptyCondition):
        return edge.IsEmptyCondition(source.is_empty.key)
    raise _uncovered(type(source).__name__)


_MATCHES: dict[type[BaseModel], Callable[[Any], Any]] = {
    models.MatchValue: lambda match: edge.MatchValue(_number_or_text(match.value)),
    models.MatchAny: lambda match: edge.MatchAny(match.any),
    models.MatchText: lambda match: edge.MatchText(match.text),
}


def _number_or_text(value: int | str | bool) -> int | str:
    if isinstance(value, bool):  # the engine takes True for 1, and finds nothing
        raise _uncovered("a match of a truth value")
    return value


def _match(source: Any) -> Any:
    if source is None:
        return None
    if type(source) not in _MATCHES:
        raise _uncovered(type(source).__name__)
    return _MATCHES[type(source)](source)


def _range(source: Any) -> edge.RangeFloat | None:
    if source is None:
        return None
    if not isinstance(source, models.Range):
        raise _uncovered(type(source).__name__)
    return edge.RangeFloat(gte=source.gte, gt=source.gt, lte=source.lte, lt=source.lt)
