"""What a store is asked: queries, and filters on the payload of pages.

The terms are Qdrant's, and both engines are asked with these classes: `docrag.store.local` and
`docrag.store.server` translate them into the classes of their client. They hold plain values, numpy arrays
and each other only, so that they can also be sent to another process.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from docrag.errors import StoreError
from docrag.types import Vector


@dataclass(frozen=True, slots=True)
class FieldMatch:
    """A payload field has one of several values; of a field that holds a list, one item does.

    Raises:
        StoreError: There is no value, which Qdrant would treat as no condition; or one is a boolean, which
            qdrant-edge does not match.
    """

    key: str
    """The path of the field, such as metadata.page, which counts from 0."""
    values: tuple[str | int, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise StoreError(f"a match of {self.key} has no values", "give at least one")
        if any(isinstance(value, bool) for value in self.values):
            raise StoreError(
                f"a match of {self.key} has a boolean among {self.values!r}", "match strings or integers"
            )

    def values_by_type(self) -> list[list[str] | list[int]]:
        """Return the strings and the integers; one condition of an engine takes values of one type only.

        >>> FieldMatch("metadata.title", (2023, "Ferry", "2023")).values_by_type()
        [['Ferry', '2023'], [2023]]
        """
        strings = [value for value in self.values if isinstance(value, str)]
        integers = [value for value in self.values if isinstance(value, int)]
        return [group for group in (strings, integers) if group]


@dataclass(frozen=True, slots=True)
class FieldRange:
    """A payload field is a number within bounds; a bound that is None is open."""

    key: str
    """The path of the field."""
    _: KW_ONLY
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class FieldIsEmpty:
    """A payload field does not exist, or holds null or an empty list."""

    key: str
    """The path of the field."""


@dataclass(frozen=True, slots=True)
class HasId:
    """A page has one of several ids."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PayloadFilter:
    """Conditions on a page. A filter without any matches every page."""

    must: tuple[PayloadCondition, ...] = ()
    """All of them hold."""
    should: tuple[PayloadCondition, ...] = ()
    """At least one of them holds, unless there are none."""
    must_not: tuple[PayloadCondition, ...] = ()
    """None of them holds."""


PayloadCondition = FieldMatch | FieldRange | FieldIsEmpty | HasId | PayloadFilter


# Arrays have no single truth value that `==` could return, so queries are equal to themselves only.
@dataclass(frozen=True, slots=True, eq=False)
class Prefetch:
    """The nearest pages by one vector, among which the query that has it, or another prefetch, searches."""

    vector: Vector | None
    """(n, dim) for a multi-vector, (dim,) for a dense vector, or a sparse vector. None compares nothing, and
    gives pages in the order of their ids."""
    using: str
    """The name of the stored vector that it is compared with."""
    limit: int
    """How many pages are passed on."""
    filter: PayloadFilter | None = None
    prefetch: tuple[Prefetch, ...] = ()
    """Where the pages come from: only pages that one of these returns; without any, every page."""


@dataclass(frozen=True, slots=True, eq=False)
class QueryRequest:
    """A query for the nearest pages by one vector."""

    vector: Vector
    """(n, dim) for a multi-vector, (dim,) for a dense vector, or a sparse vector."""
    using: str
    """The name of the stored vector that it is compared with."""
    limit: int
    """How many pages are returned."""
    filter: PayloadFilter | None = None
    prefetch: tuple[Prefetch, ...] = ()
    """Where the pages come from: only pages that one of these returns; without any, every page."""
    exact: bool = False
    """Whether every page is compared, without an approximate index."""
    ignore_quantization: bool = False
    """Whether the stored vectors are compared, and not their quantized copies."""
    offset: int = 0
    """How many of the nearest pages are left out at the beginning."""
