"""A cache of recent search results: people reload and go back, and many ask the same question."""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from docrag.types import Hit

MAX_BYTES = 64 * 1024 * 1024
"""Size of all entries together: about five hundred results of ten pages each. Compressed, three times as many
would fit, but to compress a result took 2 ms of CPU time, a fifth of what the server does for a search."""

_HIT_BYTES = 3000
"""Approximate bytes of a hit without its text and blocks: metadata, scores, regions."""
_BLOCK_BYTES = 330
"""Approximate bytes of a block without its text: a tuple of four numbers, another one, a text."""


class _Entry(NamedTuple):
    hits: Sequence[Hit]
    size: int
    version: Hashable
    expires: float


class SearchCache:
    """Recent search results; safe to use from several threads, which must not change them.

    Args:
        max_age: Seconds until an entry expires: finite where other processes may change the documents
            without changing their version, infinite where none can.
        max_bytes: Size of all entries together, approximately; the least recently used one is dropped first.
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
            return entry.hits

    def put(self, key: Hashable, version: Hashable, hits: Sequence[Hit]) -> None:
        """Cache the hits of a search.

        Args:
            key: Everything that the hits depend on besides the documents.
            version: The version of the documents before the search started.
            hits: The hits.
        """
        size = sum(map(_size, hits))
        with self._lock:
            old = self._entries.pop(key, None)
            if old is not None:
                self._size -= old.size
            self._entries[key] = _Entry(hits, size, version, time.monotonic() + self._max_age)
            self._size += size
            while self._size > self._max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self._size -= oldest.size


def _size(hit: Hit) -> int:
    """Approximate bytes of a hit in memory; its blocks hold the text of the page once more."""
    return _HIT_BYTES + 2 * sys.getsizeof(hit.text) + _BLOCK_BYTES * len(hit.blocks)
