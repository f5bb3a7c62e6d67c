"""What a collection allows in one request, and how requests are made to fit.

An administrator, or a cloud by default, may limit the requests to a collection: Qdrant's strict mode. docrag
does not ask for the limits in advance. It reads them once the server has refused something, and from then on
asks for no more than it may.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, overload

from qdrant_client import models

from docrag.errors import InvalidRecord
from docrag.store.layout import page_name
from docrag.store.requests import (
    FieldMatch,
    HasId,
    PayloadCondition,
    PayloadFilter,
    Prefetch,
    QueryRequest,
)
from docrag.types import PageRecord, SparseVector

MAX_SCANNED = 10_000
"""Pages of a collection in which all of them are compared where strict mode refuses a search without a vector
index; in a larger one, the vectors that have an index propose pages."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class CollectionLimits:
    """The limits of a collection. None, and an empty mapping, mean that there is none."""

    query_limit: int | None = None
    """Pages, or values of a field, that one request may ask for: strict mode's max_query_limit."""
    search_batch: int | None = None
    """Queries in one request: search_max_batchsize."""
    upsert_batch: int | None = None
    """Pages that one request may write: upsert_max_batchsize."""
    condition_size: int | None = None
    """Values in one condition of a filter: condition_max_size."""
    allow_exact: bool = True
    """Whether a request may look at every page: search_allow_exact."""
    unindexed: frozenset[str] = frozenset()
    """Names of the vectors that may not be searched, because they have no index; empty if every page may be
    looked at."""
    max_rows: Mapping[str, int] = field(default_factory=dict)
    """By the name of a multi-vector, its largest number of vectors: multivector_config."""
    max_terms: Mapping[str, int] = field(default_factory=dict)
    """By the name of a sparse vector, its largest number of terms: sparse_config."""

    def cap(self, number: int) -> int:
        """Return how many of so many pages or values one request may ask for."""
        return number if self.query_limit is None else min(number, self.query_limit)

    def require_record(self, record: PageRecord) -> None:
        """Refuse a record of which the server would refuse a vector.

        Raises:
            InvalidRecord: A vector is too large; the message names the page, the vector and the limit.
        """
        for name, vector in record.vectors.items():
            if isinstance(vector, SparseVector):
                _require_size(record, name, len(vector.indices), self.max_terms, "sparse_config", "terms")
            elif vector.ndim == 2:
                _require_size(record, name, len(vector), self.max_rows, "multivector_config", "vectors")

    @overload
    def fit_filter(self, filter: PayloadFilter) -> PayloadFilter: ...

    @overload
    def fit_filter(self, filter: None) -> None: ...

    @overload
    def fit_filter(self, filter: PayloadFilter | None) -> PayloadFilter | None: ...

    def fit_filter(self, filter: PayloadFilter | None) -> PayloadFilter | None:
        """Return a filter that means the same, and none of whose conditions has too many values."""
        if filter is None or self.condition_size is None:
            return filter
        return PayloadFilter(
            must=tuple(map(self._fit_condition, filter.must)),
            should=tuple(map(self._fit_condition, filter.should)),
            must_not=tuple(map(self._fit_condition, filter.must_not)),
        )

    def fit_query(self, request: QueryRequest, pages: int) -> list[QueryRequest]:
        """Return queries whose results, one after the other, are those of a query.

        Where a vector without an index may not be searched, all pages of a small collection are compared by
        their ids, which gives the same pages; in a large one only the vectors that have an index propose
        pages.

        Args:
            request: The query.
            pages: About how many pages the collection has; it counts only if vectors are `unindexed`.
        """
        indexed = self._with_indexed(request, pages)
        fitted = replace(
            indexed,
            filter=self.fit_filter(indexed.filter),
            prefetch=tuple(map(self._fit_prefetch, indexed.prefetch)),
            exact=indexed.exact and self.allow_exact,
        )
        size = self.cap(request.limit)
        return [
            replace(fitted, limit=min(size, request.limit - start), offset=request.offset + start)
            for start in range(0, request.limit, size)
        ]

    def _fit_prefetch(self, prefetch: Prefetch) -> Prefetch:
        return replace(
            prefetch,
            limit=self.cap(prefetch.limit),
            filter=self.fit_filter(prefetch.filter),
            prefetch=tuple(map(self._fit_prefetch, prefetch.prefetch)),
        )

    def _with_indexed(self, request: QueryRequest, pages: int) -> QueryRequest:
        """Return a query in which no vector without an index is searched, if there is such a query."""
        indexed = tuple(part for part in request.prefetch if part.using not in self.unindexed)
        searches_unindexed = not request.prefetch and request.using in self.unindexed
        if len(indexed) == len(request.prefetch) and not searches_unindexed:
            return request
        most = self.cap(MAX_SCANNED)
        if pages <= most:
            every_page = Prefetch(None, "", most, request.filter)
            return replace(request, prefetch=(every_page,))
        return replace(request, prefetch=indexed) if indexed else request

    def _fit_condition(self, condition: PayloadCondition) -> PayloadCondition:
        size = self.condition_size
        match condition:
            case PayloadFilter():
                return self.fit_filter(condition)
            case HasId(ids) if size and len(ids) > size:
                return PayloadFilter(should=tuple(HasId(tuple(part)) for part in chunks(ids, size)))
            case FieldMatch(key, values) if size and len(values) > size:
                parts = chunks(values, size)
                return PayloadFilter(should=tuple(FieldMatch(key, tuple(part)) for part in parts))
        return condition


