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
from docrag.tuning.trial import QUANTIZATIONS, SampleShard, VectorStorage, trial
from docrag.types import PATCHES, Datatype, MultiVector, SparseVector, Vector

SAMPLE = 200
"""Pages: their vectors are read into memory, and written once for each kind of storage."""
QUESTIONS = 20
SHARE = 0.1
"""Of the sample, the pages that a pooling proposes."""
TOP = 10
OVERSAMPLING = 4.0
"""Times as many pages as are wanted, scored again by their own vectors after quantized ones chose them."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to keep the pages."""

    what: str
    """`pooled by rows`, `patches as turbo8`, `quantized to int8`: a copy beside float16; `..., rescored`."""
    recall: float
    """Share of the exact ten best pages of the sample that are found: by a pooling, among the tenth of the
    pages that it proposes; by a datatype or a quantization, among the ten best by it."""
    kb_a_page: float
    """Of the vectors on disk, quantized copies with their originals, without what comes with any index."""
    latency_ms: float
    """Median of comparing a question with the whole sample, in the engine."""
    making_ms: float = 0.0
    """Of pooling a page."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """Pages and questions, and which pages are best."""

    pages: Sequence[MultiVector]
    queries: Sequence[Floats]
    best: Sequence[frozenset[int]]

    @property
    def rows(self) -> list[Floats]:
        return [page.vectors for page in self.pages]

    @property
    def dim(self) -> int:
        return int(self.pages[0].vectors.shape[1])


def alternatives(store: Store, asked: Sequence[Mapping[str, Vector]], seed: int = 0) -> Iterator[Alternative]:
    """Try every pooling, MUVERA, every datatype and every quantization on pages of an index.

    Args:
        store: The pages.
        asked: The vectors of questions; of more than QUESTIONS, the first are taken.
        seed: Of the sample.

    Raises:
        StorageFull: There is no space for the sample among the temporary files.
    """
    sample = _sample_of(store, asked, seed)
    same: Callable[[Floats], Floats] = lambda query: query  # noqa: E731
    for kind, pool in POOLINGS.items():
        yield _proposing(f"pooled by {kind}", sample, pool, same, VectorStorage(sample.dim))
    muvera = Muvera(sample.dim)
    encoded: Callable[[MultiVector], Floats] = lambda page: muvera.page(page.vectors)  # noqa: E731
    yield _proposing(
        "pooled by muvera", sample, encoded, muvera.query, VectorStorage(muvera.size, multi=False)
    )
    for datatype in get_args(Datatype):
        with trial(sample.rows, VectorStorage(sample.dim, datatype)) as tried:
            yield _finding(f"patches as {datatype}", sample, tried)
    for name in QUANTIZATIONS:
        with trial(sample.rows, VectorStorage(sample.dim, quantization=name)) as tried:
            yield _finding(f"quantized to {name}", sample, tried)
            yield _finding(f"quantized to {name}, rescored", sample, tried, OVERSAMPLING)


def _sample_of(store: Store, asked: Sequence[Mapping[str, Vector]], seed: int) -> _Sample:
    ids = sorted(record.id for record in store.scroll(payload=["metadata.page"]))
    chosen = random.Random(seed).sample(ids, min(SAMPLE, len(ids)))
    records = store.retrieve(chosen, vectors=[PATCHES], payload=["layout.boxes"])
    pages = [MultiVector(_rows(record.vectors[PATCHES]), boxes_of(record.payload)) for record in records]
    queries = [_rows(vectors[PATCHES]) for vectors in asked[:QUESTIONS]]
    return _Sample(pages, queries, [_best(query, pages) for query in queries])


def _proposing(
    what: str,
    sample: _Sample,
    pool: Callable[[MultiVector], Floats],
    ask: Callable[[Floats], Floats],
    storage: VectorStorage,
) -> Alternative:
    """Whether the best pages are among those that a pooling would propose for exact comparison."""
    started = time.perf_counter()
    pooled = [pool(page) for page in sample.pages]
    making = (time.perf_counter() - started) / len(pooled)
    proposed = max(TOP, round(SHARE * len(pooled)))
    with trial(pooled, storage) as tried:
        recall, took = _asked(sample, lambda query: tried.nearest(ask(query), proposed))
        return Alternative(what, recall, tried.bytes / len(pooled) / 1000, took, 1000 * making)


def _finding(what: str, sample: _Sample, tried: SampleShard, oversampling: float = 0.0) -> Alternative:
    """Whether the best pages are the best ones by how the vectors are stored."""
    recall, took = _asked(sample, lambda query: tried.nearest(query, TOP, oversampling))
    return Alternative(what, recall, tried.bytes / len(sample.pages) / 1000, took)


def _asked(sample: _Sample, find: Callable[[Floats], list[int]]) -> tuple[float, float]:
    """Share of the best pages that are found, and the median of the milliseconds."""
    shares, seconds = [], []
    for query, wanted in zip(sample.queries, sample.best, strict=True):
        started = time.perf_counter()
        found = find(query)
        seconds.append(time.perf_counter() - started)
        shares.append(len(wanted & set(found)) / len(wanted))
    return float(np.mean(shares)), 1000 * float(np.median(seconds))


def _best(query: Floats, pages: Sequence[MultiVector]) -> frozenset[int]:
    """Numbers of the best pages by MaxSim."""
    scores = np.array([(query @ page.vectors.T).max(axis=1).sum() for page in pages])
    return frozenset(np.argsort(-scores, kind="stable")[:TOP].tolist())


def _rows(vector: Vector) -> Floats:
    assert not isinstance(vector, SparseVector)
    return np.asarray(vector, np.float32)
