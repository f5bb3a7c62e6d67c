"""Records in a folder, searched in this process by qdrant-edge."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import qdrant_edge as edge
from qdrant_client import models

from docrag.errors import StoreError
from docrag.store.layout import INTEGERS, KEYWORDS, Layout, check
from docrag.store.local import engine, translate
from docrag.store.local.cache import ReadKey, RecordCache
from docrag.store.lock import FolderLock, ReadWriteLock
from docrag.types import PageRecord, ScoredId

BATCH = 8
"""Pages in one write. With 1030 x 128 floats a page one costs 4.3 ms of CPU in eights, 4.7 alone, and 5 in
thirty-twos. The engine holds the interpreter lock while it reads and writes them: 30 ms for 8."""

RENEW_BYTES = 2**30
"""Bytes written until the shard is opened anew, which lets go of the parts of its files that are mapped:
6,000 pages of 380 x 384 floats then peak at 1.3 GiB resident instead of 2.3, for 0.6 s each time."""

_SCROLL = 256
_FACETS = 1_000_000


class EdgeStore:
    """A `Store` in a folder that one process at a time can open; its methods may be called from many threads.

    Use `create` or `open`.
    """

    def __init__(self, path: Path, layout: Layout, shard: edge.EdgeShard, lock: FolderLock) -> None:
        self.path = path
        self.layout = layout
        self._shard: edge.EdgeShard | None = shard
        self._lock = lock
        self._calls_lock = ReadWriteLock()
        self._cache = RecordCache(halves=layout.halves)
        self._written = 0

    @classmethod
    def create(cls, path: Path, layout: Layout) -> Self:
        """Make an empty index; one that was half made when its process was killed is made again.

        Raises:
            StoreError: There is something at the path already.
            IndexInUse: Another process is making it.
            StorageFull: The disk is full.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StoreError(f"{path} exists already", "open it, or choose another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with FolderLock(path):
            engine.create(path, layout, KEYWORDS, INTEGERS)
        return cls.open(path, layout)

    @classmethod
    def open(cls, path: Path, layout: Layout) -> Self:
        """Open an index; what was written and not flushed before a crash is replayed.

        Raises:
            IndexNotFound: There is none at the path.
            IndexInUse: Another process, or this one, has it open.
            IndexMismatch: It has other vectors than the layout.
        """
        engine.require_index(path)
        lock = FolderLock(path)
        try:
            return cls(path, layout, engine.load(path, layout), lock)
        except BaseException:
            lock.release()
            raise

    def upsert(self, records: Sequence[PageRecord]) -> None:
        """Write records, all of them validated first; an id that exists is replaced.

        Raises:
            InvalidRecord: A record does not fit the layout; none of the batch is written.
            StorageFull: The disk is full; none of the batch is written.
        """
        for record in records:
            check(record, self.layout)
        size = sum(engine.size(record) for record in records)
        engine.require_space(self.path, size)
        for start in range(0, len(records), BATCH):
            batch = records[start : start + BATCH]
            points = [engine.point(record) for record in batch]
            self._update(edge.UpdateOperation.upsert_points(points), [record.id for record in batch])
        self._written += size

    def flush(self) -> None:
        """Return once all that was written survives a power cut."""
        with self._use() as shard:
            shard.flush()
        if self._written > RENEW_BYTES:
            self._renew()

    def query(self, requests: Sequence[models.QueryRequest]) -> list[list[ScoredId]]:
        """Answer queries in one round; a list of pages for each, best first."""
        batch = edge.QueryBatchRequest([translate.request(request) for request in requests])
        with self._use() as shard:
            answers = shard.query_batch(batch)
        return [[ScoredId(str(point.id), point.score) for point in answer] for answer in answers]

    def retrieve(
        self, ids: Sequence[str], *, vectors: Sequence[str] = (), payload: Sequence[str] | None = None
    ) -> list[PageRecord]:
        """Read records in the order of ids, those that do not exist left out.

        A page with `patches` of 370 x 384 takes 3 ms of CPU, for the engine hands out lists of floats; 0.2
        where it was read a short while ago.

        Args:
            ids: Page ids.
            vectors: Names of the vectors to read.
            payload: Payload keys to read, nested ones with dots; None reads all.
        """
        part, moment = (
            ReadKey(tuple(vectors), None if payload is None else tuple(payload)),
            self._cache.moment,
        )
        with self._use() as shard:
            records = self._cache.find(part, ids)
            missing: list[edge.PointId] = [id for id in ids if id not in records]
            found = shard.retrieve(missing, _payload_keys(payload), list(vectors) or False) if missing else []
        if found:
            read = list(map(engine.record, found))
            self._cache.keep(part, read, moment)
            records |= {record.id: record for record in read}
        return [records[id] for id in ids if id in records]

    def scroll(
        self, filter: models.Filter | None = None, *, payload: Sequence[str] | None = None
    ) -> Iterator[PageRecord]:
        """Every record that matches, without vectors."""
        condition, offset = translate.filter_of(filter), None
        while True:
            ask = edge.ScrollRequest(
                offset=offset,
                limit=_SCROLL,
                filter=condition,
                with_payload=_payload_keys(payload),
                with_vector=False,
            )
            with self._use() as shard:
                found, offset = shard.scroll(ask)
            yield from map(engine.record, found)
            if offset is None:
                return

    def set_payload(
        self, values: Mapping[str, Any], filter: models.Filter, *, key: str | None = None
    ) -> None:
        """Set payload values on the records that match; `key` names the nested object to set them in."""
        condition = translate.filter_of(filter)
        self._update(edge.UpdateOperation.set_payload_by_filter(condition, dict(values), key))

    def delete(self, filter: models.Filter) -> None:
        """Remove the records that match; the space comes back with `optimize`."""
        self._update(edge.UpdateOperation.delete_points_by_filter(translate.filter_of(filter)))

    def count(self, filter: models.Filter | None = None) -> int:
        """How many records match, exactly."""
        with self._use() as shard:
            return shard.count(edge.CountRequest(exact=True, filter=translate.filter_of(filter)))

    def facet(self, key: str) -> dict[str, int]:
        """How many records have each value of an indexed keyword field."""
        with self._use() as shard:
            found = shard.facet(edge.FacetRequest(key, limit=_FACETS, exact=True))
        # The engine also names values whose records are all gone.
        return {str(hit.value): hit.count for hit in found.hits if hit.count}

    def optimize(self) -> None:
        """Give back the space of removed and replaced pages, once they are a fifth of the index.

        Does nothing where the disk could not hold the index twice. No HNSW is built: at the sizes that one
        process searches it would cost more than it saves (`engine.config`).
        """
        size = sum(file.stat().st_blocks * 512 for file in self.path.rglob("*") if file.is_file())
        if shutil.disk_usage(self.path).free < size + engine.RESERVE:
            return
        self.flush()
        self._renew()
        with self._use() as shard:
            changed = shard.optimize()
        if changed:
            self._renew()

    def close(self) -> None:
        """Flush and let go of the index when the calls under way have returned; twice is harmless."""
        with self._calls_lock.alone():
            shard, self._shard = self._shard, None
            try:
                if shard is not None:
                    with engine.named_errors(self.path):
                        shard.flush()
                        shard.close()
            finally:
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
            with self._use() as shard:
                shard.update(operation)
        finally:  # also when it failed half-way
            self._cache.forget(ids)

    def _renew(self) -> None:
        """Close and open: the only way to make the engine forget what it has mapped."""
        with self._calls_lock.alone():
            shard, self._shard = self._shard, None
            if shard is None:
                raise _closed(self.path)
            with engine.named_errors(self.path):
                shard.close()
            self._shard = engine.load(self.path, self.layout)
            self._written = 0

    @contextmanager
    def _use(self) -> Iterator[edge.EdgeShard]:
        """The shard, which is neither closed nor renewed meanwhile, and whose errors get their names."""
        with self._calls_lock.shared(), engine.named_errors(self.path):
            if self._shard is None:
                raise _closed(self.path)
            yield self._shard


def _payload_keys(keys: Sequence[str] | None) -> bool | list[str]:
    """What edge calls `with_payload`."""
    return True if keys is None else list(keys) or False


def _closed(path: Path) -> StoreError:
    return StoreError(f"the index {path} is closed")
