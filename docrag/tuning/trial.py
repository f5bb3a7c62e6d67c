"""A temporary shard with one vector of some pages, stored in a way that is being tried out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray

from docrag.store.local.engine import docrag_errors
from docrag.types import Datatype

BATCH = 8
_NAME = "tried"
_INDEXING_THRESHOLD_KB = 1
"""The engine only quantizes segments above this size, when it is told to optimize."""

Floats = NDArray[np.float32]

QUANTIZATIONS: Mapping[str, Callable[[], Any]] = {
    "int8": lambda: edge.ScalarQuantizationConfig(edge.ScalarType.Int8),
    "turbo 4 bits": lambda: edge.TurboQuantQuantizationConfig(bits=edge.TurboQuantBitSize.Bits4),
    "binary": edge.BinaryQuantizationConfig,
}
"""Kinds of quantized copies that the engine can keep beside the vectors and compare instead of them."""


@dataclass(frozen=True, slots=True)
class VectorStorage:
    """How vectors are stored."""

    dim: int
    datatype: Datatype = "float16"
    multi: bool = True
    """Whether a page has several vectors, compared by MaxSim, or one, compared by the dot product."""
    quantization: str = ""
    """A name in QUANTIZATIONS; empty for none."""


class SampleShard:
    """Pages in a temporary folder; made by `stored_sample`."""

    def __init__(self, folder: Path, shard: edge.EdgeShard) -> None:
        self._folder = folder
        self._shard = shard

    def nearest(self, query: Floats, limit: int, oversampling: float = 0.0) -> list[int]:
        """Indices of the best pages; every page is compared.

        Args:
            query: (q, dim), or (dim,) if a page has one vector.
            limit: How many pages.
            oversampling: With quantized storage, this many times `limit` pages are scored again by their
                original vectors; with 0 the quantized scores decide.
        """
        quantized = edge.QuantizationSearchParams(rescore=oversampling > 0, oversampling=oversampling or None)
        request = edge.QueryRequest(
            query=edge.Query.Nearest(query.tolist(), _NAME),
            params=edge.SearchParams(quantization=quantized),
            limit=limit,
            with_payload=False,
            with_vector=False,
        )
        with docrag_errors(self._folder):
            return [int(point.id) for point in self._shard.query(request)]

    @property
    def bytes(self) -> int:
        """Size of the vectors on disk, with their quantized copies."""
        files = [file for file in self._folder.rglob("*") if file.is_file() and f"-{_NAME}/" in str(file)]
        return sum(file.stat().st_blocks * 512 for file in files)


@contextmanager
def stored_sample(pages: Sequence[Floats], storage: VectorStorage) -> Iterator[SampleShard]:
    """Store the vectors of some pages, and delete them in the end.

    Args:
        pages: (n, dim) each, or (dim,) if `multi` is false.
        storage: How they are stored.

    Raises:
        StorageFull: The disk for temporary files has no space for them.
        StoreError: The engine refuses them.
    """
    with tempfile.TemporaryDirectory(prefix="docrag-tune-") as home:
        folder = Path(home)
        with docrag_errors(folder):
            shard = edge.EdgeShard.create(str(folder), _config(storage))
        try:
            with docrag_errors(folder):
                for start in range(0, len(pages), BATCH):
                    batch = enumerate(pages[start : start + BATCH], start)
                    points = [edge.Point(number, {_NAME: vectors.tolist()}, {}) for number, vectors in batch]
                    shard.update(edge.UpdateOperation.upsert_points(points))
                shard.flush()
                if storage.quantization:
                    shard.optimize()
                    shard.close()  # until then the unquantized segment stays on the disk
                    shard = edge.EdgeShard.load(str(folder), _config(storage))
            yield SampleShard(folder, shard)
        finally:
            shard.close()


def _config(storage: VectorStorage) -> edge.EdgeConfig:
    multi = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if storage.multi else None
    quantization = QUANTIZATIONS[storage.quantization]() if storage.quantization else None
    params = edge.EdgeVectorParams(
        storage.dim,
        edge.Distance.Dot,
        multivector_config=multi,
        datatype=getattr(edge.VectorStorageDatatype, storage.datatype.capitalize()),
        quantization_config=quantization,
        hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
    )
    optimizers = edge.EdgeOptimizersConfig(indexing_threshold=_INDEXING_THRESHOLD_KB)
    return edge.EdgeConfig(vectors={_NAME: params}, wal_enabled=True, optimizers=optimizers)
