"""Haystack's filters as docrag's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from haystack import Document

from docrag.errors import QueryError
from docrag.search.filters import COMPARISONS, AllOf, AnyOf, Condition, Not, compare

EXAMPLE = 'such as {"field": "meta.file_name", "operator": "==", "value": "report.pdf"}'


def docrag_filter(filters: Mapping[str, Any] | None) -> Condition | None:
    """What docrag's search takes.

    Args:
        filters: In Haystack's dialect; fields go by the names that they have in a document or in docrag.

    Raises:
        QueryError: It is no such filter, an operator cannot be answered, or a value cannot be compared.
    """
    return _condition(filters) if filters else None


def _condition(given: Any) -> Condition:
    if not isinstance(given, Mapping):
        raise QueryError(f"{given!r} is no filter", EXAMPLE)
    kind, wanted, known = (
        ("comparison", {"field", "operator", "value"}, COMPARISONS)
        if "field" in given
        else ("group", {"operator", "conditions"}, _GROUPS)
    )
    if set(given) != wanted:
        raise QueryError(f"a {kind} has {', '.join(sorted(wanted))}, not {', '.join(given)}", EXAMPLE)
    operator = given["operator"]
    if operator not in known:
        raise QueryError(f"docrag cannot answer the operator {operator!r}", f"one of {', '.join(known)}")
    return _single(given) if kind == "comparison" else _group(given)


def _group(given: Mapping[str, Any]) -> Condition:
    return _GROUPS[given["operator"]](tuple(_condition(one) for one in given["conditions"]))


def _single(given: Mapping[str, Any]) -> Condition:
    field = str(given["field"])
    if field in {part.name for part in fields(Document)}:
        raise QueryError(
            f"docrag cannot filter by a document's {field}", "filter by meta, such as meta.title"
        )
    return compare(field.removeprefix("meta."), given["operator"], given["value"])


_GROUPS: Mapping[str, Callable[[tuple[Condition, ...]], Condition]] = {
    "AND": AllOf,
    "OR": AnyOf,
    "NOT": lambda conditions: Not(AllOf(conditions)),  # as Haystack's own stores: not all hold
}
