import pytest

from docrag.search.boosts import TitleMatch


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
