"""What other kinds of pooling and other datatypes would give an index, tried on a sample of its pages."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from docrag.encode.pooling import POOLINGS
from docrag.store.base import Store
from docrag.store.edge import EdgeStore
from docrag.store.layout import Datatype, Layout
from docrag.store.payload import boxes_of
from docrag.types import PATCHES, MultiVector, PageRecord, SparseVector, Vector

SAMPLE = 200
"""Pages: their vectors are read into memory, and written once for each datatype."""
QUESTIONS = 20
SHARE = 0.1
"""Of the sample, the pages that a pooling proposes."""
TOP = 10

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another way to keep the pages."""

    what: str
    """`pooled by rows`, `patches as turbo8`."""
    recall: float
    """Share of the exact ten best pages of the sample that are found: by a pooling, among the tenth of the
    pages that it proposes; by a datatype, by exact search."""
    kb_a_page: float
    """Size of the vectors, without what comes with any index."""
    latency_ms: float
    """Median of exact search in the sample for a datatype; of pooling a page for a pooling."""


def alternatives(store: Store, asked: Sequence[Mapping[str, Vector]], seed: int = 0) -> Iterator[Alternative]:
    """Try every kind of pooling and every datatype on pages of an index.

    Args:
        store: The pages.
        asked: The vectors of questions; of more than QUESTIONS, the first are taken.
        seed: Of the sample.
    """
    ids = sorted(record.id for record in store.scroll(payload=["metadata.page"]))
    chosen = random.Random(seed).sample(ids, min(SAMPLE, len(ids)))
    records = store.retrieve(chosen, vectors=[PATCHES], payload=["layout.boxes"])
    pages = [MultiVector(_rows(record.vectors[PATCHES]), boxes_of(record.payload)) for record in records]
    queries = [_rows(vectors[PATCHES]) for vectors in asked[:QUESTIONS]]
    best = [_best(query, [page.vectors for page in pages], TOP) for query in queries]
    for kind in POOLINGS:
        yield _pooling(kind, pages, queries, best)
    for datatype in get_args(Datatype):
        yield _datatype(datatype, records, pages, queries, best)


def _pooling(
    kind: str, pages: Sequence[MultiVector], queries: Sequence[Floats], best: Sequence[set[int]]
) -> Alternative:
    started = time.perf_counter()
    pooled = [POOLINGS[kind](page) for page in pages]
    took = (time.perf_counter() - started) / len(pages)
    proposed = max(TOP, round(SHARE * len(pages)))
    shares = [
        len(wanted & _best(query, pooled, proposed)) / len(wanted)
        for query, wanted in zip(queries, best, strict=True)
    ]
    kb = sum(2 * vectors.size for vectors in pooled) / len(pages) / 1000
    return Alternative(f"pooled by {kind}", float(np.mean(shares)), kb, 1000 * took)


def _datatype(
    datatype: Datatype,
    records: Sequence[PageRecord],
    pages: Sequence[MultiVector],
    queries: Sequence[Floats],
    best: Sequence[set[int]],
) -> Alternative:
    dim = pages[0].vectors.shape[1]
    ids = [record.id for record in records]
    shares, seconds = [], []
    with tempfile.TemporaryDirectory(prefix="docrag-tune-") as folder:
        place = Path(folder) / "points"
        patches = Layout(Layout.for_dims(late=dim, image=None, text=1, datatype=datatype).vectors[:1])
        with EdgeStore.create(place, patches) as store:
            store.upsert([replace(record, payload={"page_content": ""}) for record in records])
            for query, wanted in zip(queries, best, strict=True):
                request = models.QueryRequest(query=query.tolist(), using=PATCHES, limit=TOP)
                started = time.perf_counter()
                [found] = store.query([request])
                seconds.append(time.perf_counter() - started)
                shares.append(len(wanted & {ids.index(page.id) for page in found}) / len(wanted))
        files = [file for file in place.rglob("*") if file.is_file() and f"-{PATCHES}/" in str(file)]
        kb = sum(file.stat().st_blocks * 512 for file in files) / len(pages) / 1000
    return Alternative(f"patches as {datatype}", float(np.mean(shares)), kb, 1000 * float(np.median(seconds)))


def _best(query: Floats, pages: Sequence[Floats], count: int) -> set[int]:
    """Numbers of the best pages by MaxSim."""
    scores = np.array([(query @ page.T).max(axis=1).sum() for page in pages])
    return {int(number) for number in np.argsort(-scores, kind="stable")[:count]}


def _rows(vector: Vector) -> Floats:
    assert not isinstance(vector, SparseVector)
    return np.asarray(vector, np.float32)
