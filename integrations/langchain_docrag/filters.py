"""Metadata of a document as a point keeps them, and the filters that find them again."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from qdrant_client import models

from docrag.errors import InvalidRecord, QueryError

FLAGS = "flags"
"""The field with the truth values of the metadata, as texts: qdrant-edge matches no truth values."""

_WHOLE = 2**63
_EXACT = 2**53
"""Above it, integers are no longer exact as the float that a range takes."""

Keys = tuple[str, ...]
_HINT = "keep texts, numbers, truth values, None, and lists and mappings of them"


def plain(metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A copy that comes back from any engine as it went in; of tuples become lists.

    Args:
        metadata: Of a document.
        name: What an error calls the document.

    Raises:
        InvalidRecord: There is something else in it than JSON, a key that is no text, or too large a number.
    """
    copy: dict[str, Any] = _plain(metadata, (), name)
    try:
        json.dumps(copy, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _unfit(name, (), f"{error.object[error.start : error.end]!r} is not Unicode") from error
    return copy


def flags(metadata: Mapping[str, Any]) -> list[str]:
    """The truth values in metadata, as texts, by where they stand.

    >>> flags({"open": True, "by": {"ship": False}})
    ['"open"=true', '"by"."ship"=false']
    """
    return list(_flags(metadata, ()))


def text_filter(wanted: Mapping[str, Any]) -> models.Filter | None:
    """Points whose metadata have all these values; a list means any of its values, None none at all.

    A list in the metadata has a value where one of its items has it. A mapping looks into the mapping that
    stands at its key.

    Raises:
        QueryError: A value cannot be compared, or a key cannot be looked for.
    """
    return models.Filter(must=list(_conditions((), wanted))) if wanted else None


def _plain(value: Any, keys: Keys, name: str) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise _unfit(name, keys, f"the key {key!r} is no text")
        return {key: _plain(one, (*keys, key), name) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, keys, name) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise _unfit(name, keys, f"{value} is not JSON")
    if isinstance(value, int) and not -_WHOLE <= value < _WHOLE:
        raise _unfit(name, keys, f"{value} has more than 64 bits")
    if value is None or isinstance(value, str | int | float):
        return value
    raise _unfit(name, keys, f"{type(value).__name__} is not JSON")


def _unfit(name: str, keys: Keys, why: str) -> InvalidRecord:
    where = f", {'.'.join(keys)}" if keys else ""
    return InvalidRecord(f"metadata of {name}{where}: {why}", _HINT)


def _flags(value: Any, keys: Keys) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flags(one, (*keys, key))
    elif isinstance(value, list):
        for one in value:
            yield from _flags(one, keys)
    elif isinstance(value, bool):
        yield _flag(keys, value)


def _flag(keys: Keys, value: bool) -> str:
    return f"{'.'.join(json.dumps(key) for key in keys)}={json.dumps(value)}"


def _conditions(keys: Keys, wanted: Mapping[str, Any]) -> Iterator[models.Condition]:
    for key, value in wanted.items():
        if not isinstance(key, str) or '"' in key or "\\" in key:
            raise QueryError(f"filter {key!r}: not a key that can be looked for", "a text without quotes")
        if isinstance(value, Mapping) and value:
            yield from _conditions((*keys, key), value)
        else:
            yield _condition((*keys, key), value)


def _condition(keys: Keys, value: Any) -> models.Condition:
    if isinstance(value, list | tuple | set | frozenset) and value:
        return models.Filter(should=[_condition(keys, one) for one in value])
    for kinds, make in _MAKERS:
        if isinstance(value, kinds):
            return make(keys, value)
    hint = "a text, a number, a truth value, None, or a list of them that is not empty"
    raise QueryError(f"filter {'.'.join(keys)}={value!r} cannot be compared", hint)


def _number(keys: Keys, value: float) -> models.Condition:
    """1 is 1.0, as it is for Python; only a range compares so."""
    if not math.isfinite(value):
        raise QueryError(f"filter {'.'.join(keys)}={value} cannot be compared", "give a number")
    if isinstance(value, int) and abs(value) > _EXACT:
        return _match(_field(keys), value)
    return models.FieldCondition(key=_field(keys), range=models.Range(gte=value, lte=value))


def _none(keys: Keys, value: None) -> models.Condition:
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=_field(keys)))


def _match(field: str, value: str | int) -> models.Condition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def _field(keys: Sequence[str]) -> str:
    """Where Qdrant finds a value: names that are no plain words stand in quotes."""
    named = (key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"' for key in keys)
    return ".".join(("metadata", *named))


_MAKERS: Sequence[tuple[Any, Callable[[Keys, Any], models.Condition]]] = (
    (bool, lambda keys, value: _match(FLAGS, _flag(keys, value))),  # before int, which a truth value is too
    (int | float, _number),
    (str, lambda keys, value: _match(_field(keys), value)),
    (type(None), _none),
)
