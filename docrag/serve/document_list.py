"""The list of documents, kept for a moment: every form shows it, and to read it is a pass over an index."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from docrag.index.index import Index
from docrag.types import IndexedDocument

FRESH = 5.0
"""Seconds after which it is read again: other processes may write to a collection on a server."""


class Documents:
    """What is indexed, by path; many threads may ask.

    Args:
        index: Is asked.
        fresh: Seconds for which an answer is kept.
    """

    def __init__(self, index: Index, fresh: float = FRESH) -> None:
        self._index = index
        self._fresh = fresh
        self._lock = threading.Lock()
        self._version = self._read = object()
        self._known: Sequence[IndexedDocument] = ()
        self._until = 0.0

    def all(self) -> Sequence[IndexedDocument]:
        """All of them; those who ask at the same time wait for one answer.

        Raises:
            StoreError: The index cannot be read.
        """
        with self._lock:
            if self._read is not self._version or time.monotonic() >= self._until:
                version = self._version  # before it is read: what changes meanwhile counts as unread
                self._known = tuple(self._index.documents())
                self._read, self._until = version, time.monotonic() + self._fresh
            return self._known

    def get(self, document_id: str) -> IndexedDocument | None:
        """One of them, None where it is not there."""
        return next((one for one in self.all() if one.id == document_id), None)

    @property
    def version(self) -> object:
        """Another one after each change that this server makes."""
        return self._version

    def changed(self) -> None:
        """Pages were added or removed: what is known is no longer true. Waits for nobody."""
        self._version = object()
