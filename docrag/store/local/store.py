"""Records in a folder, searched in this process by qdrant-edge."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

import qdrant_edge as edge

from docrag.common.files import FolderLock
from docrag.errors import StoreError
from docrag.store.layout import Layout, validate_record
from docrag.store.local import engine, translate
from docrag.store.local.cache import PackedRecord, ReadKey, RecordCache
from docrag.store.local.scroll import scroll_in_steps
from docrag.store.local.snapshot import disk_bytes
from docrag.store.local.wire import ids_in, with_records
from docrag.store.requests import HasId, PayloadFilter, QueryRequest
from docrag.types import PageRecord, ScoredId

logger = logging.getLogger(__name__)

BATCH = 8
"""Pages in one write. A page of 1030 x 128 floats costs 4.3 ms of CPU in batches of 8, 4.7 ms alone, and 5 ms
in batches of 32. The engine holds the interpreter lock while it converts and writes them: 30 ms for 8
pages."""

RENEW_BYTES = 2**30
"""Bytes written after which the shard is closed and opened again, which unmaps its files: 6,000 pages of 380
x 384 floats then peak at 1.3 GiB resident instead of 2.3, at the cost of 0.6 s each time."""

_SCROLL_SIZE = 256
"""Records that one step of a scroll reads."""
_MAX_FACETS = 1_000_000
"""Values of a field that are counted; more than any index has."""


class EdgeStore:
    """A `Store` in a folder that one process at a time can open; its methods may be called from many threads.

    Use `create` or `open`.
    """

    def __init__(self, path: Path, layout: Layout, shard: edge.EdgeShard, lock: FolderLock | None) -> None:
        self.path = path
        self.layout = layout
        self._shard: edge.EdgeShard | None = shard
        self._lock = lock
        self._calls_lock = ReadWriteLock()
        self._optimize_lock = threading.Lock()
        self._cache = RecordCache(float16_vectors=layout.float16_vectors)
        self._written_bytes = 0
        """Since the shard was opened."""
        self._pid = os.getpid()
        self._version_token = token_hex(8)
        """Random, because another process may have changed the records before this one opened them."""

    @classmethod
    def create(cls, path: Path, layout: Layout) -> Self:
        """Create an empty index; what a killed process left of one is discarded.

        Raises:
            StoreError: Something exists at the path already.
            IndexInUse: Another process is creating it.
            StorageFull: The disk is full.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StoreError(f"{path} exists already", "open it, or choose another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with FolderLock(path):
            engine.create(path, layout)
        logger.info("created an index in %s", path)
        return cls.open(path, layout)

    @classmethod
    def open(cls, path: Path, layout: Layout) -> Self:
        """Open an index; writes that were not flushed before a crash are replayed.

        Raises:
            IndexNotFound: There is none at the path.
            IndexInUse: Another process, or this one, has it open.
            IndexMismatch: Its vectors are not those of the layout.
        """
        engine.require_shard(path)
        lock = FolderLock(path)
        try:
            return cls(path, layout, engine.load(path, layout), lock)
        except BaseException:
            lock.release()
            raise

    def upsert(self, records: Sequence[PageRecord]) -> None:
        """Validate all records, then write them; a record with an existing id replaces it.

        Raises:
            InvalidRecord: A record does not fit the layout; no record is written.
            StorageFull: The disk is full; no record is written.
        """
        for record in records:
            validate_record(record, self.layout)
        size = sum(engine.record_size(record) for record in records)
        engine.require_space(self.path, size)
        for start in range(0, len(records), BATCH):
            batch = records[start : start + BATCH]
            points = [engine.to_point(record) for record in batch]
            self._update(edge.UpdateOperation.upsert_points(points), [record.id for record in batch])
        self._written_bytes += size

    def flush(self) -> None:
        """Return once everything written would survive a power cut."""
        with self._open_shard() as shard:
            shard.flush()
        if self._written_bytes > RENEW_BYTES:
            self._renew()

    def query(
        self,
        requests: Sequence[QueryRequest],
        *,
        vectors: Sequence[str] = (),
        payload: Sequence[str] | None = (),
    ) -> list[list[ScoredId]]:
        """Answer several queries at once; for each a list of pages, best first.

        Args:
            requests: The queries.
            vectors: Names of the vectors to read of each page, into the `record` of its `ScoredId`.
            payload: Payload keys to read of each page, nested ones with dots; None reads all.
        """
        rankings = self.rank(requests)
        if not vectors and payload == ():
            return rankings
        found = ids_in(rankings)
        records = {record.id: record for record in self.retrieve(found, vectors=vectors, payload=payload)}
        return with_records(rankings, records)

    def rank(self, requests: Sequence[QueryRequest]) -> list[list[ScoredId]]:
        """Answer several queries at once with ids and scores alone."""
        batch = edge.QueryBatchRequest([translate.to_query(request) for request in requests])
        with self._open_shard() as shard:
            answers = shard.query_batch(batch)
        return [[ScoredId(str(point.id), point.score) for point in answer] for answer in answers]

    def retrieve(
        self, ids: Sequence[str], *, vectors: Sequence[str] = (), payload: Sequence[str] | None = None
    ) -> list[PageRecord]:
        """Read records in the order of their ids, leaving out those that do not exist.

        A page with `patches` of 370 x 384 takes 3 ms of CPU, because the engine returns lists of floats, and
        0.2 ms if it is in the cache.

        Args:
            ids: Page ids.
            vectors: Names of the vectors to read.
            payload: Payload keys to read, nested ones with dots; None reads all.
        """
        return [record.unpack() for record in self.retrieve_packed(ids, vectors, payload)]

    def retrieve_packed(
        self, ids: Sequence[str], vectors: Sequence[str], payload: Sequence[str] | None
    ) -> list[PackedRecord]:
        """Read records as `retrieve` does, as they are cached: to be sent to another process."""
        key = ReadKey(tuple(vectors), None if payload is None else tuple(payload))
        generation = self._cache.generation
        points: list[Any] = []
        with self._open_shard() as shard:
            records = self._cache.find(key, ids)
            missing: list[edge.PointId] = [id for id in ids if id not in records]
            if missing:
                points = shard.retrieve(missing, _payload_selector(payload), list(vectors) or False)
        if points:
            read = self._cache.add(key, list(map(engine.to_record, points)), generation)
            records |= {record.id: record for record in read}
        return [records[id] for id in ids if id in records]

    def scroll(
        self, filter: PayloadFilter | None = None, *, payload: Sequence[str] | None = None
    ) -> Iterator[PageRecord]:
        """Yield every record that matches, without vectors."""
        return scroll_in_steps(lambda offset: self.scroll_step(filter, payload, offset))

    def scroll_step(
        self, filter: PayloadFilter | None, payload: Sequence[str] | None, offset: str | None
    ) -> tuple[list[PageRecord], str | None]:
        """Read the next records that match, and say where to continue.

        Args:
            filter: As in `scroll`.
            payload: As in `scroll`.
            offset: Where to continue; None begins.

        Returns:
            The records, and the offset of the next step; None if there is none.
        """
        request = edge.ScrollRequest(
            offset=offset,
            limit=_SCROLL_SIZE,
            filter=translate.to_filter(filter),
            with_payload=_payload_selector(payload),
            with_vector=False,
        )
        with self._open_shard() as shard:
            points, following = shard.scroll(request)
        return [engine.to_record(point) for point in points], None if following is None else str(following)

    def set_payload(
        self, values: Mapping[str, Any], filter: PayloadFilter, *, key: str | None = None
    ) -> None:
        """Set payload values on the records that match; `key` names the nested object to set them in."""
        condition = translate.to_filter(filter)
        self._update(edge.UpdateOperation.set_payload_by_filter(condition, dict(values), key))

    def set_payloads(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """Set payload values on single records, by page id."""
        for page_id, payload in values.items():
            # By a filter, because the engine refuses ids that are not there.
            page = translate.to_filter(PayloadFilter(must=(HasId((page_id,)),)))
            self._update(edge.UpdateOperation.set_payload_by_filter(page, dict(payload)), [page_id])

    def delete(self, filter: PayloadFilter) -> None:
        """Remove the records that match; `optimize` frees their space."""
        self._update(edge.UpdateOperation.delete_points_by_filter(translate.to_filter(filter)))

    def count(self, filter: PayloadFilter | None = None) -> int:
        """Return exactly how many records match."""
        with self._open_shard() as shard:
            return shard.count(edge.CountRequest(exact=True, filter=translate.to_filter(filter)))

    def facet(self, key: str) -> dict[str, int]:
        """Return how many records have each value of an indexed keyword field."""
        with self._open_shard() as shard:
            facet = shard.facet(edge.FacetRequest(key, limit=_MAX_FACETS, exact=True))
        # The engine also lists values whose records were all removed.
        return {str(hit.value): hit.count for hit in facet.hits if hit.count}

    def version(self) -> Hashable:
        """Return a value that changes with every write, and is another one in every store that is opened."""
        return self._version_token, self._cache.generation

    def optimize(self) -> None:
        """Free the space of removed and replaced pages, once they are a fifth of the index.

        Nothing happens if another thread is doing this, or if the disk could not hold the index twice. No
        HNSW index is built: at the sizes that one process searches it would cost more than it saves
        (`engine.config`).
        """
        if not self._optimize_lock.acquire(blocking=False):
            logger.info("%s is being optimised already", self.path)
            return
        try:
            self._optimize()
        finally:
            self._optimize_lock.release()

    def _optimize(self) -> None:
        size = disk_bytes(self.path)
        if shutil.disk_usage(self.path).free < size + engine.RESERVE:
            logger.info("not optimising %s: the disk could not hold its %d MiB twice", self.path, size >> 20)
            return
        self.flush()
        self._renew()
        with self._open_shard() as shard:
            changed = shard.optimize()
        if changed:
            logger.info("optimised %s, %d MiB before", self.path, size >> 20)
            self._renew()

    def add_missing_indexes(self) -> None:
        """Make the payload indexes that an older docrag did not make."""
        with self._open_shard() as shard:
            existing = shard.info().payload_schema
        missing = {key: kind for key, kind in engine.PAYLOAD_INDEXES.items() if key not in existing}
        if not missing:
            return
        started = time.perf_counter()
        for key, kind in missing.items():
            self._update(edge.UpdateOperation.create_field_index(key, kind), [])
        self.flush()
        seconds = time.perf_counter() - started
        logger.info("made payload indexes in %s for %s in %.1f s", self.path, ", ".join(missing), seconds)

    def close(self) -> None:
        """Wait for running calls, then flush and close the index; closing twice is harmless.

        After a fork, a child leaves the index to its parent.
        """
        if os.getpid() != self._pid:
            return
        with self._calls_lock.exclusive():
            shard, self._shard = self._shard, None
            try:
                if shard is not None:
                    self._log_cache()
                    with engine.docrag_errors(self.path):
                        shard.flush()
                        shard.close()
            finally:
                if self._lock is not None:
                    self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _update(self, operation: edge.UpdateOperation, ids: Sequence[str] | None = None) -> None:
        engine.require_space(self.path, 0)
        try:
            with self._open_shard() as shard:
                shard.update(operation)
        finally:  # also after an error: the engine may have applied a part of the operation
            self._cache.forget(ids)

    def _renew(self) -> None:
        """Close the shard and open it again: the only way to make the engine unmap its files."""
        logger.debug("reopening %s to free memory, %d bytes written", self.path, self._written_bytes)
        with self._calls_lock.exclusive():
            shard, self._shard = self._shard, None
            if shard is None:
                raise _closed(self.path)
            with engine.docrag_errors(self.path):
                shard.close()
            self._shard = engine.load(self.path, self.layout)
            self._written_bytes = 0

    @contextmanager
    def _open_shard(self) -> Iterator[edge.EdgeShard]:
        """Yield the shard, which is not closed or renewed meanwhile; its errors become docrag's.

        Raises:
            StoreError: The shard was opened before this process was forked. Its threads are not here, so that
                any call would wait for them for ever.
        """
        if os.getpid() != self._pid:
            raise StoreError(
                f"the index {self.path} was opened in the process that this one was forked from",
                "open it after the fork, or do not set in_process, so that processes share it",
            )
        with self._calls_lock.shared(), engine.docrag_errors(self.path):
            if self._shard is None:
                raise _closed(self.path)
            yield self._shard

    def _log_cache(self) -> None:
        logger.debug(
            "record cache of %s: %d records found in it, %d added, %d KiB in use",
            self.path,
            self._cache.hits,
            self._cache.added,
            self._cache.size >> 10,
        )


def _payload_selector(keys: Sequence[str] | None) -> bool | list[str]:
    """Return what edge takes as `with_payload`: True for all, False for none, or a list of keys."""
    if keys is None:
        return True
    return list(keys) or False


def _closed(path: Path) -> StoreError:
    return StoreError(f"the index {path} is closed")


class ReadWriteLock:
    """Lets many threads in at a time, or one alone, which goes before those that come after it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._shared_count = 0
        self._exclusive = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock together with other threads."""
        with self._changed:
            self._changed.wait_for(lambda: not self._exclusive)
            self._shared_count += 1
        try:
            yield
        finally:
            with self._changed:
                self._shared_count -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock alone: wait until all others have left, and let none in."""
        with self._changed:
            self._changed.wait_for(lambda: not self._exclusive)
            self._exclusive = True
            try:
                self._changed.wait_for(lambda: not self._shared_count)
                yield
            finally:
                self._exclusive = False
                self._changed.notify_all()
