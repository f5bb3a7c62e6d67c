"""Translates docrag's queries and filters to what a Qdrant server is sent.

Filters become the models of qdrant-client, and from these JSON and protobuf. Queries become both directly,
because their vectors would become lists of floats in the models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from qdrant_client import grpc as proto
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc

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
from docrag.store.server.vectors import query_json, query_message


def query_body(source: QueryRequest) -> dict[str, Any]:
    """Translate a query with all its prefetches to JSON, for orjson with OPT_SERIALIZE_NUMPY."""
    body = _stage_body(source)
    params = _to_params(source)
    if params is not None:
        body["params"] = _as_json(params)
    if source.offset:
        body["offset"] = source.offset
    return body


def query_points(source: QueryRequest, collection: str, **selectors: Any) -> Any:
    """Translate a query with all its prefetches to the protobuf message QueryPoints.

    Args:
        source: The query.
        collection: The collection that it searches.
        selectors: More fields of the message: what is returned with each page.
    """
    params = _to_params(source)
    return proto.QueryPoints(
        collection_name=collection,
        params=None if params is None else RestToGrpc.convert_search_params(params),
        offset=source.offset or None,
        **_stage_fields(source),
        **selectors,
    )


def filter_json(source: PayloadFilter) -> dict[str, Any]:
    """Translate a filter to JSON; errors as for `to_filter`."""
    return _as_json(to_filter(source))


def filter_message(source: PayloadFilter) -> Any:
    """Translate a filter to the protobuf message Filter; errors as for `to_filter`."""
    return RestToGrpc.convert_filter(to_filter(source))


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


def _stage_body(source: QueryRequest | Prefetch) -> dict[str, Any]:
    """Translate what a query and a prefetch have in common to JSON."""
    body: dict[str, Any] = {"limit": source.limit}
    if source.vector is not None:
        body |= {"query": query_json(source.vector), "using": source.using}
    if source.filter is not None:
        body["filter"] = filter_json(source.filter)
    if source.prefetch:
        body["prefetch"] = list(map(_stage_body, source.prefetch))
    return body


def _stage_fields(source: QueryRequest | Prefetch) -> dict[str, Any]:
    """Translate what a query and a prefetch have in common to the fields of their protobuf messages."""
    return {
        "query": None if source.vector is None else query_message(source.vector),
        "using": source.using or None,
        "limit": source.limit,
        "filter": None if source.filter is None else filter_message(source.filter),
        "prefetch": [proto.PrefetchQuery(**_stage_fields(prefetch)) for prefetch in source.prefetch],
    }


def _as_json(model: models.Filter | models.SearchParams) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


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
