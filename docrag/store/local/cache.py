"""A cache of records that were read recently: most searches find pages that earlier ones found too."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from docrag.types import PageRecord, SparseVector, Vector

MAX_BYTES = 192 * 2**20
"""Size of the cache of one index: 650 pages of 370 x 384 floats in 16 bits. It holds the pages that the 62
questions of the dev set find; a third of it held 30 % of them when questions come in random order."""

_ENTRY_BYTES = 500
"""Approximate bytes of an entry in addition to its vectors and payload."""


class ReadKey(NamedTuple):
    """Which parts of a record were read; each combination is cached by itself."""

    vectors: tuple[str, ...]
    payload: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class PackedRecord:
    """A record as it is cached and sent to another process: small, and never changed."""

    id: str
    vectors: Mapping[str, NDArray[np.float16] | NDArray[np.float32] | SparseVector]
    """Arrays are in 16 bits where the engine stores them so; then this loses nothing."""
    payload: bytes
    """As JSON."""

    @classmethod
    def pack(cls, record: PageRecord, float16_vectors: Set[str]) -> PackedRecord:
        """Pack a record that was just read.

        Args:
            record: The record.
            float16_vectors: Names of the vectors that the engine stores in 16 bits.
        """
        vectors: dict[str, Any] = {
            name: vector
            if isinstance(vector, SparseVector)
            else vector.astype(np.float16 if name in float16_vectors else np.float32)
            for name, vector in record.vectors.items()
        }
        return cls(record.id, vectors, orjson.dumps(record.payload))

    @property
    def size(self) -> int:
        """Approximate bytes in memory."""
        arrays = (
            16 * len(vector.indices) if isinstance(vector, SparseVector) else vector.nbytes
            for vector in self.vectors.values()
        )
        return sum(arrays) + len(self.payload) + _ENTRY_BYTES

    def unpack(self) -> PageRecord:
        """Return the record, whose arrays are copies in 32 bits."""
        return PageRecord(self.id, unpack_vectors(self.vectors), orjson.loads(self.payload))


def unpack_vectors(packed: Mapping[str, Any]) -> dict[str, Vector]:
    """Return copies of vectors, in 32 bits."""
    return {
        name: vector if isinstance(vector, SparseVector) else vector.astype(np.float32)
        for name, vector in packed.items()
    }


class RecordCache:
    """The most recently read records of one store, at most so many bytes of them; thread-safe.

    Only the process that writes an index can cache its records: every write must be followed by `forget`.

    Args:
        max_bytes: Size at which the least recently used records are dropped.
        float16_vectors: Names of vectors that the engine stores in 16 bits, so that the cache can, too.

    >>> cache, key = RecordCache(), ReadKey((), None)
    >>> cache.add(key, [PageRecord("a", {}, {"page": 1})], cache.generation)
    [PackedRecord(id='a', vectors={}, payload=b'{"page":1}')]
    >>> cache.find(key, ["a", "b"])
    {'a': PackedRecord(id='a', vectors={}, payload=b'{"page":1}')}
    >>> cache.forget(["a"])
    >>> cache.find(key, ["a"])
    {}
    """

    def __init__(self, max_bytes: int = MAX_BYTES, float16_vectors: Set[str] = frozenset()) -> None:
        self.size = 0
        """Approximate bytes of the cached records."""
        self.generation = 0
        """Changes with every write. Note it before reading records that are to be added."""
        self.hits = 0
        """Records that were found."""
        self.added = 0
        """Records that had to be read, and were added."""
        self._max_bytes = max_bytes
        self._float16_vectors = float16_vectors
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, ReadKey], PackedRecord] = OrderedDict()

    def find(self, key: ReadKey, ids: Iterable[str]) -> dict[str, PackedRecord]:
        """Return the cached records by id."""
        entries: dict[str, PackedRecord] = {}
        with self._lock:
            for id in ids:
                entry = self._entries.get((id, key))
                if entry:
                    self._entries.move_to_end((id, key))
                    entries[id] = entry
            self.hits += len(entries)
        return entries

    def add(self, key: ReadKey, records: Sequence[PageRecord], generation: int) -> list[PackedRecord]:
        """Pack records that were read, and cache them unless something was written since `generation`."""
        entries = [PackedRecord.pack(record, self._float16_vectors) for record in records]
        with self._lock:
            if generation != self.generation:
                return entries
            for entry in entries:
                self._drop((entry.id, key))
                self._entries[entry.id, key] = entry
                self.size += entry.size
            self.added += len(entries)
            while self.size > self._max_bytes:
                self._drop(next(iter(self._entries)))
        return entries

    def forget(self, ids: Sequence[str] | None = None) -> None:
        """Drop records that were written or removed; None drops all."""
        with self._lock:
            self.generation += 1
            written = None if ids is None else set(ids)
            for entry in [entry for entry in self._entries if written is None or entry[0] in written]:
                self._drop(entry)

    def _drop(self, key: tuple[str, ReadKey]) -> None:
        entry = self._entries.pop(key, None)
        if entry:
            self.size -= entry.size
