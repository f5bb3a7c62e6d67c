"""Haystack's filters as docrag's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from haystack import Document

from docrag.errors import QueryError
from docrag.search.conditions import AllOf, AnyOf, Between, Condition, Is, Not

DOCRAG_NAMES = {"file_path": "source", "page_number": "page"}
"""Metadata of a document that docrag knows by another name."""
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
        ("comparison", {"field", "operator", "value"}, _COMPARISONS)
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
    name = field.removeprefix("meta.")
    return _COMPARISONS[given["operator"]](DOCRAG_NAMES.get(name, name), given["value"])


def _equal(key: str, value: Any) -> Condition:
    return Is(key, (value,))


def _in(key: str, values: Any) -> Condition:
    if not isinstance(values, list):
        raise QueryError(f"filter {key}: {values!r} is no list", "the operators in and not in take a list")
    return Is(key, tuple(values))


def _bound(name: str, key: str, value: Any) -> Condition:
    return Between(key=key, **{name: value})


_COMPARISONS: Mapping[str, Callable[[str, Any], Condition]] = {
    "==": _equal,
    "!=": lambda key, value: Not(_equal(key, value)),
    "in": _in,
    "not in": lambda key, values: Not(_in(key, values)),
    ">": partial(_bound, "gt"),
    ">=": partial(_bound, "gte"),
    "<": partial(_bound, "lt"),
    "<=": partial(_bound, "lte"),
}
_GROUPS: Mapping[str, Callable[[tuple[Condition, ...]], Condition]] = {
    "AND": AllOf,
    "OR": AnyOf,
    "NOT": lambda conditions: Not(AllOf(conditions)),  # as Haystack's own stores: not all hold
}
