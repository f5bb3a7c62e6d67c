"""LlamaIndex filters as docrag's."""

from __future__ import annotations

import logging

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from docrag.search.filters import AllOf, AnyOf, Condition, Filter, Not, compare

logger = logging.getLogger(__name__)


def translate_llama_index_filter(filter: MetadataFilters | Filter | None) -> Filter | None:
    """Translate a filter for docrag's search; one that docrag understands already is returned as it is.

    Args:
        filter: Fields may have the names that they have in a node or in docrag.

    Raises:
        QueryError: An operator is not supported, or a value cannot be compared.
    """
    if not isinstance(filter, MetadataFilters):
        return filter
    if not filter.filters:
        return None
    condition = _group(filter)
    logger.debug("translated a LlamaIndex filter to %s", condition)
    return condition


def _group(filters: MetadataFilters) -> Condition:
    conditions = tuple(
        _group(item) if isinstance(item, MetadataFilters) else _comparison(item) for item in filters.filters
    )
    condition = filters.condition or FilterCondition.AND
    if condition == FilterCondition.AND:
        return AllOf(conditions)
    if condition == FilterCondition.OR:
        return AnyOf(conditions)
    return Not(AnyOf(conditions))  # as in LlamaIndex's own stores: none of the conditions holds


def _comparison(filter: MetadataFilter) -> Condition:
    operator = "not in" if filter.operator == FilterOperator.NIN else filter.operator.value
    return compare(filter.key, operator, filter.value)
