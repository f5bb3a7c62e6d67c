"""Haystack filters as docrag's."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from haystack import Document

from docrag.errors import QueryError
from docrag.search.filters import COMPARISONS, AllOf, AnyOf, Condition, Not, compare

logger = logging.getLogger(__name__)

EXAMPLE = 'such as {"field": "meta.file_name", "operator": "==", "value": "report.pdf"}'
GROUP_OPERATORS = ("AND", "OR", "NOT")


def translate_haystack_filter(filters: Mapping[str, Any] | None) -> Condition | None:
    """Translate a filter for docrag's search.

    Args:
        filters: A filter in Haystack's syntax. Fields may have the names that they have in a document or in
            docrag.

    Raises:
        QueryError: The filter is malformed, an operator is not supported, or a value cannot be compared.
    """
    if not filters:
        return None
    condition = _condition(filters)
    logger.debug("translated a Haystack filter to %s", condition)
    return condition


def _condition(filter: Any) -> Condition:
    if not isinstance(filter, Mapping):
        raise QueryError(f"{filter!r} is not a filter", EXAMPLE)
    if "field" in filter:
        _require_keys(filter, "comparison", {"field", "operator", "value"})
        _require_operator(filter["operator"], COMPARISONS)
        return _comparison(filter)
    _require_keys(filter, "group", {"operator", "conditions"})
    _require_operator(filter["operator"], GROUP_OPERATORS)
    return _group(filter)


def _require_keys(filter: Mapping[str, Any], kind: str, keys: set[str]) -> None:
    if set(filter) != keys:
        raise QueryError(f"a {kind} has {', '.join(sorted(keys))}, not {', '.join(filter)}", EXAMPLE)


def _require_operator(operator: Any, supported: Collection[str]) -> None:
    if operator not in supported:
        raise QueryError(
            f"docrag does not support the operator {operator!r}", f"one of {', '.join(supported)}"
        )


def _group(filter: Mapping[str, Any]) -> Condition:
    conditions = tuple(_condition(item) for item in filter["conditions"])
    if filter["operator"] == "AND":
        return AllOf(conditions)
    if filter["operator"] == "OR":
        return AnyOf(conditions)
    return Not(AllOf(conditions))  # as in Haystack's own stores: not all conditions hold


def _comparison(filter: Mapping[str, Any]) -> Condition:
    name = str(filter["field"])
    if name in {field.name for field in fields(Document)}:
        raise QueryError(
            f"docrag cannot filter by a document's {name}", "filter by metadata, such as meta.title"
        )
    return compare(name.removeprefix("meta."), filter["operator"], filter["value"])
