import pytest

from docrag import Index
from docrag.search.fusion import TitleMatch, fuse, named_pages
from docrag.types import ScoredId


@pytest.mark.parametrize(
    ("question", "title", "share"),
    [
        ("Amcor net sales", "AMCOR 2023 10K", 1 / 3),
        ("Amcor FY2023", "AMCOR 2023 10K", 3 / 4),
        ("what is the", "AMCOR 2023 10K", 0.0),
        ("Wärmepreis Straße", "Die STRASSE", 1 / 2),
    ],
    ids=["names", "numbers count twice", "stop words", "case of any language"],
)
def test_share_of_the_question_in_the_title(question, title, share):
    assert TitleMatch(question).share(title) == pytest.approx(share)


@pytest.mark.parametrize(
    ("question", "numbers"),
    [
        ("What does page 14 show?", {14}),
        ("Signatures on the page 15 and page 16?", {15, 16}),
        ("What do pages 2 and 4 say?", {2, 4}),
        ("Answer like ['Page 2', \"Page 4\"]", set()),
        ("Which page has 5 cars?", set()),
        ("homepage 3", set()),
    ],
)
def test_numbers_of_pages_are_read(question, numbers):
    assert named_pages(question) == numbers


def test_a_named_page_comes_before_one_that_is_a_little_nearer():
    rankings = {
        "late": [ScoredId("a", 0.9), ScoredId("b", 0.8), ScoredId("c", 0.1)],
        "text": [ScoredId("a", 9.0), ScoredId("b", 8.0)],
    }
    assert [page.id for page in fuse(rankings)] == ["a", "b", "c"]
    first, *rest = fuse(rankings, named={"b"})
    assert first.id == "b"
    assert first.score <= 1
    assert [page.id for page in rest] == ["a", "c"]
    assert fuse(rankings, named=None) == fuse(rankings)


def test_a_question_that_names_a_page_finds_it(demo_index: Index):
    hits = demo_index.search("What is on page 2?", k=3)
    assert {hit.page for hit in hits} == {2}
    assert all(hit.score <= 1 for hit in hits)
