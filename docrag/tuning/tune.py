"""How few pages need to be compared exactly: the flow behind `docrag tune`."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from qdrant_client import models

from docrag.encode.encoders import Encoders
from docrag.errors import StoreError
from docrag.search.plan import queries
from docrag.search.stages import SIEVE_ROWS, Stages, shortened
from docrag.store.base import Store
from docrag.store.payload import blocks_of
from docrag.tuning.alternatives import Alternative, alternatives
from docrag.types import BM25, CAPTION, IMAGE, PATCHES, POOLED, SparseVector, Vector

TOP = 10
"""Pages of the exact ranking that should be found."""
FEWEST_PAGES = 200
"""Below this, exact search is quick, and what fits would not fit the index when it has grown."""
QUESTIONS = 50
MOST_QUESTIONS = 200
"""Of those that people give: each is searched for exactly."""
SIZES = (10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000)
SIEVES = (0, 100, 200, 400, 800, 1600, 3200)
BESIDE = (BM25, CAPTION, IMAGE)
"""Vectors that may propose pages beside `pooled`."""
OTHERS = (0, 50)
"""Pages that each of them proposes."""
WORTH = 0.9
"""A plan of more stages must be this much faster than a simpler one."""
_TIE = 1e-4
_FEWEST_WORDS, _MOST_WORDS = 3, 14

Query = Mapping[str, Vector]


@dataclass(frozen=True, slots=True)
class MeasuredStages:
    """A plan as it was measured."""

    stages: Stages
    recall: float
    """Share of the exact ten best pages that it finds."""
    latency_ms: float
    """Median."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was tried on an index."""

    pages: int
    questions: int
    exact_ms: float
    """Median of exact search over all pages."""
    trials: tuple[MeasuredStages, ...]
    """For each kind of plan the smallest that reaches the recall, simple ones first; then the defaults."""
    chosen: MeasuredStages | None
    """The fastest that reaches the recall asked for, simpler ones first; None where none does."""
    alternatives: tuple[Alternative, ...] = ()
    """Other poolings, datatypes and quantizations, for an index that is built anew."""

    def measured(self) -> dict[str, float]:
        """What the chosen plan was chosen by."""
        chosen = {"recall": self.chosen.recall, "latency_ms": self.chosen.latency_ms} if self.chosen else {}
        return {"pages": self.pages, "questions": self.questions, "exact_ms": self.exact_ms, **chosen}


@dataclass(frozen=True, slots=True)
class _Ranked:
    """What each stage gives a query."""

    best: frozenset[str]
    """The pages that are as good as the exact tenth, or better."""
    pooled: tuple[str, ...]
    sieve: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]
    exact_ms: float

    def recall(self, found: Sequence[str] | set[str]) -> float:
        """Share of the ten best pages that are there; more are as good only where they tie."""
        wanted = min(TOP, len(self.best))
        return min(len(self.best & set(found)), wanted) / wanted if wanted else 1.0

    def proposed(self, pooled: int, sieve: int, others: int) -> set[str]:
        """The pages that a plan would compare exactly."""
        passed = frozenset(self.sieve[:sieve])
        first = [page for page in self.pooled if not sieve or page in passed][:pooled]
        return {*first, *(page for ranking in self.others for page in ranking[:others])}


