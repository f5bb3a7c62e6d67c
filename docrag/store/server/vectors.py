"""Vectors as Qdrant's interfaces write them, in JSON and in protobuf, to and from numpy.

No way leads through the client's own classes where vectors are large: these hold lists of Python floats. Ten
pages of 300 x 384 floats take 65 to 115 ms from protobuf through such lists, and 2 ms as bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import grpc as proto

from docrag.errors import StoreError
from docrag.types import SparseVector, Vector

DIGITS = 5
"""Decimals of a number in JSON: a page of 1030 x 128 floats takes 1.06 MB instead of 2.6, and float16, in
which multi-vectors are stored, is coarser."""

_FIELD_1 = b"\x0a"
"""The tag of a first field that has a length: rows of a multi-vector, and the packed floats of a row."""


def stored_json(vector: Vector) -> Any:
    """Return a page's vector as orjson writes it with OPT_SERIALIZE_NUMPY.

    Dense vectors are short, and their numbers may be of any magnitude, so only multi-vectors are rounded.
    """
    if isinstance(vector, SparseVector) or vector.ndim == 1:
        return query_json(vector)
    return query_json(np.round(vector, DIGITS))


def query_json(vector: Vector) -> Any:
    """Return a query's vector as orjson writes it with OPT_SERIALIZE_NUMPY; no number is rounded."""
    if isinstance(vector, SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    return np.ascontiguousarray(vector, np.float32)


def stored_message(vector: Vector) -> Any:
    """Return a page's vector as the protobuf message Vector."""
    return proto.Vector(**_variant(vector))


def query_message(vector: Vector) -> Any:
    """Return a query's vector as the protobuf message Query, which asks for the nearest pages."""
    return proto.Query(nearest=proto.VectorInput(**_variant(vector)))


def multi_dense(vectors: NDArray[np.float32]) -> Any:
    """Turn (n, dim) floats into the protobuf message MultiDenseVector.

    numpy writes the bytes of the message and protobuf parses them, which is 20 times as fast as passing lists
    of Python floats. Each row is field 1 (`vectors`) of the message, and in it field 1 (`data`): packed
    little-endian floats.
    """
    data = np.ascontiguousarray(vectors, "<f4").view(np.uint8)
    head = np.frombuffer(_row_head(data.shape[1]), np.uint8)
    rows = np.concatenate([np.broadcast_to(head, (len(data), len(head))), data], axis=1)
    return proto.MultiDenseVector.FromString(rows.tobytes())


def from_message(message: Any) -> Vector:
    """Read the protobuf message VectorOutput.

    Qdrant 1.17 and later name the kind of a vector. Qdrant 1.16 fills the older fields instead: all numbers
    in one list, with their indices if the vector is sparse, and the number of rows if it has several.

    Raises:
        StoreError: The rows of a multi-vector have different lengths.
    """
    kind = message.WhichOneof("vector")
    if kind == "multi_dense":
        return _from_multi_dense(message.multi_dense)
    if kind == "dense":
        return np.array(message.dense.data, np.float32)
    if kind == "sparse":
        return SparseVector(tuple(message.sparse.indices), tuple(message.sparse.values))
    if message.HasField("indices"):
        return SparseVector(tuple(message.indices.data), tuple(message.data))
    if message.HasField("vectors_count"):
        return _from_flat(message)
    return np.array(message.data, np.float32)


def from_json(value: Any) -> Vector:
    """Turn a vector that was read from JSON into numpy.

    Raises:
        StoreError: The rows of a multi-vector have different lengths, or not all values are numbers.
    """
    try:
        if isinstance(value, dict):
            return SparseVector(tuple(value["indices"]), tuple(value["values"]))
        if not value or not isinstance(value[0], list):
            return np.array(value, np.float32)
        return _from_rows(value)
    except (struct.error, TypeError, ValueError, KeyError, OverflowError) as error:
        raise _damaged(str(error)) from error


def _variant(vector: Vector) -> dict[str, Any]:
    """Return the one field of Vector or VectorInput that holds a vector."""
    if isinstance(vector, SparseVector):
        return {"sparse": proto.SparseVector(indices=vector.indices, values=vector.values)}
    if vector.ndim == 1:
        return {"dense": proto.DenseVector(data=vector.tolist())}
    return {"multi_dense": multi_dense(vector)}


def _from_multi_dense(message: Any) -> NDArray[np.float32]:
    """Return the (n, dim) floats of the message MultiDenseVector, read from its bytes as they are written.

    Every row begins with the same bytes if all rows have the same length, which is checked.
    """
    count = len(message.vectors)
    size = 4 * len(message.vectors[0].data) if count else 0
    content = message.SerializeToString()
    head = np.frombuffer(_row_head(size), np.uint8)
    if not size or len(content) != count * (len(head) + size):
        raise _damaged("its rows have different lengths, or it has none")
    rows = np.frombuffer(content, np.uint8).reshape(count, -1)
    if (rows[:, : len(head)] != head).any():
        raise _damaged("its rows have different lengths")
    return rows[:, len(head) :].copy().view("<f4").astype(np.float32, copy=False)


def _from_flat(message: Any) -> NDArray[np.float32]:
    """Return the (n, dim) floats of a VectorOutput that holds them one after the other."""
    count, rows = len(message.data), message.vectors_count
    if not rows or not count or count % rows:
        raise _damaged(f"it has {count} numbers in {rows} rows")
    head = _FIELD_1 + _varint(4 * count)
    content = message.SerializeToString()
    if not content.startswith(head):  # protobuf writes fields in the order of their numbers
        return np.array(message.data, np.float32).reshape(rows, -1)
    return np.frombuffer(content, "<f4", count, len(head)).reshape(rows, -1).astype(np.float32)


def _from_rows(rows: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Return lists of floats as an array: 370 rows of 384 take 1.2 ms this way, 2.7 ms with np.array."""
    pack = struct.Struct(f"{len(rows[0])}f").pack
    return np.frombuffer(bytearray().join(starmap(pack, rows)), np.float32).reshape(len(rows), -1)


def _row_head(size: int) -> bytes:
    """Return what protobuf writes before a row of so many bytes in a MultiDenseVector."""
    floats = _FIELD_1 + _varint(size)
    return _FIELD_1 + _varint(len(floats) + size) + floats


def _varint(number: int) -> bytes:
    """Encode a length as protobuf does: seven bits per byte, the lowest first."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])


def _damaged(reason: str) -> StoreError:
    return StoreError(
        f"the server answered with a vector that cannot be read: {reason}",
        "ask the server for the page itself, and ingest its file again if it is damaged there",
    )
