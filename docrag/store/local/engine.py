"""The qdrant-edge shard behind an index: its settings, its points, its errors."""

from __future__ import annotations

import gc
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from docrag.errors import (
    DocragError,
    IndexInUse,
    IndexMismatch,
    IndexNotFound,
    StorageFull,
    StoreError,
)
from docrag.store.layout import Layout, VectorSpec
from docrag.types import PATCHES, PageRecord, SparseVector, Vector

RESERVE = 64 * 2**20
"""Bytes that stay free: the write-ahead log grows by segments of 32 MiB, and a full disk kills the process
(SIGBUS, seen on ext4 and tmpfs)."""

_MARK = "edge_config.json"
_NEVER_KB = 2**40


def create(path: Path, layout: Layout, keywords: Sequence[str], integers: Sequence[str]) -> None:
    """Make an empty shard with payload indexes; until it is whole, nothing stands at the path.

    Raises:
        StorageFull: The disk is full.
    """
    require_space(path.parent, 0)
    draft = path.with_name(f".{path.name}.draft")
    with named_errors(path):
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir()
        shard = edge.EdgeShard.create(str(draft), config(layout))
        for keys, schema in (
            (keywords, edge.PayloadSchemaType.Keyword),
            (integers, edge.PayloadSchemaType.Integer),
        ):
            for key in keys:
                shard.update(edge.UpdateOperation.create_field_index(key, schema))
        shard.flush()
        shard.close()
        draft.rename(path)


def require_index(path: Path) -> None:
    """Refuse a folder without a shard: the engine would make an empty one in it, without our payload indexes.

    Raises:
        IndexNotFound: There is none.
    """
    if not (path / _MARK).is_file():
        raise IndexNotFound(f"nothing is indexed in {path}", "ingest something first")


def load(path: Path, layout: Layout) -> edge.EdgeShard:
    """Open the shard at a path, which the caller has locked.

    Raises:
        IndexNotFound: There is none.
        IndexMismatch: It has other vectors.
    """
    require_index(path)
    with named_errors(path):
        return edge.EdgeShard.load(str(path), config(layout))


def config(layout: Layout) -> edge.EdgeConfig:
    """Settings for the pages that one process searches, tens of thousands at most.

    The optimiser has only to clear away removed pages. With indexing it took 3.6 s and 1.6 GiB for 1,945
    pages of 380 x 384 floats, and a query in two stages still took 27 ms (65 ms at 6,000 pages): its time is
    in MaxSim, which has no index here. From about 8,000 pages on, a server is the better place.
    """
    dense = {spec.name: _dense_params(spec) for spec in layout.vectors if spec.kind != "sparse"}
    sparse = {
        spec.name: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)
        for spec in layout.vectors
        if spec.kind == "sparse"
    }
    return edge.EdgeConfig(
        vectors=dense,
        sparse_vectors=sparse,
        wal_enabled=True,
        # The engine's own default leaves one of two cores idle where there are several segments.
        max_search_threads=os.cpu_count(),
        optimizers=edge.EdgeOptimizersConfig(
            indexing_threshold=_NEVER_KB, deleted_threshold=0.2, vacuum_min_vector_number=100
        ),
    )


def _dense_params(spec: VectorSpec) -> edge.EdgeVectorParams:
    if spec.kind == "dense":
        return edge.EdgeVectorParams(spec.dim, edge.Distance.Cosine)
    return edge.EdgeVectorParams(
        spec.dim,
        edge.Distance.Dot,
        multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
        datatype=getattr(edge.VectorStorageDatatype, spec.datatype.capitalize()),  # the stub lacks Turbo4
        hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
        # A query reads a hundred pages of `patches`, and all of `pooled`.
        memory=edge.Memory.Cold if spec.name == PATCHES else edge.Memory.Cached,
    )


def point(record: PageRecord) -> edge.Point:
    """A record as the engine takes it."""
    return edge.Point(
        id=record.id,
        vector={name: _plain(vector) for name, vector in record.vectors.items()},
        payload=dict(record.payload),
    )


def record(found: Any) -> PageRecord:
    """A record as the engine gives it."""
    with no_collection():
        vectors = {name: _vector(value) for name, value in (found.vector or {}).items()}
    return PageRecord(str(found.id), vectors, found.payload or {})


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector out while vectors are lists of floats.

    Hundreds of new lists a page set off collections that find nothing and take longer than
    the reading: 10 pages of 440 x 384 floats took 60 to 150 ms with them and 40 without.
    """
    collecting = gc.isenabled()
    if collecting:  # else another thread keeps it out, and may let it in between these lines
        gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def size(record: PageRecord) -> int:
    """About how many bytes a record has before it is written."""
    vectors = record.vectors.values()
    return sum(
        8 * len(vector.indices) if isinstance(vector, SparseVector) else vector.nbytes for vector in vectors
    ) + len(record.payload["page_content"])


def require_space(folder: Path, size: int) -> None:
    """Refuse to write where the disk could fill up: the engine maps its files, and the kernel then kills it.

    Args:
        folder: Where it would be written.
        size: Bytes of the records: they take up to twice as much, in the log and in the storage.

    Raises:
        StorageFull: There is too little space.
        StoreError: The folder was removed.
    """
    try:
        free = shutil.disk_usage(folder).free
    except FileNotFoundError as error:
        raise StoreError(f"the index in {folder} was removed", "open the index again") from error
    if free < 2 * size + RESERVE:
        raise StorageFull(
            f"{free >> 20} MiB left for the index in {folder}, {(2 * size + RESERVE) >> 20} needed",
            "free some space",
        )


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Gives the engine's errors, which are all bare exceptions, the names that docrag has for them."""
    try:
        yield
    except DocragError:
        raise
    except Exception as error:
        words = str(error)
        if "WouldBlock" in words:
            raise IndexInUse(f"{path} is open already", "close the other process that uses it") from error
        if "No space left" in words:
            raise StorageFull(f"no space left for the index in {path}", "free some space") from error
        if "config is incompatible" in words or "Incompatible configs" in words:
            raise IndexMismatch(f"{path} holds other vectors: {words}", "ingest into a new index") from error
        raise StoreError(f"the index {path} failed: {words}") from error


def _plain(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return edge.SparseVector(indices=list(vector.indices), values=list(vector.values))
    if vector.ndim == 1:
        return vector.tolist()
    # Views of the rows: the engine takes any sequence of numbers, and reads 1030 x 128 of them in 1.5 ms so,
    # in 4.3 from the array itself, in 6.5 with `tolist`, whose lists also set off the garbage collector.
    floats, dim = np.ascontiguousarray(vector, np.float32).reshape(-1).data, vector.shape[1]
    return [floats[start : start + dim] for start in range(0, len(floats), dim)]


def _vector(value: Any) -> Vector:
    if isinstance(value, edge.SparseVector):
        return SparseVector(tuple(value.indices), tuple(value.values))
    if not value or not isinstance(value[0], list):
        return np.asarray(value, np.float32)
    # The numbers are floats of 32 bits or less already. 370 rows of 384 take 1.2 ms so, 2.7 by np.asarray.
    pack = struct.Struct(f"{len(value[0])}f").pack
    return np.frombuffer(bytearray().join(starmap(pack, value)), np.float32).reshape(len(value), -1)
