"""The list of documents, cached until they change: every search form shows it, and reading it is a scan."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Hashable, Sequence

from docrag.index.index import Index
from docrag.types import IndexedDocument

logger = logging.getLogger(__name__)

MAX_AGE = 5.0
"""Seconds until what was read from a collection on a Qdrant server is read again: other processes may change
it, and `Index.changes` does not count that. It counts every change of an index in a directory."""


class DocumentList:
    """The documents of an index, ordered by path; safe to use from several threads.

    Args:
        index: The index whose documents are listed.
        max_age: Seconds until the list is read again although nothing is known to have changed.
    """

    def __init__(self, index: Index, max_age: float = MAX_AGE) -> None:
        self.max_age = max_age
        self._index = index
        self._lock = threading.Lock()
        self._own_changes = object()
        """Replaced by each change that this server makes."""
        self._cached_version: Hashable = None
        self._cached: Sequence[IndexedDocument] = ()
        self._expires = 0.0

    def all(self) -> Sequence[IndexedDocument]:
        """All documents. Threads that ask at the same time share one reading of the index.

        Raises:
            StoreError: The index cannot be read.
        """
        with self._lock:
            version = self.version()  # taken before reading: a change meanwhile makes the list stale
            if self._cached_version != version or time.monotonic() >= self._expires:
                self._cached = tuple(self._index.documents())
                self._cached_version = version
                self._expires = time.monotonic() + self.max_age
                logger.debug("read the list of %d documents", len(self._cached))
            return self._cached

    def get(self, document_id: str) -> IndexedDocument | None:
        """A document by its id; None if it is not in the index."""
        return next((document for document in self.all() if document.id == document_id), None)

    def version(self) -> Hashable:
        """A value that differs once this server, or for a directory any process, has changed the documents.

        Finding it out takes a message to the process that holds the index, 0.1 to 0.2 ms: call it once for
        each request.

        Raises:
            StoreError: The index cannot be read.
        """
        return self._own_changes, self._index.changes

    def invalidate(self) -> None:
        """Forget the list, because pages were added or removed. Does not block."""
        self._own_changes = object()


def max_age(uri: str) -> float:
    """Seconds for which what was read from an index may be used while its version stays the same.

    Args:
        uri: Where the index is, as `Index.status` says.

    >>> max_age("./docrag-index"), max_age("http://localhost:6333/reports")
    (inf, 5.0)
    """
    return MAX_AGE if "://" in uri else math.inf
