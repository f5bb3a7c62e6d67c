"""What a Qdrant server refuses in strict mode, and to whom it refuses what, in the words of version 1.19.

The stand-ins ask here before they carry out a request. The checks are those of lib/collection/src/operations/
verification, in their order, and of lib/storage/src/rbac in Qdrant's source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import QdrantClient, models


@dataclass(frozen=True)
class Key:
    """What a key may do: everything; read everything; or, in some collections, read or write."""

    access: str = "m"
    """m (everything), r (read everything), or for `collections` r, rw or prw (points alone)."""
    collections: tuple[str, ...] = ()

    def refusal(self, operation: str, collection: str) -> str:
        """Why a request is forbidden; empty if it is not.

        Args:
            operation: read, write (points), index (of the payload), or manage (collections and aliases).
            collection: The name in the request, for which alone the key counts: not for the collection behind
                an alias. Empty for requests about none, or about all.
        """
        if not self.collections:
            if self.access == "r" and operation != "read":
                return "Global manage access is required"
            return ""
        if operation == "manage":
            return "Global access is required"
        if not collection:
            return ""  # lists show only what the key covers
        if collection not in self.collections:
            return f"Access to collection {collection} is required"
        if operation == "index" and self.access == "prw":
            return f"Only points access is allowed for collection {collection}"
        if operation in ("write", "index") and self.access == "r":
            return f"Write access to collection {collection} is required"
        return ""


class Forbidden(Exception):
    """A key does not allow a request."""


@dataclass
class Rules:
    """What a stand-in refuses; a test may change it at any time."""

    strict: models.StrictModeConfig | None = None
    """Of all its collections."""
    key: Key = field(default_factory=Key)
    indexed: dict[str, str] = field(default_factory=dict)
    """The kind of the index of each payload field that has one, such as keyword."""

    def check(self, db: QdrantClient, operation: str, collection: str, body: Any) -> None:
        """Refuse a request.

        Args:
            db: Holds the collections.
            operation: As for `Key.refusal`.
            collection: The name in the request; empty for requests about none, or about all.
            body: The request, as a model of the client; None without one.

        Raises:
            Forbidden: The key does not allow it.
            ValueError: Strict mode does not.
        """
        forbidden = self.key.refusal(operation, collection)
        if forbidden:
            raise Forbidden(f"Forbidden: {forbidden}")
        if self.strict and self.strict.enabled and collection and db.collection_exists(collection):
            info = db.get_collection(collection)
            for reason in _refusals(self.strict, info, self.indexed, body):
                raise ValueError(f"Bad request: {reason}")
        if isinstance(body, models.CreateFieldIndex):
            schema = body.field_schema
            self.indexed[body.field_name] = str(getattr(schema, "type", schema).value)

    def describe(self, info: models.CollectionInfo) -> models.CollectionInfo:
        """What a server tells of a collection."""
        if self.strict:
            told = self.strict.model_dump()
            info.config.strict_mode_config = models.StrictModeConfigOutput.model_validate(told)
        return info

    def shown(self, names: list[str]) -> list[str]:
        """The collections, or aliases, that a list shows."""
        return [name for name in names if not self.key.refusal("read", name)]


def _refusals(
    config: models.StrictModeConfig, info: models.CollectionInfo, indexed: Any, body: Any
) -> Iterator[str]:
    match body:
        case models.QueryRequestBatch(searches=searches):
            yield from _over(len(searches), config.search_max_batchsize, "search batch size")
            for query in searches:
                yield from _query(config, info, indexed, query, outermost=True)
        case models.ScrollRequest():
            yield from _over(body.limit or 10, config.max_query_limit, "limit")
            yield from _filter(config, indexed, body.filter, config.unindexed_filtering_retrieve)
        case models.CountRequest():
            yield from _filter(config, indexed, body.filter, config.unindexed_filtering_retrieve)
            yield from _exact(config, body.exact is not False)
        case models.FacetRequest():
            yield from _over(body.limit or 10, config.max_query_limit, "limit")
            yield from _filter(config, indexed, body.filter, config.unindexed_filtering_retrieve)
            yield from _exact(config, bool(body.exact))
        case _:
            yield from _refused_changes(config, info, indexed, body)


def _refused_changes(
    config: models.StrictModeConfig, info: models.CollectionInfo, indexed: Any, body: Any
) -> Iterator[str]:
    unindexed = config.unindexed_filtering_update
    match body:
        case models.PointsList(points=points):
            yield from _upsert(config, info, points)
        case models.SetPayload() | models.FilterSelector():
            yield from _filter(config, indexed, body.filter, unindexed)
        case models.UpdateOperations(operations=operations):
            for operation in operations:
                change = next(iter(dict(operation).values()))
                yield from _filter(config, indexed, getattr(change, "filter", None), unindexed)
        case models.CreateFieldIndex():
            most = config.max_payload_index_count
            if most is not None and len(indexed) >= most:
                yield _help(
                    f"Collection already has the maximum number of payload indices ({most})",
                    "Please delete an existing index before creating a new one.",
                )


def _query(
    config: models.StrictModeConfig, info: models.CollectionInfo, indexed: Any, query: Any, outermost: bool
) -> Iterator[str]:
    prefetches = query.prefetch or []
    for prefetch in prefetches:
        yield from _query(config, info, indexed, prefetch, outermost=False)
    if query.query is not None and not (outermost and prefetches):
        yield from _full_scan(config, info, query.using)
    yield from _over(query.limit or 10, config.max_query_limit, "limit")
    yield from _filter(config, indexed, query.filter, config.unindexed_filtering_retrieve)
    yield from _exact(config, bool(query.params and query.params.exact))


def _full_scan(config: models.StrictModeConfig, info: models.CollectionInfo, using: str) -> Iterator[str]:
    params = info.config.params
    if config.search_allow_exact is not False or using in (params.sparse_vectors or {}):
        return
    own = params.vectors[using].hnsw_config
    if own is not None and own.m == 0:
        yield _help(
            f"Request is forbidden on '{using}' because global vector indexing is disabled "
            "(hnsw_config.m = 0)",
            "Use tenant-specific filter, enable global vector indexing or enable strict mode "
            "`search_allow_exact` option",
        )


def _upsert(
    config: models.StrictModeConfig, info: models.CollectionInfo, points: Sequence[models.PointStruct]
) -> Iterator[str]:
    yield from _over(len(points), config.upsert_max_batchsize, "upsert limit")
    most = config.max_points_count
    if most is not None and (info.points_count or 0) >= most:
        yield f"Max points count limit of {most} reached!"
    for point in points:
        for name, vector in point.vector.items():
            multi = (config.multivector_config or {}).get(name)
            if multi and len(vector) > multi.max_vectors:
                yield (
                    f"Multivector '{name}' has a limit of {multi.max_vectors} vectors, but {len(vector)} "
                    "were provided!"
                )
            sparse = (config.sparse_config or {}).get(name)
            if sparse and len(vector.indices) > sparse.max_length:
                yield (
                    f"Sparse vector '{name}' has a limit of {sparse.max_length} indices, but "
                    f"{len(vector.indices)} were provided!"
                )


def _filter(
    config: models.StrictModeConfig, indexed: Any, filter: models.Filter | None, unindexed: bool | None
) -> Iterator[str]:
    if filter is None:
        return
    if unindexed is False:
        for key, kinds in _indexes_needed(filter):
            if indexed.get(key) not in (kinds or indexed.values()):
                listed = ", ".join(sorted(kinds))
                yield _help(
                    f'Index required but not found for "{key}" of one of the following types: [{listed}]',
                    "Create an index for this key or use a different filter.",
                )
    most, count = config.filter_max_conditions, _count(filter)
    if most is not None and count > most:
        yield _help(
            f"Filter condition limit reached ({count} > {most})",
            "Reduce the amount of conditions of your filter.",
        )
    most, size = config.condition_max_size, _size(filter)
    if most is not None and size > most:
        yield _help(f"Condition size limit reached ({size} > {most})", "Reduce the size of your condition.")


def _conditions(filter: models.Filter) -> list[Any]:
    return [*(filter.must or []), *(filter.must_not or []), *(filter.should or [])]


def _indexes_needed(filter: models.Filter) -> Iterator[tuple[str, frozenset[str]]]:
    """The fields of a filter with the kinds of index of which each needs one; none means any kind."""
    for condition in _conditions(filter):
        match condition:
            case models.Filter():
                yield from _indexes_needed(condition)
            case models.IsEmptyCondition():
                yield condition.is_empty.key, frozenset()
            case models.FieldCondition(match=None):
                yield condition.key, frozenset({"integer", "float"})
            case models.FieldCondition(match=match):
                values = dict(match).get("any") or dict(match).get("except_") or [dict(match).get("value")]
                kind = "integer" if isinstance(values[0], int) else "keyword"
                yield condition.key, frozenset({kind})


def _count(filter: models.Filter) -> int:
    return sum(_count(part) if isinstance(part, models.Filter) else 1 for part in _conditions(filter))


def _size(filter: models.Filter) -> int:
    return max(map(_condition_size, _conditions(filter)), default=0)


def _condition_size(condition: Any) -> int:
    match condition:
        case models.Filter():
            return _size(condition)
        case models.HasIdCondition(has_id=ids):
            return len(ids)
        case models.FieldCondition(match=models.MatchAny(any=values)):
            return len(values)
        case models.FieldCondition(match=models.MatchExcept(except_=values)):
            return len(values)
    return 0


def _over(value: int, most: int | None, name: str) -> Iterator[str]:
    if most is not None and value > most:
        yield _help(
            f'Limit exceeded {value} > {most} for "{name}"',
            f'Reduce the "{name}" parameter to or below {most}.',
        )


def _exact(config: models.StrictModeConfig, exact: bool) -> Iterator[str]:
    if exact and config.search_allow_exact is False:
        yield _help("Exact search disabled!", "Set exact=false.")


def _help(error: str, solution: str) -> str:
    return f"{error}. Help: {solution}"
