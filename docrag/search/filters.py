"""Filters on the metadata of pages: what users write, what it means, and how a store is asked.

A filter is a mapping such as {"file_name": "report.pdf", "page": [3, 4]}, or a condition: `Is`, `Between`,
`AllOf`, `AnyOf`, `Not`. Page numbers count from 1 here, whether a filter calls them `page` or `page_number`.
In the stored metadata `page_number` counts from 1 and `page` from 0; filters match `page`, since indexes of
an older docrag have no other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from docrag.errors import QueryError
from docrag.store.layout import INTEGERS, KEYWORDS
from docrag.store.payload import OLDER_TEXT_LAYER, TEXT_LAYER
from docrag.store.requests import FieldIsEmpty, FieldMatch, FieldRange, PayloadFilter

if TYPE_CHECKING:
    from docrag.store.base import Store

Value = str | int | float

FIELD_ALIASES = {"file_path": "source", "page_number": "page"}
"""Names that frameworks use for fields, and the names under which pages have them."""


@dataclass(frozen=True, slots=True)
class Is:
    """A field has one of several values.

    Args:
        key: The field, such as file_name, page (from 1) or source (any path of the document).
        values: One or more values.

    Raises:
        QueryError: There is no value, or one is neither text nor a number.

    >>> Is("file_name", ("a.pdf", "b.pdf"))
    Is(key='file_name', values=('a.pdf', 'b.pdf'))
    """

    key: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:  # Qdrant would treat this as no condition at all
            raise QueryError(f"filter {self.key}: there are no values", "give at least one")
        for value in self.values:
            if not isinstance(value, str) and not _is_number(value):
                raise QueryError(
                    f"filter {self.key}={value!r}: the value is neither text nor a number", "give one of them"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """A field is a number within bounds. A bound that is None is open.

    Raises:
        QueryError: There is no bound, or one is not a number.
    """

    key: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.gt, self.gte, self.lt, self.lte) if bound is not None]
        if not bounds:
            raise QueryError(f"filter {self.key}: there is no bound", "give a number")
        for bound in bounds:
            if not _is_number(bound):
                raise QueryError(
                    f"filter {self.key}: the bound {bound!r} is not a number",
                    "only numbers can be compared as greater or less, such as page and total_pages",
                )


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of several conditions hold.

    Raises:
        QueryError: There are no conditions.
    """

    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _require_conditions(self.conditions)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of several conditions holds.

    Raises:
        QueryError: There are no conditions.
    """

    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _require_conditions(self.conditions)


@dataclass(frozen=True, slots=True)
class Not:
    """A condition does not hold."""

    condition: Condition


Condition = Is | Between | AllOf | AnyOf | Not
Filter = Mapping[str, Value | Sequence[Value]] | Condition
"""A mapping means that every field has its value, or one of its values if there are several."""


def compare(key: str, operator: str, value: Any) -> Condition:
    """A comparison as frameworks write it.

    Args:
        key: The field.
        operator: One of `COMPARISONS`.
        value: What the field is compared with; a list for "in" and "not in".

    Raises:
        QueryError: The operator is not supported, or the value cannot be compared.

    >>> compare("page", "not in", [1, 2])
    Not(condition=Is(key='page', values=(1, 2)))
    """
    if operator not in COMPARISONS:
        raise QueryError(
            f"docrag does not support the filter operator {operator!r} of {key}",
            f"one of {', '.join(COMPARISONS)}",
        )
    return COMPARISONS[operator](key, value)


def condition_of(filter: Filter) -> Condition:
    """The condition that a filter means.

    Raises:
        QueryError: The filter is empty, or a value cannot be compared.

    >>> condition_of({"file_name": ["a.pdf", "b.pdf"]})
    AllOf(conditions=(Is(key='file_name', values=('a.pdf', 'b.pdf')),))
    """
    if not isinstance(filter, Mapping):
        return filter
    return AllOf(tuple(Is(key, _as_tuple(values)) for key, values in filter.items()))


def metadata_filter(filter: Filter | None) -> PayloadFilter | None:
    """A filter as a store takes it. `source` matches any of the paths of a document.

    Raises:
        QueryError: A key is not the name of a field, a value cannot be compared, or `page` is not a page
            number.
    """
    if filter is None or filter == {}:
        return None
    condition = _payload_condition(condition_of(filter))
    return condition if isinstance(condition, PayloadFilter) else PayloadFilter(must=(condition,))


def require_fields(store: Store, filter: Filter) -> None:
    """Refuse a filter on a field that no page has. It is called when a search found nothing.

    Args:
        store: The pages. If there are none, every filter is accepted.
        filter: The filter of the search.

    Raises:
        QueryError: No page has one of the fields.
    """
    example = next(store.scroll(payload=["metadata"]), None)
    if example is None:
        return
    for key in dict.fromkeys(_keys(condition_of(filter))):
        if not store.count(PayloadFilter(must_not=(FieldIsEmpty(payload_field(key)),))):
            known = ", ".join(sorted(example.payload["metadata"]))
            raise QueryError(f"filter {key}: no page has such a field", f"pages have {known}")


def payload_field(key: str, value: object = "...") -> str:
    """The payload field that a key of a filter means.

    Args:
        key: The key.
        value: The value it is compared with, for the error.

    Raises:
        QueryError: The key cannot be the name of a field.
    """
    if not re.fullmatch(r"\w[\w.-]*", str(key)):
        raise QueryError(
            f"filter {key}={value}: not the name of a metadata field", "such as file_name=report.pdf"
        )
    name = _field_name(key)
    return "metadata.sources" if name == "source" else f"metadata.{name}"


def _payload_condition(condition: Condition) -> PayloadFilter | FieldMatch | FieldRange:
    match condition:
        case AllOf(conditions):
            return PayloadFilter(must=tuple(_payload_condition(part) for part in conditions))
        case AnyOf(conditions):
            return PayloadFilter(should=tuple(_payload_condition(part) for part in conditions))
        case Not(negated):
            return PayloadFilter(must_not=(_payload_condition(negated),))
        case Between():
            return _field_range(condition)
        case Is(key, values):
            return _field_match(key, values)
    raise QueryError(f"{condition!r} is not a filter", "such as {'file_name': 'report.pdf'}")


def _field_match(key: str, values: Sequence[Value]) -> PayloadFilter | FieldMatch | FieldRange:
    field = payload_field(key, values[0])
    if _field_name(key) == "page":
        return FieldMatch(field, tuple(_page_number(value) - 1 for value in values))
    texts = [str(value) for value in values if not isinstance(value, float)]
    alternatives: list[FieldMatch | FieldRange] = []
    if texts:
        alternatives.append(FieldMatch(field, _stored_values(field, key, texts)))
    for value in values:
        if isinstance(value, float):
            alternatives.append(FieldRange(field, gte=float(value), lte=float(value)))
    return alternatives[0] if len(alternatives) == 1 else PayloadFilter(should=tuple(alternatives))


def _stored_values(field: str, key: str, texts: Sequence[str]) -> tuple[str | int, ...]:
    """Return the values that a field may hold for values of a filter; the command line gives them as text.

    A field with an index is asked for values of its type only, since Qdrant's strict mode refuses others.
    """
    if field == "metadata.words_from" and {TEXT_LAYER, OLDER_TEXT_LAYER} & set(texts):
        return tuple(dict.fromkeys((*texts, TEXT_LAYER, OLDER_TEXT_LAYER)))
    if field in KEYWORDS:
        return tuple(texts)
    integers = [int(text) for text in texts if re.fullmatch(r"-?\d{1,18}", text)]
    if field not in INTEGERS:
        return (*texts, *integers)
    if len(integers) < len(texts):
        raise QueryError(f"filter {key}={', '.join(texts)}: not a whole number", f"such as {key}=12")
    return tuple(integers)


def _field_range(between: Between) -> FieldRange:
    # Page numbers count from 1 in filters and from 0 in the payload.
    offset = 1 if _field_name(between.key) == "page" else 0
    bounds = {"gt": between.gt, "gte": between.gte, "lt": between.lt, "lte": between.lte}
    shifted = {name: float(bound) - offset for name, bound in bounds.items() if bound is not None}
    return FieldRange(payload_field(between.key, "a range"), **shifted)


def _field_name(key: str) -> str:
    return FIELD_ALIASES.get(key, key)


def _page_number(value: Value) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", str(value)):
        raise QueryError(f"filter page={value}: not a page number", "pages count from 1")
    return int(value)


def _keys(condition: Condition) -> Iterator[str]:
    match condition:
        case AllOf(conditions) | AnyOf(conditions):
            for part in conditions:
                yield from _keys(part)
        case Not(negated):
            yield from _keys(negated)
        case Is(key=key) | Between(key=key):
            yield key


def _equal(key: str, value: Any) -> Condition:
    return Is(key, (value,))


def _in(key: str, values: Any) -> Condition:
    if not isinstance(values, list):
        raise QueryError(
            f"filter {key}: {values!r} is not a list", 'the operators "in" and "not in" take a list'
        )
    return Is(key, tuple(values))


def _bound(name: str, key: str, value: Any) -> Condition:
    return Between(key=key, **{name: value})


COMPARISONS: Mapping[str, Callable[[str, Any], Condition]] = {
    "==": _equal,
    "!=": lambda key, value: Not(_equal(key, value)),
    "in": _in,
    "not in": lambda key, values: Not(_in(key, values)),
    ">": partial(_bound, "gt"),
    ">=": partial(_bound, "gte"),
    "<": partial(_bound, "lt"),
    "<=": partial(_bound, "lte"),
}


def _as_tuple(values: Any) -> tuple[Value, ...]:
    several = isinstance(values, Sequence | set | frozenset) and not isinstance(values, str | bytes)
    return tuple(values) if several else (values,)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require_conditions(conditions: tuple[Condition, ...]) -> None:
    if not conditions:
        raise QueryError("the filter has a group without conditions", "leave the group out")