NO_LIMITS = CollectionLimits()
"""The limits of a collection that has none."""


def read_limits(info: models.CollectionInfo) -> CollectionLimits:
    """Return the limits that the server's description of a collection names."""
    strict = info.config.strict_mode_config
    if strict is None or not strict.enabled:
        return NO_LIMITS
    allow_exact = strict.search_allow_exact is not False
    multi = strict.multivector_config or {}
    sparse = strict.sparse_config or {}
    return CollectionLimits(
        query_limit=strict.max_query_limit,
        search_batch=strict.search_max_batchsize,
        upsert_batch=strict.upsert_max_batchsize,
        condition_size=strict.condition_max_size,
        allow_exact=allow_exact,
        unindexed=frozenset() if allow_exact else _unindexed_vectors(info),
        max_rows={name: limit.max_vectors for name, limit in multi.items() if limit.max_vectors},
        max_terms={name: limit.max_length for name, limit in sparse.items() if limit.max_length},
    )


def chunks(items: Sequence[Item], size: int | None) -> Iterator[list[Item]]:
    """Yield parts of a sequence, each of at most `size` items; None means one part.

    >>> list(chunks("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    step = size or max(len(items), 1)
    for start in range(0, len(items), step):
        yield list(items[start : start + step])


def _unindexed_vectors(info: models.CollectionInfo) -> frozenset[str]:
    """Return the vectors without an HNSW graph over all pages; sparse ones always have an index."""
    vectors = info.config.params.vectors
    named = vectors if isinstance(vectors, dict) else {}
    default = info.config.hnsw_config.m
    return frozenset(name for name, params in named.items() if _links(params, default) == 0)


def _links(params: models.VectorParams, default: int) -> int:
    """Return how many links each page has in the HNSW graph of a vector."""
    own = params.hnsw_config.m if params.hnsw_config else None
    return default if own is None else own


def _require_size(
    record: PageRecord, name: str, size: int, limits: Mapping[str, int], setting: str, unit: str
) -> None:
    limit = limits.get(name)
    if limit is not None and size > limit:
        raise InvalidRecord(
            f"{page_name(record)}: {name} has {size} {unit}, and the server accepts {limit}",
            f"raise {setting} in the strict mode of the collection",
        )
