import pytest

from docrag.search.fusion import fuse
from docrag.types import ScoredId


def ranking(*ids: str) -> list[ScoredId]:
    return [ScoredId(name, 10.0 - rank) for rank, name in enumerate(ids)]


def test_a_page_that_all_signals_rank_first_scores_one():
    best = fuse({"late": ranking("a", "b"), "text": ranking("a", "c"), "cosine": ranking("a")})[0]
    assert (best.id, best.score) == ("a", pytest.approx(1.0))


def test_agreement_beats_one_good_rank():
    fused = fuse({"late": ranking("a", "b", "c"), "text": ranking("d", "b", "e")})
    assert fused[0].id == "b"


def test_a_single_signal_keeps_its_scores():
    assert fuse({"text": ranking("b", "a")}) == ranking("b", "a")


def test_ties_are_broken_by_id():
    tied = [ScoredId("b", 1.0), ScoredId("a", 1.0)]
    assert [page.id for page in fuse({"late": tied})] == ["a", "b"]


def test_nothing_found_is_nothing():
    assert fuse({}) == []
    assert fuse({"late": [], "text": []}) == []
