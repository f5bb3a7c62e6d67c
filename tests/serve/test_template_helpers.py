"""How hits and pages are shown in text, numbers and shapes."""

from __future__ import annotations

from dataclasses import replace

from fastapi.testclient import TestClient
from markupsafe import Markup

from docrag.serve.search_form import SearchForm
from docrag.serve.template_helpers import (
    ScoreBar,
    TextPart,
    frame,
    highlight,
    highlighted_excerpt,
    page_headings,
    score_bars,
    to_html,
)
from tests.serve.elements import QUESTION


def test_a_result_shows_the_headings_of_its_page_beside_the_title_of_its_document(client: TestClient):
    hit = client.app.state.index.search(QUESTION.text, 1)[0]
    headings = page_headings(hit.metadata)
    assert headings
    assert headings not in hit.metadata["title"]
    assert Markup.escape(headings) in client.get(SearchForm(QUESTION.text).url()).text
    assert page_headings({"title": "A", "caption": "a vision model wrote this"}) == ""
    assert page_headings({"title": "A", "caption": f"A. {'word ' * 90}"}, 20) == "word word word word …"


def test_an_excerpt_shows_where_most_words_are():
    text = "Filler words stand here. " * 40 + "The bearing of the gearbox was worn." + " More filler." * 40
    parts = highlighted_excerpt(text, {"bearing", "gearbox"}, 120)
    assert [part.text for part in parts if part.highlighted] == ["bearing", "gearbox"]
    line = "".join(part.text for part in parts)
    assert line.startswith("… ")
    assert line.endswith(" …")
    assert len(line) < 130
    assert highlighted_excerpt("a\n b", {"b"}) == [TextPart("a ", False), TextPart("b", True)]


def test_an_excerpt_of_a_text_without_spaces_is_cut_too():
    [part] = highlighted_excerpt("渡船時刻表" * 100, {"ferry"}, 50)
    assert part.text == "渡船時刻表" * 10 + " …"


def test_highlighted_texts_are_escaped():
    assert to_html(highlight("<b>red</b> lamp", {"lamp"})) == "&lt;b&gt;red&lt;/b&gt; <mark>lamp</mark>"


def test_frames_stay_on_the_page():
    assert frame((-0.1, 0.0, 1.2, 1.0)) == (0, 0, 1, 1)


def test_a_bar_shows_a_score_as_a_share_of_the_best(client: TestClient):
    hit = client.app.state.index.search(QUESTION.text, 1)[0]
    best = replace(hit, score=0.8, scores={"late": 20.0, "text": 0.0})
    other = replace(hit, score=0.4, scores={"text": 0.0, "late": 5.0})
    assert score_bars(other, [best, other]) == [
        ScoreBar("score", "0.40", 0.5),
        ScoreBar("late", "5.00", 0.25),
        ScoreBar("text", "0.00", 0.0),
    ]


def test_a_hit_of_one_signal_has_one_bar_and_no_bar_is_negative(client: TestClient):
    hit = client.app.state.index.search(QUESTION.text, 1)[0]
    best = replace(hit, score=0.5, scores={"cosine": 0.5})
    opposite = replace(hit, score=-0.5, scores={"cosine": -0.5})
    assert score_bars(best, [best, opposite]) == [ScoreBar("cosine", "0.50", 1.0)]
    assert score_bars(opposite, [best, opposite]) == [ScoreBar("cosine", "-0.50", 0.0)]
