"""How few pages need to be compared exactly: the flow behind `docrag tune`."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Any

import numpy as np

from docrag.common.time_limit import patience
from docrag.encode.encoders import Encoders
from docrag.errors import StoreError
from docrag.search.query import plan_queries
from docrag.search.stages import SIEVE_ROWS, Stages, shortened
from docrag.store.base import Store
from docrag.store.payload import blocks_of
from docrag.store.requests import QueryRequest
from docrag.tuning.alternatives import Alternative, alternatives
from docrag.types import BM25, CAPTION, IMAGE, PATCHES, POOLED, SparseVector, Vector

logger = logging.getLogger(__name__)

TOP = 10
"""How many pages of the exact ranking should be found."""
FEWEST_PAGES = 200
"""With fewer pages exact search is fast, and a plan that fits would not fit the index once it has grown."""
QUESTIONS = 50
MOST_QUESTIONS = 200
"""How many of the questions that people give are used, since each is also searched exactly."""
SIZES = (10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000)
SIEVES = (0, 100, 200, 400, 800, 1600, 3200)
OTHER_VECTORS = (BM25, CAPTION, IMAGE)
"""Vectors that may propose pages in addition to `pooled`."""
OTHER_SIZES = (0, 50)
"""How many pages each of them proposes."""
WORTHWHILE = 0.9
"""A plan with more stages must take less than this share of the time of a simpler one."""
_TIE = 1e-4
_FEWEST_WORDS, _MOST_WORDS = 3, 14

QueryVectors = Mapping[str, Vector]


@dataclass(frozen=True, slots=True)
class MeasuredStages:
    """A plan as it was measured."""

    stages: Stages
    recall: float
    """Share of the exact ten best pages that it finds, 0..1."""
    latency_ms: float
    """Median."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was tried on an index."""

    pages: int
    questions: int
    exact_ms: float
    """Median of an exact search over all pages."""
    trials: tuple[MeasuredStages, ...]
    """For each kind of plan the smallest that reaches the recall, simple ones first, and finally the
    defaults."""
    chosen: MeasuredStages | None
    """The fastest that reaches the recall, with simpler ones preferred. None if none does."""
    alternatives: tuple[Alternative, ...] = ()
    """Other poolings, datatypes and quantizations, which would need a new index."""

    def measured(self) -> dict[str, float]:
        """What the choice is based on."""
        figures: dict[str, float] = {
            "pages": self.pages,
            "questions": self.questions,
            "exact_ms": self.exact_ms,
        }
        if self.chosen:
            figures |= {"recall": self.chosen.recall, "latency_ms": self.chosen.latency_ms}
        return figures


@dataclass(frozen=True, slots=True)
class _Rankings:
    """What each stage gives for one query, as page ids, best first."""

    best: frozenset[str]
    """The pages that score as well as the exact tenth, or better."""
    pooled: tuple[str, ...]
    sieve: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]
    exact_ms: float

    def recall(self, found: Sequence[str] | set[str]) -> float:
        """Share of the ten best pages that were found; where several tie, any of them counts."""
        wanted = min(TOP, len(self.best))
        return min(len(self.best & set(found)), wanted) / wanted if wanted else 1.0

    def proposed(self, pooled: int, sieve: int, others: int) -> set[str]:
        """The pages that a plan of these sizes would compare exactly."""
        passed = frozenset(self.sieve[:sieve])
        by_pooled = [page for page in self.pooled if not sieve or page in passed][:pooled]
        return {*by_pooled, *(page for ranking in self.others for page in ranking[:others])}


@patience()
def tune(
    store: Store, encoders: Encoders, questions: Sequence[str], recall: float, *, compare: bool = False
) -> Tuning:
    """Measure which plans find what exact search finds, and how long they take.

    Args:
        store: At least FEWEST_PAGES pages.
        encoders: The encoders of the index.
        questions: What people ask. If empty, headings and paragraphs of pages are used. Of more than
            MOST_QUESTIONS, an evenly spaced selection is used.
        recall: Share of the exact ten best pages that must be found, 0..1.
        compare: Whether to also try other poolings, datatypes and quantizations on a sample of the pages.

    Raises:
        StoreError: There are too few pages, or nothing to ask.
    """
    pages = store.count()
    if pages < FEWEST_PAGES:
        raise StoreError(
            f"the index has {pages} pages: tuning it would gain nothing",
            f"search is exact enough and fast below {FEWEST_PAGES} pages; ingest more, then tune",
        )
    texts = _evenly_spaced(questions, MOST_QUESTIONS) or page_questions(store, QUESTIONS)
    encoded = [encoders.encode_query(text) for text in texts]
    queries = [vectors for vectors in encoded if PATCHES in vectors]
    if not queries:
        raise StoreError("no page of the index has words to ask for", "give questions: --queries FILE")
    rankings = [_rank(store, query) for query in queries]
    others = [name for name in OTHER_VECTORS if any(name in query for query in queries)]
    candidates = [*_smallest(rankings, recall, pages, others), Stages.for_pages(pages)]
    logger.info(
        "tuning on %d questions: %d plans reach recall %.2f", len(queries), len(candidates) - 1, recall
    )
    trials = _measure(store, candidates, queries, rankings)
    exact_ms = float(np.median([ranking.exact_ms for ranking in rankings]))
    tried = tuple(alternatives(store, queries)) if compare else ()
    return Tuning(pages, len(queries), exact_ms, trials, _choose(trials, recall), tried)


