import numpy as np
import pytest

from docrag.index.index import RECOUNT_SECONDS, PageCount
from docrag.search.query import plan_queries
from docrag.search.stages import PREFETCH, SIEVE, Stages, shortened
from docrag.types import BM25, CAPTION, PATCHES, POOLED, SparseVector
from tests.encode.maxsim import maxsim


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


QUERY = unit(np.random.default_rng(0).normal(size=(20, 16)))
VECTORS = {PATCHES: QUERY, CAPTION: np.ones(3, np.float32), BM25: SparseVector((3, 9), (1.0, 1.0))}


@pytest.mark.parametrize("pages", [0, 1000, 1945, 3000])
def test_a_small_index_has_the_defaults_that_hybrid_was_weighed_with(pages):
    assert Stages.for_pages(pages) == Stages(PREFETCH, SIEVE)


def test_the_defaults_grow_with_the_index():
    sizes = [5_000, 20_000, 100_000]
    grown = [Stages.for_pages(pages) for pages in sizes]
    assert [(stages.prefetch[POOLED], stages.sieve) for stages in grown] == [
        (166, 1000),
        (666, 2000),
        (3333, 10_000),
    ]
    for stages in grown:
        assert stages.sieve >= 2 * stages.prefetch[POOLED]
        assert {**stages.prefetch, POOLED: 0} == {**PREFETCH, POOLED: 0}
        assert stages.for_fusion() == stages


def test_pages_are_counted_anew_after_a_minute_and_after_a_change(monkeypatch):
    now, counted = [0.0], iter([10, 20, 30])
    monkeypatch.setattr("docrag.index.index.time.monotonic", lambda: now[0])
    pages = PageCount(lambda: next(counted))
    assert [pages(), pages()] == [10, 10]
    now[0] = RECOUNT_SECONDS + 1
    assert [pages(), pages()] == [20, 20]
    with pytest.raises(RuntimeError), pages.changing():
        raise RuntimeError
    assert pages() == 30


def test_late_asks_what_the_stages_name():
    stages = Stages({POOLED: 30, CAPTION: 5, BM25: 0}, sieve=200)
    request = plan_queries("late", VECTORS, None, k=10, stages=stages)["late"]
    assert {proposal.using: proposal.limit for proposal in request.prefetch} == {POOLED: 30, CAPTION: 10}
    assert request.limit == 40
    [sieve] = request.prefetch[0].prefetch
    assert (sieve.using, sieve.limit, len(sieve.vector)) == (POOLED, 200, 4)
    assert request.prefetch[1].prefetch == ()


def test_the_filter_holds_in_the_sieve():
    request = plan_queries("late", VECTORS, {"page": 2}, stages=Stages({POOLED: 30}, sieve=200))["late"]
    [sieve] = request.prefetch[0].prefetch
    assert sieve.filter == request.filter is not None


def test_many_results_pass_the_sieve():
    request = plan_queries("late", VECTORS, None, k=500, stages=Stages({POOLED: 30}, sieve=200))["late"]
    [sieve] = request.prefetch[0].prefetch
    assert request.prefetch[0].limit == sieve.limit == 500


def test_a_short_query_needs_no_sieve():
    vectors = {**VECTORS, PATCHES: QUERY[:6]}
    request = plan_queries("late", vectors, None, stages=Stages({POOLED: 30}, sieve=200))["late"]
    assert request.prefetch[0].prefetch == ()


def test_hybrid_ranks_as_deep_as_its_weights_were_chosen_with():
    for stages, pooled in ((Stages({POOLED: 20}, sieve=50), 100), (Stages({POOLED: 300}), 300)):
        request = plan_queries("hybrid", VECTORS, None, stages=stages)["late"]
        limits = {proposal.using: proposal.limit for proposal in request.prefetch}
        assert limits == {POOLED: pooled, CAPTION: 50, BM25: 50}


def test_a_shortened_query_scores_nearly_alike():
    pages = [unit(np.random.default_rng(seed).normal(size=(30, 16)) + QUERY[seed % 5]) for seed in range(9)]
    query = unit(np.repeat(QUERY[:4], 5, axis=0) + 0.01 * QUERY)
    for page in pages:
        assert maxsim(shortened(query), page) == pytest.approx(maxsim(query, page), rel=0.05)
    np.testing.assert_array_equal(shortened(QUERY[:3]), QUERY[:3])
