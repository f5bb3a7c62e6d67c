"""The metadata of texts in a vector store: what can be stored, and the filters that find it again."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from docrag.errors import InvalidRecord, QueryError
from docrag.store.requests import FieldIsEmpty, FieldMatch, FieldRange, PayloadCondition, PayloadFilter

logger = logging.getLogger(__name__)

FLAGS = "flags"
"""The payload field with the booleans of the metadata, as strings: qdrant-edge does not match booleans."""

Keys = tuple[str, ...]
"""The path to a value in nested metadata."""

_INT64_LIMIT = 2**63
_EXACT_FLOAT_LIMIT = 2**53
"""Larger integers are not exact as floats, which a range condition compares."""
_METADATA_HINT = "keep strings, numbers, booleans, None, and lists and mappings of them"
_FILTER_HINT = "give a string, a number, a boolean, None, or a list of them that is not empty"


def storable_metadata(metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Copy metadata that every engine returns as it was given; only tuples become lists.

    Args:
        metadata: The metadata of a document.
        name: What an error calls the document.

    Raises:
        InvalidRecord: It holds something other than JSON, a key that is not a string, or an integer of more
            than 64 bits.
    """
    copy: dict[str, Any] = _storable(metadata, (), name)
    try:
        json.dumps(copy, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        invalid = error.object[error.start : error.end]
        raise _invalid_metadata(name, (), f"{invalid!r} is not Unicode") from error
    return copy


def collect_flags(metadata: Mapping[str, Any]) -> list[str]:
    """List the booleans in metadata as strings that hold their path.

    >>> collect_flags({"open": True, "by": {"ship": False}})
    ['"open"=true', '"by"."ship"=false']
    """
    return list(_flags_in(metadata, ()))


def text_filter(values: Mapping[str, Any]) -> PayloadFilter | None:
    """Translate a filter on metadata into one on the payload.

    Args:
        values: The values that the metadata must have, all of them. A list means any of its values, None
            means that there is no value. If the metadata has a list, one of its items must be equal. A
            mapping filters the mapping that the metadata has at its key.

    Raises:
        QueryError: A value cannot be compared, or a key cannot be used in a filter.
    """
    if not values:
        return None
    logger.debug("filtering the texts by %s", values)
    return PayloadFilter(must=tuple(_conditions((), values)))


def _storable(value: Any, keys: Keys, name: str) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise _invalid_metadata(name, keys, f"the key {key!r} is not a string")
        return {key: _storable(item, (*keys, key), name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item, keys, name) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise _invalid_metadata(name, keys, f"{value} is not JSON")
    if isinstance(value, int) and not -_INT64_LIMIT <= value < _INT64_LIMIT:
        raise _invalid_metadata(name, keys, f"{value} has more than 64 bits")
    if value is None or isinstance(value, str | int | float):
        return value
    raise _invalid_metadata(name, keys, f"{type(value).__name__} is not JSON")


def _invalid_metadata(name: str, keys: Keys, reason: str) -> InvalidRecord:
    path = f", {'.'.join(keys)}" if keys else ""
    return InvalidRecord(f"metadata of {name}{path}: {reason}", _METADATA_HINT)


def _flags_in(value: Any, keys: Keys) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flags_in(item, (*keys, key))
    elif isinstance(value, list):
        for item in value:
            yield from _flags_in(item, keys)
    elif isinstance(value, bool):
        yield _flag(keys, value)


def _flag(keys: Keys, value: bool) -> str:
    return f"{'.'.join(json.dumps(key) for key in keys)}={json.dumps(value)}"


def _conditions(keys: Keys, values: Mapping[str, Any]) -> Iterator[PayloadCondition]:
    for key, value in values.items():
        if not isinstance(key, str) or '"' in key or "\\" in key:
            raise QueryError(
                f"filter {key!r}: a filter cannot use this key", "take a string without quotes or backslashes"
            )
        if isinstance(value, Mapping) and value:
            yield from _conditions((*keys, key), value)
        else:
            yield _condition((*keys, key), value)


def _condition(keys: Keys, value: Any) -> PayloadCondition:
    if isinstance(value, list | tuple | set | frozenset) and value:
        return PayloadFilter(should=tuple(_condition(keys, item) for item in value))
    if isinstance(value, bool):  # before int, since True is an int too
        return FieldMatch(FLAGS, (_flag(keys, value),))
    if isinstance(value, int | float):
        return _number(keys, value)
    if isinstance(value, str):
        return FieldMatch(_field(keys), (value,))
    if value is None:
        return FieldIsEmpty(_field(keys))
    raise QueryError(f"filter {'.'.join(keys)}={value!r} cannot be compared", _FILTER_HINT)


def _number(keys: Keys, value: float) -> PayloadCondition:
    """1 equals 1.0, as in Python; of Qdrant's conditions only a range compares them so."""
    if not math.isfinite(value):
        raise QueryError(f"filter {'.'.join(keys)}={value} cannot be compared", _FILTER_HINT)
    if isinstance(value, int) and abs(value) > _EXACT_FLOAT_LIMIT:
        return FieldMatch(_field(keys), (value,))
    return FieldRange(_field(keys), gte=float(value), lte=float(value))


def _field(keys: Sequence[str]) -> str:
    """The payload path of a value; keys that are not plain words are quoted."""
    quoted = (key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"' for key in keys)
    return ".".join(("metadata", *quoted))
