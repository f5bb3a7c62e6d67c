"""The list of documents, cached briefly: every search form shows it, and reading it scans the whole index."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from docrag.index.index import Index
from docrag.types import IndexedDocument

logger = logging.getLogger(__name__)

MAX_AGE = 5.0
"""Seconds until the list is read again: other processes may write to a collection on a server."""


class DocumentList:
    """The documents of an index, ordered by path; safe to use from several threads.

    Args:
        index: The index whose documents are listed.
        max_age: Seconds until the list is read again.
    """

    def __init__(self, index: Index, max_age: float = MAX_AGE) -> None:
        self._index = index
        self._max_age = max_age
        self._lock = threading.Lock()
        self._version = object()
        self._cached_version: object | None = None
        self._cached: Sequence[IndexedDocument] = ()
        self._expires = 0.0

    def all(self) -> Sequence[IndexedDocument]:
        """All documents. Threads that ask at the same time share one reading of the index.

        Raises:
            StoreError: The index cannot be read.
        """
        with self._lock:
            if self._cached_version is not self._version or time.monotonic() >= self._expires:
                version = self._version  # taken before reading: a change meanwhile makes the list stale
                self._cached = tuple(self._index.documents())
                self._cached_version = version
                self._expires = time.monotonic() + self._max_age
                logger.debug("read the list of %d documents", len(self._cached))
            return self._cached

    def get(self, document_id: str) -> IndexedDocument | None:
        """A document by its id; None if it is not in the index."""
        return next((document for document in self.all() if document.id == document_id), None)

    @property
    def version(self) -> object:
        """An object that is replaced by each change that this server makes."""
        return self._version

    def invalidate(self) -> None:
        """Forget the list, because pages were added or removed. Does not block."""
        self._version = object()
