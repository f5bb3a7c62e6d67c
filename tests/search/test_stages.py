import numpy as np
import pytest

from docrag.encode.maxsim import maxsim
from docrag.errors import StoreError
from docrag.search.plan import queries
from docrag.search.stages import FILE, PREFETCH, SIEVE, Stages, load_stages, save_stages, shortened
from docrag.types import BM25, CAPTION, PATCHES, POOLED, SparseVector


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


QUERY = unit(np.random.default_rng(0).normal(size=(20, 16)))
VECTORS = {PATCHES: QUERY, CAPTION: np.ones(3, np.float32), BM25: SparseVector((3, 9), (1.0, 1.0))}


def test_an_index_that_was_not_tuned_has_the_defaults(tmp_path):
    assert load_stages(tmp_path) == Stages(PREFETCH, SIEVE)


def test_what_was_saved_is_loaded(tmp_path):
    stages = Stages({POOLED: 30, CAPTION: 5}, sieve=200)
    save_stages(tmp_path, stages, {"recall": 0.99})
    assert load_stages(tmp_path) == stages
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"prefetch": {"pooled": "many"}, "sieve": 0}', "\x00"])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StoreError, match=FILE):
        load_stages(tmp_path)


def test_late_asks_what_the_stages_name():
    stages = Stages({POOLED: 30, CAPTION: 5, BM25: 0}, sieve=200)
    request = queries("late", VECTORS, None, k=10, stages=stages)["late"]
    assert {proposal.using: proposal.limit for proposal in request.prefetch} == {POOLED: 30, CAPTION: 10}
    assert request.limit == 40
    sieve = request.prefetch[0].prefetch
    assert (sieve.using, sieve.limit, len(sieve.query)) == (POOLED, 200, 4)
    assert request.prefetch[1].prefetch is None


def test_the_filter_holds_in_the_sieve():
    request = queries("late", VECTORS, {"page": 2}, stages=Stages({POOLED: 30}, sieve=200))["late"]
    assert request.prefetch[0].prefetch.filter == request.filter is not None


def test_many_results_pass_the_sieve():
    request = queries("late", VECTORS, None, k=500, stages=Stages({POOLED: 30}, sieve=200))["late"]
    assert request.prefetch[0].limit == request.prefetch[0].prefetch.limit == 500


def test_a_short_query_needs_no_sieve():
    vectors = {**VECTORS, PATCHES: QUERY[:6]}
    request = queries("late", vectors, None, stages=Stages({POOLED: 30}, sieve=200))["late"]
    assert request.prefetch[0].prefetch is None


def test_hybrid_ranks_as_deep_as_its_weights_were_chosen_with():
    for stages, pooled in ((Stages({POOLED: 20}, sieve=50), 100), (Stages({POOLED: 300}), 300)):
        request = queries("hybrid", VECTORS, None, stages=stages)["late"]
        limits = {proposal.using: proposal.limit for proposal in request.prefetch}
        assert limits == {POOLED: pooled, CAPTION: 50, BM25: 50}


def test_a_shortened_query_scores_nearly_alike():
    pages = [unit(np.random.default_rng(seed).normal(size=(30, 16)) + QUERY[seed % 5]) for seed in range(9)]
    query = unit(np.repeat(QUERY[:4], 5, axis=0) + 0.01 * QUERY)
    for page in pages:
        assert maxsim(shortened(query), page) == pytest.approx(maxsim(query, page), rel=0.05)
    np.testing.assert_array_equal(shortened(QUERY[:3]), QUERY[:3])
