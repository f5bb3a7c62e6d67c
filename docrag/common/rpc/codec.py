"""Values as messages: JSON for what has structure, raw bytes for arrays, and nothing that could run code.

JSON knows fewer types than Python. What it lacks is written as an object with one key that starts with "$":
a tuple, a path, an array, raw bytes, NaN and infinity, or one of the dataclasses that both sides know.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import orjson

from docrag.common.rpc.frames import Buffer

_PLAIN = (str, int, float, bool, type(None))


class Json:
    """A value of JSON types that is written as it is, without a look at what is in it.

    A payload may be large, and its keys are a user's own: one of them may start with "$".
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Codec:
    """Turns values into messages and back.

    Args:
        classes: The dataclasses and named tuples that may travel; both sides must know the same ones.
        raw_json: By class name, the fields that hold JSON of a user's own.

    >>> codec = Codec(())
    >>> codec.decode(*codec.encode({"page": (1, None), "jpeg": b"abc"}))
    {'page': (1, None), 'jpeg': b'abc'}
    """

    def __init__(self, classes: Iterable[type], raw_json: Mapping[str, Sequence[str]] | None = None) -> None:
        self._raw_json = raw_json or {}
        self._fields: dict[type, tuple[str, ...]] = {}
        self._classes: dict[str, type] = {}
        for each in classes:
            self._classes[each.__name__] = each
            self._fields[each] = _field_names(each)

    def encode(self, value: Any) -> tuple[bytes, list[Buffer]]:
        """A value as the header and the buffers of a message.

        Raises:
            TypeError: It holds something that may not travel.
        """
        buffers: list[Buffer] = []
        return _to_json(self._pack(value, buffers)), buffers

    def decode(self, header: Buffer, buffers: Sequence[memoryview]) -> Any:
        """The value of a message; arrays are views of its buffers.

        Raises:
            ValueError: The message holds something that this side does not know.
        """
        return self._unpack(_from_json(header), buffers)

    def _pack(self, value: Any, buffers: list[Buffer]) -> Any:
        if isinstance(value, _PLAIN):
            return _pack_plain(value)
        kind = type(value)
        if kind in self._fields:
            return {"$": kind.__name__, "of": self._pack_fields(value, kind, buffers)}
        if isinstance(value, list):
            return [self._pack(item, buffers) for item in value]
        if isinstance(value, tuple):
            return {"$": "tuple", "of": [self._pack(item, buffers) for item in value]}
        if isinstance(value, Mapping):
            return {"$": "dict", "of": [[key, self._pack(item, buffers)] for key, item in value.items()]}
        if isinstance(value, Json):
            return {"$": "json", "of": _add(buffers, _to_json(value.value))}
        if isinstance(value, bytes | bytearray | memoryview):
            return {"$": "bytes", "of": _add(buffers, value)}
        if isinstance(value, Path):
            return {"$": "path", "of": str(value)}
        if kind.__module__ == "numpy":
            return _pack_array(value, buffers)
        raise TypeError(f"{kind.__name__} cannot be sent to another process")

    def _pack_fields(self, value: Any, kind: type, buffers: list[Buffer]) -> list[Any]:
        raw = self._raw_json.get(kind.__name__, ())
        packed = []
        for name in self._fields[kind]:
            content = getattr(value, name)
            packed.append(self._pack(Json(content) if name in raw else content, buffers))
        return packed

    def _unpack(self, value: Any, buffers: Sequence[memoryview]) -> Any:
        if isinstance(value, list):
            return [self._unpack(item, buffers) for item in value]
        if not isinstance(value, dict):
            return value
        kind, content = value["$"], value["of"]
        if kind in _READERS:
            return _READERS[kind](content, buffers)
        if kind == "tuple":
            return tuple(self._unpack(item, buffers) for item in content)
        if kind == "dict":
            return {key: self._unpack(item, buffers) for key, item in content}
        if kind not in self._classes:
            raise ValueError(f"a message holds {kind}, which this version does not know")
        known = self._classes[kind]
        unpacked = [self._unpack(item, buffers) for item in content]
        return known(**dict(zip(self._fields[known], unpacked, strict=True)))


def _pack_plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$": "float", "of": str(value)}
    return value


def _to_json(value: Any) -> bytes:
    """JSON; what orjson refuses, such as the name of a file that is not UTF-8, Python's own library writes.

    Raises:
        TypeError: The value holds something that is not of a JSON type.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()


def _from_json(content: Buffer) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return json.loads(bytes(content))


def _field_names(known: type) -> tuple[str, ...]:
    if is_dataclass(known):
        return tuple(field.name for field in fields(known))
    names: tuple[str, ...] = known._fields  # type: ignore[attr-defined]
    return names


def _add(buffers: list[Buffer], content: Buffer) -> int:
    """The position at which a buffer was added."""
    buffers.append(content)
    return len(buffers) - 1


def _pack_array(value: Any, buffers: list[Buffer]) -> Any:
    import numpy as np  # whoever has an array has loaded it; others need not

    if isinstance(value, np.generic):
        return value.item()
    contiguous = np.ascontiguousarray(value)
    content = contiguous.reshape(-1).view(np.uint8).data if contiguous.size else b""
    return {"$": "array", "of": [_add(buffers, content), contiguous.dtype.str, list(value.shape)]}


def _read_array(content: Sequence[Any], buffers: Sequence[memoryview]) -> Any:
    import numpy as np

    position, dtype, shape = content
    return np.frombuffer(buffers[position], np.dtype(dtype)).reshape(shape)


_READERS: Mapping[str, Callable[[Any, Sequence[memoryview]], Any]] = {
    "json": lambda content, buffers: _from_json(buffers[content]),
    "float": lambda content, buffers: float(content),
    "bytes": lambda content, buffers: bytes(buffers[content]),
    "path": lambda content, buffers: Path(content),
    "array": _read_array,
}
