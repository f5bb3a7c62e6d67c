"""What other poolings, datatypes and quantizations would give an index, tried on a sample of its pages."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from docrag.encode.vectors.muvera import Muvera
from docrag.encode.vectors.pooling import POOLINGS
from docrag.store.base import Store
from docrag.store.payload import boxes_of
from docrag.tuning.trial import QUANTIZATIONS, SampleShard, VectorStorage, stored_sample
from docrag.types import PATCHES, Datatype, MultiVector, SparseVector, Vector

SAMPLE_PAGES = 200
"""Their vectors are read into memory, and written once for each kind of storage."""
QUESTIONS = 20
PROPOSED_SHARE = 0.1
"""Share of the sample that a pooling proposes."""
TOP = 10
OVERSAMPLING = 4.0
"""Quantized vectors select this many times the wanted pages, which are then scored by their own vectors."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to store the pages."""

    what: str
    """Such as `pooled by rows`, `patches as turbo8`, `quantized to int8` (a copy in addition to float16) and
    `quantized to int8, rescored`."""
    recall: float
    """Share of the exact ten best pages of the sample that are found, 0..1: for a pooling, among the tenth
    of the pages that it proposes; for a datatype or a quantization, among its ten best pages."""
    kb_a_page: float
    """The vectors on disk, quantized copies together with their originals, without what any index needs."""
    latency_ms: float
    """Median time to compare a question with the whole sample, in the engine."""
    making_ms: float = 0.0
    """Time to pool one page."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """Pages and questions, and which pages are best for each question."""

    pages: Sequence[MultiVector]
    queries: Sequence[Floats]
    best: Sequence[frozenset[int]]

    @property
    def rows(self) -> list[Floats]:
        return [page.vectors for page in self.pages]

    @property
    def dim(self) -> int:
        return int(self.pages[0].vectors.shape[1])


def alternatives(
    store: Store, queries: Sequence[Mapping[str, Vector]], seed: int = 0
) -> Iterator[Alternative]:
    """Try every pooling, MUVERA, every datatype and every quantization on pages of an index.

    Args:
        store: The pages.
        queries: The vectors of questions. Only the first QUESTIONS are used.
        seed: Seed of the sample.

    Raises:
        StorageFull: The disk for temporary files has no space for the sample.
    """
    sample = _draw_sample(store, queries, seed)
    for kind, pool in POOLINGS.items():
        yield _try_pooling(f"pooled by {kind}", sample, pool, _unchanged, VectorStorage(sample.dim))
    muvera = Muvera(sample.dim)
    storage = VectorStorage(muvera.size, multi=False)
    yield _try_pooling(
        "pooled by muvera", sample, lambda page: muvera.page(page.vectors), muvera.query, storage
    )
    for datatype in get_args(Datatype):
        with stored_sample(sample.rows, VectorStorage(sample.dim, datatype)) as shard:
            yield _try_storage(f"patches as {datatype}", sample, shard)
    for name in QUANTIZATIONS:
        with stored_sample(sample.rows, VectorStorage(sample.dim, quantization=name)) as shard:
            yield _try_storage(f"quantized to {name}", sample, shard)
            yield _try_storage(f"quantized to {name}, rescored", sample, shard, OVERSAMPLING)


def _draw_sample(store: Store, queries: Sequence[Mapping[str, Vector]], seed: int) -> _Sample:
    ids = sorted(record.id for record in store.scroll(payload=["metadata.page"]))
    chosen = random.Random(seed).sample(ids, min(SAMPLE_PAGES, len(ids)))
    records = store.retrieve(chosen, vectors=[PATCHES], payload=["layout.boxes"])
    pages = [MultiVector(_rows(record.vectors[PATCHES]), boxes_of(record.payload)) for record in records]
    patches = [_rows(vectors[PATCHES]) for vectors in queries[:QUESTIONS]]
    return _Sample(pages, patches, [_best_pages(query, pages) for query in patches])


def _unchanged(query: Floats) -> Floats:
    return query


def _try_pooling(
    what: str,
    sample: _Sample,
    pool: Callable[[MultiVector], Floats],
    pool_query: Callable[[Floats], Floats],
    storage: VectorStorage,
) -> Alternative:
    """Whether the best pages are among those that a pooling proposes for exact comparison."""
    started = time.perf_counter()
    pooled = [pool(page) for page in sample.pages]
    making_ms = 1000 * (time.perf_counter() - started) / len(pooled)
    proposed = max(TOP, round(PROPOSED_SHARE * len(pooled)))
    with stored_sample(pooled, storage) as shard:
        recall, latency_ms = _measure(sample, lambda query: shard.nearest(pool_query(query), proposed))
        return Alternative(what, recall, shard.bytes / len(pooled) / 1000, latency_ms, making_ms)


def _try_storage(what: str, sample: _Sample, shard: SampleShard, oversampling: float = 0.0) -> Alternative:
    """Whether the best pages are still the best when vectors are stored like this."""
    recall, latency_ms = _measure(sample, lambda query: shard.nearest(query, TOP, oversampling))
    return Alternative(what, recall, shard.bytes / len(sample.pages) / 1000, latency_ms)


def _measure(sample: _Sample, search: Callable[[Floats], list[int]]) -> tuple[float, float]:
    """The share of the best pages that a search finds, and its median time in milliseconds."""
    recalls: list[float] = []
    seconds: list[float] = []
    for query, best in zip(sample.queries, sample.best, strict=True):
        started = time.perf_counter()
        pages = search(query)
        seconds.append(time.perf_counter() - started)
        recalls.append(len(best & set(pages)) / len(best))
    return float(np.mean(recalls)), 1000 * float(np.median(seconds))


def _best_pages(query: Floats, pages: Sequence[MultiVector]) -> frozenset[int]:
    """Indices of the best pages by MaxSim."""
    scores = np.array([(query @ page.vectors.T).max(axis=1).sum() for page in pages])
    return frozenset(np.argsort(-scores, kind="stable")[:TOP].tolist())


def _rows(vector: Vector) -> Floats:
    assert not isinstance(vector, SparseVector)
    return np.asarray(vector, np.float32)
