"""LlamaIndex's filters as docrag's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from docrag.search.filters import AllOf, AnyOf, Condition, Filter, Not, compare


def docrag_filter(filter: MetadataFilters | Filter | None) -> Filter | None:
    """What docrag's search takes; fields go by the names that they have in a node or in docrag.

    Raises:
        QueryError: An operator cannot be answered, or a value cannot be compared.
    """
    if isinstance(filter, MetadataFilters):
        return _group(filter) if filter.filters else None
    return filter


def _group(filters: MetadataFilters) -> Condition:
    return _GROUPS[filters.condition or FilterCondition.AND](
        tuple(_group(one) if isinstance(one, MetadataFilters) else _single(one) for one in filters.filters)
    )


def _single(filter: MetadataFilter) -> Condition:
    operator = "not in" if filter.operator == FilterOperator.NIN else filter.operator.value
    return compare(filter.key, operator, filter.value)


_GROUPS: Mapping[FilterCondition, Callable[[tuple[Condition, ...]], Condition]] = {
    FilterCondition.AND: AllOf,
    FilterCondition.OR: AnyOf,
    FilterCondition.NOT: lambda conditions: Not(AnyOf(conditions)),  # as LlamaIndex's own stores: none holds
}
