"""Records that were read a short while ago: most searches find pages that others found before."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from docrag.types import PageRecord, SparseVector, Vector

BYTES = 64 * 2**20
"""What is kept of an index: 200 pages of 370 x 384 floats. Of the pages that the questions of dev find, 60 %
are among them when questions about a document follow each other, and 30 % in any order."""

_ENTRY = 500
"""Bytes of an entry beside what is packed into it, about."""
_DTYPES = {True: np.float16, False: np.float32}


class ReadKey(NamedTuple):
    """What of records was asked for."""

    vectors: tuple[str, ...]
    payload: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class _Packed:
    """A record that nobody can change, and whose bytes can be counted."""

    vectors: Mapping[str, NDArray[np.float16] | NDArray[np.float32] | SparseVector]
    payload: bytes

    @classmethod
    def of(cls, record: PageRecord, halves: Set[str]) -> _Packed:
        vectors = {
            name: vector if isinstance(vector, SparseVector) else vector.astype(_DTYPES[name in halves])
            for name, vector in record.vectors.items()
        }
        return cls(vectors, orjson.dumps(record.payload))

    @property
    def size(self) -> int:
        arrays = (
            16 * len(v.indices) if isinstance(v, SparseVector) else v.nbytes for v in self.vectors.values()
        )
        return sum(arrays) + len(self.payload) + _ENTRY

    def record(self, id: str) -> PageRecord:
        vectors: dict[str, Vector] = {
            name: vector if isinstance(vector, SparseVector) else vector.astype(np.float32)
            for name, vector in self.vectors.items()
        }
        return PageRecord(id, vectors, orjson.loads(self.payload))


class RecordCache:
    """The records of one store that were read last; any thread may ask, write and forget.

    Only the process that writes an index can keep one: every write must be followed by `forget`.

    Args:
        most: Bytes that are kept.
        halves: Names of vectors whose numbers are such of 16 bits, and are kept so.

    >>> recent, part = RecordCache(), ReadKey((), None)
    >>> recent.keep(part, [PageRecord("a", {}, {"page": 1})], recent.moment)
    >>> recent.find(part, ["a", "b"])
    {'a': PageRecord(id='a', vectors={}, payload={'page': 1})}
    >>> recent.forget(["a"])
    >>> recent.find(part, ["a"])
    {}
    """

    def __init__(self, most: int = BYTES, halves: Set[str] = frozenset()) -> None:
        self.size = 0
        """Bytes, about."""
        self.moment = 0
        """Changes with every write; note it before records are read that will be kept."""
        self._most, self._halves = most, halves
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ReadKey], _Packed] = OrderedDict()

    def find(self, part: ReadKey, ids: Iterable[str]) -> dict[str, PageRecord]:
        """Those that are kept, by their id; what a caller does to them changes nothing here."""
        found: dict[str, _Packed] = {}
        with self._lock:
            for id in ids:
                if packed := self._kept.get((id, part)):
                    self._kept.move_to_end((id, part))
                    found[id] = packed
        return {id: packed.record(id) for id, packed in found.items()}

    def keep(self, part: ReadKey, records: Sequence[PageRecord], moment: int) -> None:
        """Keep what was read, unless something was written since that moment; the oldest make room."""
        packed = [(record.id, _Packed.of(record, self._halves)) for record in records]
        with self._lock:
            if moment != self.moment:
                return
            for id, one in packed:
                self._drop((id, part))
                self._kept[id, part] = one
                self.size += one.size
            while self.size > self._most:
                self._drop(next(iter(self._kept)))

    def forget(self, ids: Sequence[str] | None = None) -> None:
        """Some records were written, or are gone; None for any of them."""
        with self._lock:
            self.moment += 1
            gone = set(ids) if ids is not None else None
            for key in [key for key in self._kept if gone is None or key[0] in gone]:
                self._drop(key)

    def _drop(self, key: tuple[str, ReadKey]) -> None:
        if packed := self._kept.pop(key, None):
            self.size -= packed.size
