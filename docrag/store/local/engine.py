"""The qdrant-edge shard of an index: its configuration, the conversion of records, and its errors."""

from __future__ import annotations

import gc
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
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
from docrag.store.layout import INTEGERS, KEYWORDS, Layout, VectorSpec
from docrag.types import PATCHES, PageRecord, SparseVector, Vector

RESERVE = 64 * 2**20
"""Bytes that must stay free on the disk: the write-ahead log grows by segments of 32 MiB, and a full disk
kills the process (SIGBUS, seen on ext4 and tmpfs)."""

_CONFIG_FILE = "edge_config.json"
"""The engine writes it into every shard."""
_NO_INDEXING_KB = 2**40
"""A segment size that is never reached, so that no HNSW index is built."""


PAYLOAD_INDEXES: Mapping[str, edge.PayloadSchemaType] = {
    **dict.fromkeys(KEYWORDS, edge.PayloadSchemaType.Keyword),
    **dict.fromkeys(INTEGERS, edge.PayloadSchemaType.Integer),
}
"""The payload fields with an index, and its kind."""


def create(path: Path, layout: Layout) -> None:
    """Create an empty shard with payload indexes; the folder appears only once it is complete.

    Args:
        path: Where the shard is created.
        layout: Its vectors.

    Raises:
        StorageFull: The disk is full.
    """
    require_space(path.parent, 0)
    temporary = path.with_name(f".{path.name}.draft")
    with docrag_errors(path):
        if temporary.exists():  # of a process that was killed here
            shutil.rmtree(temporary)
        temporary.mkdir()
        shard = edge.EdgeShard.create(str(temporary), config(layout))
        for key, schema in PAYLOAD_INDEXES.items():
            shard.update(edge.UpdateOperation.create_field_index(key, schema))
        shard.flush()
        shard.close()
        temporary.rename(path)


def require_shard(path: Path) -> None:
    """Refuse a folder without a shard: the engine would create an empty one in it, without payload indexes.

    Raises:
        IndexNotFound: There is no shard.
    """
    if not (path / _CONFIG_FILE).is_file():
        raise IndexNotFound(f"nothing is indexed in {path}", "ingest something first")


def load(path: Path, layout: Layout) -> edge.EdgeShard:
    """Open the shard at a path that the caller has locked.

    Raises:
        IndexNotFound: There is no shard.
        IndexMismatch: Its vectors are not those of the layout.
    """
    require_shard(path)
    with docrag_errors(path):
        return edge.EdgeShard.load(str(path), config(layout))


def config(layout: Layout) -> edge.EdgeConfig:
    """Return the settings of the engine, for an index of tens of thousands of pages at most.

    The optimiser only has to clear away removed pages. When it built indexes it took 3.6 s and 1.6 GiB for
    1,945 pages of 380 x 384 floats, and a two-stage query still took 27 ms (65 ms at 6,000 pages): the time
    goes into MaxSim, for which there is no index here. From about 8,000 pages on, a server is the better
    choice.
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
        # The engine's default leaves one of two cores idle when there are several segments.
        max_search_threads=os.cpu_count(),
        optimizers=edge.EdgeOptimizersConfig(
            indexing_threshold=_NO_INDEXING_KB, deleted_threshold=0.2, vacuum_min_vector_number=100
        ),
    )


def _dense_params(spec: VectorSpec) -> edge.EdgeVectorParams:
    if spec.kind == "dense":
        return edge.EdgeVectorParams(spec.dim, edge.Distance.Cosine)
    return edge.EdgeVectorParams(
        spec.dim,
        edge.Distance.Dot,
        multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
        datatype=getattr(
            edge.VectorStorageDatatype, spec.datatype.capitalize()
        ),  # the type stub lacks Turbo4
        hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
        # A query reads about a hundred pages of `patches`, but all of `pooled`.
        memory=edge.Memory.Cold if spec.name == PATCHES else edge.Memory.Cached,
    )


def to_point(record: PageRecord) -> edge.Point:
    """Turn a record into a point of the engine."""
    return edge.Point(
        id=record.id,
        vector={name: _to_engine_vector(vector) for name, vector in record.vectors.items()},
        payload=dict(record.payload),
    )


def to_record(point: Any) -> PageRecord:
    """Turn a point that the engine read into a record."""
    with no_garbage_collection():
        vectors = {name: _from_engine_vector(value) for name, value in (point.vector or {}).items()}
    return PageRecord(str(point.id), vectors, point.payload or {})


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Switch the garbage collector off while vectors are lists of floats.

    The hundreds of new lists of a page trigger collections that find nothing and take longer than the reading
    itself: 10 pages of 440 x 384 floats took 60 to 150 ms with them and 40 without.
    """
    was_enabled = gc.isenabled()
    if was_enabled:  # otherwise another thread has switched it off, and will switch it on again
        gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def record_size(record: PageRecord) -> int:
    """Return roughly how many bytes a record takes in memory."""
    vectors = record.vectors.values()
    return sum(
        8 * len(vector.indices) if isinstance(vector, SparseVector) else vector.nbytes for vector in vectors
    ) + len(record.payload["page_content"])


def require_space(folder: Path, size: int) -> None:
    """Refuse a write that could fill the disk, where the engine maps its files: the kernel would kill it.

    Args:
        folder: Where the records would be written.
        size: Bytes of the records; on disk they take up to twice as much, in the log and in the storage.

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
def docrag_errors(path: Path) -> Iterator[None]:
    """Turn the engine's errors, which are all plain `Exception`s, into docrag's."""
    try:
        yield
    except DocragError:
        raise
    except Exception as error:
        message = str(error)
        if "WouldBlock" in message:
            raise IndexInUse(f"{path} is open already", "close the other process that uses it") from error
        if "No space left" in message:
            raise StorageFull(f"no space left for the index in {path}", "free some space") from error
        if "config is incompatible" in message or "Incompatible configs" in message:
            raise IndexMismatch(
                f"{path} holds other vectors: {message}", "ingest into a new index"
            ) from error
        raise StoreError(f"the index {path} failed: {message}") from error


def _to_engine_vector(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return edge.SparseVector(indices=list(vector.indices), values=list(vector.values))
    if vector.ndim == 1:
        return vector.tolist()
    # The engine accepts any sequence of numbers. It reads 1030 x 128 of them in 1.5 ms from views of the
    # rows, in 4.3 ms from the array itself, and in 6.5 ms from `tolist`, whose lists also trigger the garbage
    # collector.
    floats = np.ascontiguousarray(vector, np.float32).reshape(-1).data
    dim = vector.shape[1]
    return [floats[start : start + dim] for start in range(0, len(floats), dim)]


def _from_engine_vector(value: Any) -> Vector:
    if isinstance(value, edge.SparseVector):
        return SparseVector(tuple(value.indices), tuple(value.values))
    if not value or not isinstance(value[0], list):
        return np.asarray(value, np.float32)
    # The numbers have 32 bits or less already, so packing them loses nothing. 370 rows of 384 take 1.2 ms
    # this way and 2.7 ms with np.asarray.
    pack = struct.Struct(f"{len(value[0])}f").pack
    return np.frombuffer(bytearray().join(starmap(pack, value)), np.float32).reshape(len(value), -1)