def tune(
    store: Store, encoders: Encoders, questions: Sequence[str], recall: float, *, compare: bool = False
) -> Tuning:
    """Measure which plans find what exact search finds, and how long they take.

    Args:
        store: At least FEWEST_PAGES pages.
        encoders: Of the index.
        questions: What people ask; empty takes headings and paragraphs of pages of the index. Of more than
            MOST_QUESTIONS, some are left out.
        recall: Share of the exact ten best pages that must be found, 0..1.
        compare: Whether other poolings, datatypes and quantizations are tried too, on a sample of the pages.

    Raises:
        StoreError: There are too few pages, or nothing to ask.
    """
    pages = store.count()
    if pages < FEWEST_PAGES:
        raise StoreError(
            f"the index has {pages} pages: nothing is gained by tuning it",
            f"search is exact enough and fast below {FEWEST_PAGES} pages; ingest more, then tune",
        )
    given = questions[:: -(-len(questions) // MOST_QUESTIONS) or 1]
    texts = given or page_questions(store, QUESTIONS)
    asked = [vectors for vectors in map(encoders.encode_query, texts) if PATCHES in vectors]
    if not asked:
        raise StoreError("no page of the index has words to ask for", "give questions: --queries FILE")
    ranked = [_rank(store, vectors) for vectors in asked]
    beside = [name for name in BESIDE if any(name in vectors for vectors in asked)]
    candidates = [*_smallest(ranked, recall, pages, beside), Stages.for_pages(pages)]
    first = [_try(store, stages, asked, ranked) for stages in candidates]
    again = [_try(store, stages, asked, ranked) for stages in candidates]
    # What else the machine does in between slows a pass down; it is seldom that it does so twice.
    trials = tuple(min(pair, key=lambda trial: trial.latency_ms) for pair in zip(first, again, strict=True))
    exact_ms = float(np.median([one.exact_ms for one in ranked]))
    others = tuple(alternatives(store, asked)) if compare else ()
    return Tuning(pages, len(asked), exact_ms, trials, _choose(trials, recall), others)


def page_questions(store: Store, most: int, seed: int = 0) -> list[str]:
    """Headings and openings of paragraphs, each of another page; the same of the same index.

    Args:
        store: The pages.
        most: How many, at most.
        seed: Of the sample.
    """
    ids = sorted(record.id for record in store.scroll(payload=["metadata.page"]))
    chosen = random.Random(seed)
    texts = []
    for page_id in chosen.sample(ids, len(ids)):
        said = [text for record in store.retrieve([page_id]) for text in _sayings(record.payload)]
        if said:
            texts.append(chosen.choice(said))
        if len(texts) == most:
            break
    return texts


def _sayings(payload: Mapping[str, Any]) -> Iterator[str]:
    """What a page could be asked by: its caption without the document's title, and each of its blocks."""
    metadata = payload["metadata"]
    caption = str(metadata.get("caption", "")).removeprefix(str(metadata.get("title", "")))
    for text in (caption, *(block.text for block in blocks_of(payload))):
        words = text.split()[:_MOST_WORDS]
        if sum(any(letter.isalpha() for letter in word) for word in words) >= _FEWEST_WORDS:
            yield " ".join(words)


def _rank(store: Store, vectors: Query) -> _Ranked:
    """Every stage by itself, one request after the other so that the exact one can be timed."""
    patches = vectors[PATCHES]
    assert not isinstance(patches, SparseVector)
    started = time.perf_counter()
    [exact] = store.query([_nearest(patches, PATCHES, 3 * TOP)])
    exact_ms = 1000 * (time.perf_counter() - started)
    last = exact[:TOP][-1].score if exact else 0.0
    best = frozenset(page.id for page in exact if page.score >= last - _TIE * abs(last))
    others = [_nearest(vectors[name], name, max(OTHERS)) for name in BESIDE if _usable(vectors, name)]
    requests = [
        _nearest(patches, POOLED, max(SIZES)),
        _nearest(shortened(patches), POOLED, max(SIEVES)),
        *others,
    ]
    pooled, sieve, *rest = [tuple(page.id for page in found) for found in store.query(requests)]
    # A short query passes no sieve: any plan compares all pages with it.
    return _Ranked(best, pooled, sieve if len(patches) > 2 * SIEVE_ROWS else pooled, tuple(rest), exact_ms)


def _usable(vectors: Query, name: str) -> bool:
    vector = vectors.get(name)
    return vector is not None and not (isinstance(vector, SparseVector) and not vector.indices)


def _nearest(vector: Vector, using: str, limit: int) -> models.QueryRequest:
    query = (
        models.SparseVector(indices=list(vector.indices), values=list(vector.values))
        if isinstance(vector, SparseVector)
        else np.asarray(vector, np.float32).tolist()
    )
    exact = models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(ignore=True))
    return models.QueryRequest(query=query, using=using, limit=limit, params=exact)


def _smallest(
    ranked: Sequence[_Ranked], recall: float, pages: int, beside: Sequence[str]
) -> Iterator[Stages]:
    """For each kind of plan, simple ones first, the fewest pages that hold the best ones often enough."""
    for others, sieve in product(OTHERS, SIEVES):
        for pooled in SIZES:
            if sieve >= pages or (sieve and pooled > sieve // 2):
                break
            found = np.mean([one.recall(one.proposed(pooled, sieve, others)) for one in ranked])
            if found >= recall:
                yield Stages({POOLED: pooled, **{name: others for name in beside if others}}, sieve)
                break


def _try(store: Store, stages: Stages, asked: Sequence[Query], ranked: Sequence[_Ranked]) -> MeasuredStages:
    """Search as the late mode does, and compare."""
    recalls, seconds = [], []
    for vectors, known in zip(asked, ranked, strict=True):
        request = queries("late", vectors, None, TOP, stages)["late"]
        started = time.perf_counter()
        [found] = store.query([request])
        seconds.append(time.perf_counter() - started)
        recalls.append(known.recall([page.id for page in found[:TOP]]))
    return MeasuredStages(stages, float(np.mean(recalls)), 1000 * float(np.median(seconds)))


def _choose(trials: Sequence[MeasuredStages], recall: float) -> MeasuredStages | None:
    """The fastest that is good enough; one of more stages only where it is clearly faster."""
    chosen: MeasuredStages | None = None
    for trial in trials:
        if trial.recall < recall:
            continue
        if chosen is None or trial.latency_ms < WORTH * chosen.latency_ms:
            chosen = trial
    return chosen
