"""What a page's metadata must be like: the filters that a search takes, beyond equal values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from docrag.errors import QueryError

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Is:
    """A field has one of some values.

    Args:
        key: Such as file_name, page (from 1) or source (any path at which the document stands).
        values: One or more.

    Raises:
        QueryError: There is no value, or one is neither text nor a number.

    >>> Is("file_name", ("a.pdf", "b.pdf"))
    Is(key='file_name', values=('a.pdf', 'b.pdf'))
    """

    key: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:  # Qdrant would take it for no condition at all
            raise QueryError(f"filter {self.key}: there are no values", "give at least one")
        for value in self.values:
            if not isinstance(value, str) and not _is_number(value):
                raise QueryError(
                    f"filter {self.key}={value!r}: neither text nor a number", "give one of them"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """A field is a number within bounds; those that are None are open.

    Raises:
        QueryError: There is no bound, or one is no number.
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
                hint = "only numbers are greater or less, such as page and total_pages"
                raise QueryError(f"filter {self.key}: the bound {bound!r} is no number", hint)


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of some conditions holds.

    Raises:
        QueryError: There is none.
    """

    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _require_some(self.conditions)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of some conditions holds.

    Raises:
        QueryError: There is none.
    """

    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        _require_some(self.conditions)


@dataclass(frozen=True, slots=True)
class Not:
    """A condition does not hold."""

    condition: Condition


Condition = Is | Between | AllOf | AnyOf | Not
Filter = Mapping[str, Value | Sequence[Value]] | Condition
"""A mapping means that every field has its value, or one of its values where there are several."""


def compare(key: str, operator: str, value: Any) -> Condition:
    """A comparison as frameworks write it.

    Args:
        key: Of a field.
        operator: One of `COMPARISONS`.
        value: A list for "in" and "not in".

    Raises:
        QueryError: The operator cannot be answered, or the value cannot be compared.

    >>> compare("page", "not in", [1, 2])
    Not(condition=Is(key='page', values=(1, 2)))
    """
    if operator not in COMPARISONS:
        known = f"one of {', '.join(COMPARISONS)}"
        raise QueryError(f"docrag cannot answer the filter operator {operator!r} of {key}", known)
    return COMPARISONS[operator](key, value)


def condition_of(filter: Filter) -> Condition:
    """The condition that a filter means.

    Raises:
        QueryError: It is empty, or a value cannot be compared.

    >>> condition_of({"file_name": ["a.pdf", "b.pdf"]})
    AllOf(conditions=(Is(key='file_name', values=('a.pdf', 'b.pdf')),))
    """
    if not isinstance(filter, Mapping):
        return filter
    return AllOf(tuple(Is(key, _values(given)) for key, given in filter.items()))


def _equal(key: str, value: Any) -> Condition:
    return Is(key, (value,))


def _in(key: str, values: Any) -> Condition:
    if not isinstance(values, list):
        raise QueryError(f"filter {key}: {values!r} is no list", "the operators in and not in take a list")
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


def _values(given: Any) -> tuple[Value, ...]:
    several = isinstance(given, Sequence | set | frozenset) and not isinstance(given, str | bytes)
    return tuple(given) if several else (given,)


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)


def _require_some(conditions: tuple[Condition, ...]) -> None:
    if not conditions:
        raise QueryError("the filter has a group without conditions", "leave the group out")
