"""LlamaIndex's filters as docrag's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from docrag.errors import QueryError
from docrag.search.conditions import AllOf, AnyOf, Between, Condition, Filter, Is, Not

DOCRAG_NAMES = {"file_path": "source", "page_number": "page"}
"""Metadata of a node that docrag knows by another name."""


def docrag_filter(filter: MetadataFilters | Filter | None) -> Filter | None:
    """What docrag's search takes; fields go by the names that they have in a node or in docrag.

    Raises:
        QueryError: An operator cannot be answered, or a value cannot be compared.
    """
    if isinstance(filter, MetadataFilters):
        return _group(filter) if filter.filters else None
    if isinstance(filter, Mapping):
        return {DOCRAG_NAMES.get(key, key): value for key, value in filter.items()}
    return filter


def _group(filters: MetadataFilters) -> Condition:
    return _GROUPS[filters.condition or FilterCondition.AND](
        tuple(_group(one) if isinstance(one, MetadataFilters) else _single(one) for one in filters.filters)
    )


def _single(filter: MetadataFilter) -> Condition:
    if filter.operator not in _OPERATORS:
        known = ", ".join(operator.value for operator in _OPERATORS)
        raise QueryError(
            f"docrag cannot answer the filter operator {filter.operator.value!r} of {filter.key}",
            f"one of {known}",
        )
    return _OPERATORS[filter.operator](DOCRAG_NAMES.get(filter.key, filter.key), filter.value)


def _equal(key: str, value: Any) -> Condition:
    return Is(key, (value,))


def _in(key: str, values: Any) -> Condition:
    if not isinstance(values, list):
        raise QueryError(f"filter {key}: {values!r} is no list", "the operators in and nin take a list")
    return Is(key, tuple(values))


def _bound(name: str, key: str, value: Any) -> Condition:
    return Between(key=key, **{name: value})


_OPERATORS: Mapping[FilterOperator, Callable[[str, Any], Condition]] = {
    FilterOperator.EQ: _equal,
    FilterOperator.NE: lambda key, value: Not(_equal(key, value)),
    FilterOperator.IN: _in,
    FilterOperator.NIN: lambda key, values: Not(_in(key, values)),
    FilterOperator.GT: partial(_bound, "gt"),
    FilterOperator.GTE: partial(_bound, "gte"),
    FilterOperator.LT: partial(_bound, "lt"),
    FilterOperator.LTE: partial(_bound, "lte"),
}
_GROUPS: Mapping[FilterCondition, Callable[[tuple[Condition, ...]], Condition]] = {
    FilterCondition.AND: AllOf,
    FilterCondition.OR: AnyOf,
    FilterCondition.NOT: lambda conditions: Not(AnyOf(conditions)),  # as LlamaIndex's own stores: none holds
}
