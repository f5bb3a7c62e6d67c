"""A cache of recent search results: people reload and go back, and many ask the same question."""

from __future__ import annotations

import pickle
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from docrag.types import Hit

MAX_BYTES = 32 * 1024 * 1024
"""Size of all entries together: about a thousand results of ten pages each."""


class _Entry(NamedTuple):
    compressed: bytes
    version: Hashable
    expires: float


class SearchCache:
    """Recent search results, compressed; safe to use from several threads.

    Args:
        max_age: Seconds until an entry expires: finite where other processes may change the documents
            without changing their version, infinite where none can.
        max_bytes: Size of all entries together; the least recently used one is dropped first.
    """

    def __init__(self, max_age: float, max_bytes: int = MAX_BYTES) -> None:
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._size = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def get(self, key: Hashable, version: Hashable) -> Sequence[Hit] | None:
        """The cached hits of a search, or None.

        Args:
            key: Everything that the hits depend on besides the documents.
            version: The current version of the documents.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.version != version or time.monotonic() >= entry.expires:
                return None
            self._entries.move_to_end(key)
        hits: Sequence[Hit] = pickle.loads(zlib.decompress(entry.compressed))
        return hits

    def put(self, key: Hashable, version: Hashable, hits: Sequence[Hit]) -> None:
        """Cache the hits of a search.

        Args:
            key: Everything that the hits depend on besides the documents.
            version: The version of the documents before the search started.
            hits: The hits.
        """
        compressed = zlib.compress(pickle.dumps(hits), 1)
        with self._lock:
            old = self._entries.pop(key, None)
            if old is not None:
                self._size -= len(old.compressed)
            self._entries[key] = _Entry(compressed, version, time.monotonic() + self._max_age)
            self._size += len(compressed)
            while self._size > self._max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._size -= len(oldest.compressed)
