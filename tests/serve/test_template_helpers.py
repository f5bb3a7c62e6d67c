"""How hits and pages look in words."""

from __future__ import annotations

from fastapi.testclient import TestClient
from markupsafe import Markup

from docrag.serve import template_helpers as shown
from docrag.serve.search_form import SearchForm
from tests.serve.elements import QUESTION


def test_a_page_says_what_it_is_about_beside_the_title_of_its_document(client: TestClient):
    hit = client.app.state.index.search(QUESTION.text, 1)[0]
    about = shown.about(hit.metadata)
    assert about
    assert about not in hit.metadata["title"]
    assert Markup.escape(about) in client.get(SearchForm(QUESTION.text).url()).text
    assert shown.about({"title": "A", "caption": "a vision model said this"}) == ""
    assert shown.about({"title": "A", "caption": f"A. {'word ' * 90}"}, 20) == "word word word word …"


def test_an_excerpt_shows_where_most_words_stand():
    text = "Filler words stand here. " * 40 + "The bearing of the gearbox was worn." + " More filler." * 40
    pieces = shown.excerpt(text, {"bearing", "gearbox"}, 120)
    assert [piece.text for piece in pieces if piece.marked] == ["bearing", "gearbox"]
    line = "".join(piece.text for piece in pieces)
    assert line.startswith("… ")
    assert line.endswith(" …")
    assert len(line) < 130
    assert shown.excerpt("a\n b", {"b"}) == [shown.Piece("a ", False), shown.Piece("b", True)]


def test_marked_texts_are_escaped():
    assert (
        shown.marked(shown.pieces("<b>red</b> lamp", {"lamp"})) == "&lt;b&gt;red&lt;/b&gt; <mark>lamp</mark>"
    )


def test_frames_stay_on_the_page():
    rect = shown.rect((-0.1, 0.0, 1.2, 1.0))
    assert rect == (0, 0, 1, 1)
