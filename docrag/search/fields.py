"""Filters on a field that no page has: a slip of the pen, which an empty answer would hide."""

from __future__ import annotations

from collections.abc import Iterator

from qdrant_client import models

from docrag.errors import QueryError
from docrag.search.filters import AllOf, AnyOf, Between, Condition, Filter, Is, Not, condition_of
from docrag.search.plan import field_of
from docrag.store.base import Store


def require_fields(store: Store, filter: Filter) -> None:
    """Refuse a filter on a field that no page of the index has; for searches that found nothing.

    Args:
        store: The pages; where there are none, every filter is as good.
        filter: As it was asked.

    Raises:
        QueryError: A field is on no page.
    """
    example = next(store.scroll(payload=["metadata"]), None)
    if example is None:
        return
    for key in dict.fromkeys(_keys(condition_of(filter))):
        field = field_of(key)
        empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
        if not store.count(models.Filter(must_not=[empty])):
            known = ", ".join(sorted(example.payload["metadata"]))
            raise QueryError(f"filter {key}: no page has such a field", f"pages have {known}")


def _keys(condition: Condition) -> Iterator[str]:
    match condition:
        case AllOf(conditions) | AnyOf(conditions):
            for one in conditions:
                yield from _keys(one)
        case Not(one):
            yield from _keys(one)
        case Is(key=key) | Between(key=key):
            yield key