def page_questions(store: Store, most: int, seed: int = 0) -> list[str]:
    """Headings and beginnings of paragraphs, each of a different page.

    The same index always gives the same ones.

    Args:
        store: The pages.
        most: The largest number of questions.
        seed: Seed of the sample.
    """
    ids = sorted(record.id for record in store.scroll(payload=["metadata.page"]))
    chance = random.Random(seed)
    questions: list[str] = []
    for page_id in chance.sample(ids, len(ids)):
        if len(questions) == most:
            break
        passages = [passage for record in store.retrieve([page_id]) for passage in _passages(record.payload)]
        if passages:
            questions.append(chance.choice(passages))
    return questions


def _evenly_spaced(questions: Sequence[str], most: int) -> list[str]:
    """At most that many questions, evenly spaced."""
    if not questions:
        return []
    step = ceil(len(questions) / most)
    return list(questions[::step])


def _passages(payload: Mapping[str, Any]) -> Iterator[str]:
    """Texts by which a page could be asked for: its caption without the document's title, and each block."""
    metadata = payload["metadata"]
    caption = str(metadata.get("caption", "")).removeprefix(str(metadata.get("title", "")))
    for text in (caption, *(block.text for block in blocks_of(payload))):
        words = text.split()[:_MOST_WORDS]
        if sum(any(letter.isalpha() for letter in word) for word in words) >= _FEWEST_WORDS:
            yield " ".join(words)


def _rank(store: Store, query: QueryVectors) -> _Rankings:
    """Every stage by itself. The exact one is requested alone, so that it can be timed."""
    patches = query[PATCHES]
    assert not isinstance(patches, SparseVector)
    started = time.perf_counter()
    [exact] = store.query([_exact_request(patches, PATCHES, 3 * TOP)])
    exact_ms = 1000 * (time.perf_counter() - started)
    tenth = exact[:TOP][-1].score if exact else 0.0
    best = frozenset(page.id for page in exact if page.score >= tenth - _TIE * abs(tenth))
    requests = [
        _exact_request(patches, POOLED, max(SIZES)),
        _exact_request(shortened(patches), POOLED, max(SIEVES)),
    ]
    for name in OTHER_VECTORS:
        if _is_usable(query.get(name)):
            requests.append(_exact_request(query[name], name, max(OTHER_SIZES)))
    pooled, sieve, *others = [tuple(page.id for page in pages) for pages in store.query(requests)]
    if len(patches) <= 2 * SIEVE_ROWS:  # a short query passes no sieve: every plan compares all pages with it
        sieve = pooled
    return _Rankings(best, pooled, sieve, tuple(others), exact_ms)


def _is_usable(vector: Vector | None) -> bool:
    if isinstance(vector, SparseVector):
        return bool(vector.indices)
    return vector is not None


def _exact_request(vector: Vector, name: str, limit: int) -> QueryRequest:
    return QueryRequest(vector, name, limit, exact=True, ignore_quantization=True)


def _smallest(
    rankings: Sequence[_Rankings], recall: float, pages: int, others: Sequence[str]
) -> Iterator[Stages]:
    """For each kind of plan, simple ones first, the fewest pages that reach the recall."""
    for other_size, sieve in product(OTHER_SIZES, SIEVES):
        for pooled in SIZES:
            if sieve >= pages or (sieve and pooled > sieve // 2):
                break
            reached = np.mean(
                [ranking.recall(ranking.proposed(pooled, sieve, other_size)) for ranking in rankings]
            )
            if reached >= recall:
                yield Stages({POOLED: pooled, **{name: other_size for name in others if other_size}}, sieve)
                break


def _measure(
    store: Store,
    candidates: Sequence[Stages],
    queries: Sequence[QueryVectors],
    rankings: Sequence[_Rankings],
) -> tuple[MeasuredStages, ...]:
    """Measure each candidate twice, in two passes, and keep the faster result.

    Other work on the machine slows a pass down, but seldom at the same place in both.
    """
    first = [_try(store, stages, queries, rankings) for stages in candidates]
    second = [_try(store, stages, queries, rankings) for stages in candidates]
    return tuple(min(pair, key=lambda trial: trial.latency_ms) for pair in zip(first, second, strict=True))


def _try(
    store: Store, stages: Stages, queries: Sequence[QueryVectors], rankings: Sequence[_Rankings]
) -> MeasuredStages:
    """Search as the late mode does, and compare with exact search."""
    recalls: list[float] = []
    seconds: list[float] = []
    for query, ranking in zip(queries, rankings, strict=True):
        request = plan_queries("late", query, None, TOP, stages)["late"]
        started = time.perf_counter()
        [pages] = store.query([request])
        seconds.append(time.perf_counter() - started)
        recalls.append(ranking.recall([page.id for page in pages[:TOP]]))
    return MeasuredStages(stages, float(np.mean(recalls)), 1000 * float(np.median(seconds)))


def _choose(trials: Sequence[MeasuredStages], recall: float) -> MeasuredStages | None:
    """The fastest that reaches the recall; one with more stages only if it is clearly faster."""
    chosen: MeasuredStages | None = None
    for trial in trials:
        if trial.recall < recall:
            continue
        if chosen is None or trial.latency_ms < WORTHWHILE * chosen.latency_ms:
            chosen = trial
    return chosen
