"""An index in a folder that cannot be written, searched in a private copy of its points.

qdrant-edge 0.9 opens almost every file of a shard for reading and writing and maps it as shared memory, the
pages of vectors too, so it cannot open a shard that it may not write. It does not follow symbolic links to
such files either. What has to be copied is therefore the whole shard: its vectors, payloads and write-ahead
log, but not the holes in its files, and not the page images.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from docrag.common.files import READ_ONLY_HINT
from docrag.common.forks import ForkAware, leave_to_parent
from docrag.errors import StoreError
from docrag.store.layout import Layout
from docrag.store.local import engine
from docrag.store.local.cache import RecordCache
from docrag.store.local.snapshot import copy_errors, copy_folder, disk_bytes, no_space
from docrag.store.local.store import EdgeStore, ReadWriteLock
from docrag.store.requests import PayloadFilter
from docrag.types import PageRecord

logger = logging.getLogger(__name__)


class ReadOnlyStore(EdgeStore, ForkAware):
    """A `Store` that holds what an index held when it was opened, and refuses every change.

    Any number of processes may open the same index this way. A child that was forked opens it anew, with its
    first call. Use `open_read_only`.
    """

    def __init__(self, path: Path, layout: Layout, shard: edge.EdgeShard) -> None:
        EdgeStore.__init__(self, path, layout, shard, lock=None)
        ForkAware.__init__(self)
        self._opening_lock = threading.Lock()
        self._open_again = False
        """Whether the shard belongs to the parent of this process, whose threads are not here."""

    def upsert(self, records: Sequence[PageRecord]) -> None:
        """Refuse to write.

        Raises:
            StoreError: Always.
        """
        raise self._refusal()

    def set_payload(
        self, values: Mapping[str, Any], filter: PayloadFilter, *, key: str | None = None
    ) -> None:
        """Refuse to write.

        Raises:
            StoreError: Always.
        """
        raise self._refusal()

    def set_payloads(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse to write.

        Raises:
            StoreError: Always.
        """
        raise self._refusal()

    def delete(self, filter: PayloadFilter) -> None:
        """Refuse to write.

        Raises:
            StoreError: Always.
        """
        raise self._refusal()

    def optimize(self) -> None:
        """Refuse to write.

        Raises:
            StoreError: Always.
        """
        raise self._refusal()

    def add_missing_indexes(self) -> None:
        """Refuse to write.

        Raises:
            StoreError: Always.
        """
        raise self._refusal()

    def flush(self) -> None:
        """Do nothing, since nothing was written."""

    def close(self) -> None:
        """Wait for running calls, then close the index; closing twice is harmless."""
        with self._calls_lock.exclusive():
            if self._shard is not None:
                self._log_cache()
            # The engine's own `close` would flush to files that are removed already.
            self._shard = None
            self._open_again = False

    def after_fork_in_child(self) -> None:
        """Leave the shard to the parent, and with it whatever its threads held locked."""
        self._open_again = self._open_again or self._shard is not None
        leave_to_parent(self._shard)
        self._shard = None
        self._opening_lock = threading.Lock()
        self._calls_lock = ReadWriteLock()
        self._cache = RecordCache(float16_vectors=self.layout.float16_vectors)
        self._pid = os.getpid()

    @contextmanager
    def _open_shard(self) -> Iterator[edge.EdgeShard]:
        with self._opening_lock:
            if self._open_again:
                self._shard = _load_copy(self.path, self.layout)
                self._open_again = False
        with super()._open_shard() as shard:
            yield shard

    def _refusal(self) -> StoreError:
        return StoreError(f"the index {self.path.parent} is read-only", READ_ONLY_HINT)


def open_read_only(points: Path, layout: Layout) -> ReadOnlyStore:
    """Open the points of an index without changing anything in their folder.

    Writes that were not flushed before a crash are replayed in the copy. The copy takes as much space as the
    points, in the folder for temporary files ($TMPDIR). Its files are removed as soon as they are open, so
    the space is free again once the store is closed or the process has ended, however that ends.

    Args:
        points: The folder of the points, which another process may be writing to.
        layout: Its vectors.

    Raises:
        IndexNotFound: There is no shard in the folder.
        IndexInUse: Another process writes to the folder all the time.
        IndexMismatch: Its vectors are not those of the layout.
        StorageFull: There is too little space for the copy.
    """
    return ReadOnlyStore(points, layout, _load_copy(points, layout))


def _load_copy(points: Path, layout: Layout) -> edge.EdgeShard:
    """Open a copy of a shard, whose files are removed once they are open."""
    started = time.monotonic()
    folder = _temporary_folder(points)
    copy = folder / "points"
    try:
        with copy_errors(points, copy):
            engine.require_shard(points)
            size = disk_bytes(points)
            if shutil.disk_usage(folder).free < size + engine.RESERVE:
                raise no_space(points, copy)
        copy_folder(points, copy)
        with engine.docrag_errors(points):
            shard = edge.EdgeShard.load(str(copy), engine.config(layout))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    logger.info(
        "%s cannot be written: opened a copy of its points, %d MiB in %.1f s",
        points.parent,
        size >> 20,
        time.monotonic() - started,
    )
    return shard


def _temporary_folder(points: Path) -> Path:
    """Create a folder that only this user can read."""
    try:
        return Path(tempfile.mkdtemp(prefix="docrag-read-only-"))
    except OSError as error:
        raise StoreError(
            f"no folder for a copy of {points}: {error.strerror}",
            "let TMPDIR name a folder that can be written",
        ) from error
