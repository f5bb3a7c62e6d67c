"""Translates docrag's queries and filters from qdrant_client.models to qdrant-edge.

The names are almost the same but the classes are not, and edge accepts none of the client's. Only what docrag
itself asks is covered; anything else raises StoreError, because a condition that is silently left out would
change the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import qdrant_edge as edge
from pydantic import BaseModel
from qdrant_client import models

from docrag.errors import StoreError

DEFAULT_LIMIT = 10
"""The number of points that Qdrant returns for a request without a limit."""


def to_query(source: models.QueryRequest) -> edge.QueryRequest:
    """Translate a query with all its prefetches; the answer has ids and scores only.

    Raises:
        StoreError: The query uses something that is not covered.
    """
    _require_only(source, "prefetch", "query", "using", "filter", "params", "limit")
    return edge.QueryRequest(
        query=_to_nearest(source.query, source.using),
        prefetches=[_to_prefetch(part) for part in _as_list(source.prefetch)],
        filter=to_filter(source.filter),
        params=_to_params(source.params),
        limit=DEFAULT_LIMIT if source.limit is None else source.limit,
        with_payload=False,
        with_vector=False,
    )


@overload
def to_filter(source: models.Filter) -> edge.Filter: ...


@overload
def to_filter(source: None) -> None: ...


@overload
def to_filter(source: models.Filter | None) -> edge.Filter | None: ...


def to_filter(source: models.Filter | None) -> edge.Filter | None:
    """Translate a filter; None stays None.

    Raises:
        StoreError: The filter uses something that is not covered.
    """
    if source is None:
        return None
    _require_only(source, "must", "should", "must_not")
    return edge.Filter(
        must=_to_conditions(source.must),
        should=_to_conditions(source.should),
        must_not=_to_conditions(source.must_not),
    )


def _require_only(source: BaseModel, *covered: str) -> None:
    """Refuse every other field that is set, also one that a later qdrant-client adds."""
    for name in type(source).model_fields:
        if name not in covered and getattr(source, name, None) is not None:
            raise _not_covered(f"{type(source).__name__}.{name}")


def _not_covered(what: str) -> StoreError:
    return StoreError(f"the embedded engine does not take {what} here", "use a Qdrant server for it")


def _as_list(source: Any) -> list[Any]:
    """Qdrant accepts a single item wherever it accepts a list."""
    if source is None:
        return []
    return list(source) if isinstance(source, Sequence) else [source]


def _to_prefetch(source: models.Prefetch) -> edge.Prefetch:
    _require_only(source, "prefetch", "query", "using", "filter", "params", "limit")
    return edge.Prefetch(
        query=_to_nearest(source.query, source.using),
        prefetches=[_to_prefetch(part) for part in _as_list(source.prefetch)],
        filter=to_filter(source.filter),
        params=_to_params(source.params),
        limit=DEFAULT_LIMIT if source.limit is None else source.limit,
    )


def _to_nearest(source: Any, using: str | None) -> edge.Query:
    if isinstance(source, models.SparseVector):
        vector: Any = edge.SparseVector(indices=source.indices, values=source.values)
    elif isinstance(source, list):
        vector = source
    else:
        raise _not_covered(f"a query by {type(source).__name__}")
    return edge.Query.Nearest(vector, using)


def _to_params(source: models.SearchParams | None) -> edge.SearchParams | None:
    if source is None:
        return None
    _require_only(source, "exact", "indexed_only", "quantization")
    return edge.SearchParams(
        exact=bool(source.exact),
        indexed_only=bool(source.indexed_only),
        quantization=_to_quantization(source.quantization),
    )


def _to_quantization(source: models.QuantizationSearchParams | None) -> edge.QuantizationSearchParams | None:
    if source is None:
        return None
    _require_only(source, "ignore")
    return edge.QuantizationSearchParams(ignore=bool(source.ignore))


def _to_conditions(source: Any) -> list[Any] | None:
    return None if source is None else [_to_condition(part) for part in _as_list(source)]


def _to_condition(source: Any) -> Any:
    if isinstance(source, models.Filter):
        return to_filter(source)
    if isinstance(source, models.FieldCondition):
        _require_only(source, "key", "match", "range")
        return edge.FieldCondition(source.key, match=_to_match(source.match), range=_to_range(source.range))
    if isinstance(source, models.HasIdCondition):
        return edge.HasIdCondition({id if isinstance(id, int) else str(id) for id in source.has_id})
    if isinstance(source, models.IsEmptyCondition):
        return edge.IsEmptyCondition(source.is_empty.key)
    raise _not_covered(type(source).__name__)


def _number_or_text(value: int | str | bool) -> int | str:
    if isinstance(value, bool):  # the engine takes True for 1, and finds nothing
        raise _not_covered("a match of a truth value")
    return value


_MATCHES: dict[type[BaseModel], Callable[[Any], Any]] = {
    models.MatchValue: lambda match: edge.MatchValue(_number_or_text(match.value)),
    models.MatchAny: lambda match: edge.MatchAny(match.any),
}


def _to_match(source: Any) -> Any:
    if source is None:
        return None
    if type(source) not in _MATCHES:
        raise _not_covered(type(source).__name__)
    return _MATCHES[type(source)](source)


def _to_range(source: Any) -> edge.RangeFloat | None:
    if source is None:
        return None
    if not isinstance(source, models.Range):
        raise _not_covered(type(source).__name__)
    return edge.RangeFloat(gte=source.gte, gt=source.gt, lte=source.lte, lt=source.lt)
