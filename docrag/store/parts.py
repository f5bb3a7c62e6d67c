"""Pages as arrays, and back: what a part of an archive holds.

    ids                          (pages,) text
    payloads, payloads.lengths   JSON, one after the other; (pages,) bytes of each
    images, images.lengths       JPEG, likewise; 0 bytes where a page has none
    multi.NAME, ....lengths      (vectors of all pages, dim) float16, float32 where the index has it; (pages,)
    dense.NAME                   (pages, dim) float32
    sparse.NAME.indices, .values, .lengths    uint32, float32; (pages,) terms of each

`numpy.load` reads them without pickle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from docrag.types import PageRecord, SparseVector, Vector

Arrays = dict[str, NDArray[Any]]


class ArchivedPage(NamedTuple):
    """A page with everything that is kept of it."""

    record: PageRecord
    image: bytes
    """JPEG; empty where there is none."""


def halved(page: ArchivedPage, whole: frozenset[str] = frozenset()) -> ArchivedPage:
    """Multi-vectors in float16, as engines store them, so that pages wait for the others at half the size.

    Args:
        page: As an engine gives it.
        whole: Names of those that are stored as float32, and stay so.
    """
    vectors: dict[str, Any] = {
        name: np.asarray(vector, np.float16) if _kind(vector) == "multi" and name not in whole else vector
        for name, vector in page.record.vectors.items()
    }
    return ArchivedPage(PageRecord(page.record.id, vectors, page.record.payload), page.image)


def _kind(vector: Vector) -> str:
    if isinstance(vector, SparseVector):
        return "sparse"
    return "multi" if vector.ndim == 2 else "dense"


def pack(pages: Sequence[ArchivedPage]) -> Arrays:
    """The arrays of some pages, at least one, which have the same vectors."""
    records = [page.record for page in pages]
    payloads = [json.dumps(dict(record.payload), ensure_ascii=False).encode() for record in records]
    arrays: Arrays = {"ids": np.array([record.id for record in records])}
    arrays |= _ragged("payloads", [np.frombuffer(payload, np.uint8) for payload in payloads])
    arrays |= _ragged("images", [np.frombuffer(page.image, np.uint8) for page in pages])
    for name, vector in records[0].vectors.items():
        column = [record.vectors[name] for record in records]
        arrays |= _PACK[_kind(vector)](f"{_kind(vector)}.{name}", column)
    return arrays


def _ragged(key: str, rows: Sequence[NDArray[Any]]) -> Arrays:
    return {key: np.concatenate(rows), f"{key}.lengths": np.array([len(row) for row in rows], np.int64)}


def _pack_sparse(key: str, column: Sequence[Any]) -> Arrays:
    values = _ragged(key, [np.asarray(vector.values, np.float32) for vector in column])
    indices = np.concatenate([np.asarray(vector.indices, np.uint32) for vector in column])
    return {f"{key}.indices": indices, f"{key}.values": values.pop(key), **values}


_PACK: Mapping[str, Callable[[str, Sequence[Any]], Arrays]] = {
    "multi": _ragged,
    "dense": lambda key, column: {key: np.stack(column).astype(np.float32)},
    "sparse": _pack_sparse,
}


def unpack(arrays: Arrays) -> Iterator[ArchivedPage]:
    """The pages that were packed; multi-vectors become float32 one page at a time.

    Raises:
        KeyError: An array is missing.
        ValueError: The arrays do not fit each other.
    """
    payloads = _split(arrays["payloads"], arrays["payloads.lengths"])
    images = _split(arrays["images"], arrays["images.lengths"])
    columns = dict(_columns(arrays))
    for place, id in enumerate(arrays["ids"]):
        vectors = {name: _vector(column[place]) for name, column in columns.items()}
        record = PageRecord(str(id), vectors, json.loads(payloads[place].tobytes()))
        yield ArchivedPage(record, images[place].tobytes())


def _columns(arrays: Arrays) -> Iterator[tuple[str, Sequence[Any]]]:
    """The name of each vector, and what each page has of it."""
    for key, array in arrays.items():
        kind, name, end = [*key.split("."), "", ""][:3]
        if kind == "dense":
            yield name, list(array)
        elif (kind, end) == ("multi", ""):
            yield name, _split(array, arrays[f"{key}.lengths"])
        elif (kind, end) == ("sparse", "indices"):
            lengths = arrays[f"{kind}.{name}.lengths"]
            values = _split(arrays[f"{kind}.{name}.values"], lengths)
            yield name, list(zip(_split(array, lengths), values, strict=True))


def _split(joined: NDArray[Any], lengths: NDArray[Any]) -> list[NDArray[Any]]:
    return np.split(joined, np.cumsum(lengths)[:-1])


def _vector(packed: Any) -> Vector:
    if isinstance(packed, tuple):
        indices, values = packed
        return SparseVector(tuple(indices.tolist()), tuple(values.tolist()))
    return np.asarray(packed, np.float32)
