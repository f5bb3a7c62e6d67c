"""What a page's metadata must be like: the filters that a search takes, beyond equal values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def _values(given: Any) -> tuple[Value, ...]:
    several = isinstance(given, Sequence | set | frozenset) and not isinstance(given, str | bytes)
    return tuple(given) if several else (given,)


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)


def _require_some(conditions: tuple[Condition, ...]) -> None:
    if not conditions:
        raise QueryError("the filter has a group without conditions", "leave the group out")
