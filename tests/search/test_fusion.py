import pytest

from docrag.search.fusion import fuse
from docrag.types import ScoredId


def ranking(*ids: str) -> list[ScoredId]:
    return [ScoredId(name, 10.0 - rank) for rank, name in enumerate(ids)]


def test_a_page_that_all_signals_rank_first_scores_one():
    rankings = {"late": ranking("a", "b"), "text": ranking("a", "c"), "cosine": ranking("a")}
    best = fuse(rankings, {"a": 1.0, "b": 0.0, "c": 0.5})[0]
    assert (best.id, best.score) == ("a", pytest.approx(1.0))


def test_the_scale_of_a_signal_does_not_matter():
    late = [ScoredId("a", 0.9), ScoredId("b", 0.75), ScoredId("c", 0.5)]
    text = [ScoredId("c", 4.0), ScoredId("b", 3.0)]
    tenfold = [ScoredId(page.id, 10 * page.score) for page in late]
    for one, other in zip(
        fuse({"late": late, "text": text}), fuse({"late": tenfold, "text": text}), strict=True
    ):
        assert (one.id, one.score) == (other.id, pytest.approx(other.score))


def test_a_title_that_names_what_is_asked_decides_between_equals():
    rankings = {"late": ranking("a", "b", "c"), "text": [ScoredId("b", 5.0), ScoredId("a", 4.9)]}
    assert fuse(rankings, {"a": 0.0, "b": 1.0, "c": 0.0})[0].id == "b"


def test_agreement_beats_one_good_rank():
    late = [ScoredId("a", 0.8), ScoredId("b", 0.79), ScoredId("c", 0.5)]
    fused = fuse({"late": late, "text": ranking("d", "b", "e")})
    assert fused[0].id == "b"


def test_a_single_signal_keeps_its_scores():
    assert fuse({"text": ranking("b", "a")}) == ranking("b", "a")


def test_ties_are_broken_by_id():
    tied = [ScoredId("b", 1.0), ScoredId("a", 1.0)]
    assert [page.id for page in fuse({"late": tied})] == ["a", "b"]


def test_nothing_found_is_nothing():
    assert fuse({}) == []
    assert fuse({"late": [], "text": []}) == []
