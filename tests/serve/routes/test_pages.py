"""What the pages show."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from docrag import Index
from docrag.errors import NotFound, QueryError
from docrag.serve import search_form as asked
from docrag.serve import template_helpers as shown
from docrag.serve.app import create_app
from docrag.serve.originals import original, standing
from docrag.serve.search_form import SearchForm
from docrag.types import IndexedDocument, page_id
from tests.samples import make_image, write_pdf
from tests.serve.conftest import HERE
from tests.serve.elements import PARTS, QUESTION, Elements, page_url


def test_the_address_holds_the_question_and_what_narrows_it(client: TestClient):
    [document, *_] = client.app.state.index.documents()
    page = client.get(SearchForm("harbour", mode="late", k=5, within=(document.id,)).url()).text
    elements = Elements(page)
    checked = [given["value"] for given in elements.all("input") if "checked" in given]
    assert checked == ["late", document.id[: asked.KEY]]
    assert len(elements.all("li", "hit")) == document.pages
    assert re.search(r"<option selected>5<", page)
    part = client.get(SearchForm("harbour", mode="late", k=5).url("/results"), headers=PARTS)
    assert part.headers["HX-Push-Url"] == "/?q=harbour&mode=late&k=5"
    assert len(Elements(part.text).all("li", "hit")) == 5
    assert not Elements(part.text).all("header")


def test_the_right_page_comes_first_with_its_marks_text_and_scores(client: TestClient):
    page = client.get(SearchForm(QUESTION.text).url()).text
    first = page[page.index('<li class="hit"') :].split("</li>\n    <li", 1)[0]
    assert QUESTION.file in first
    assert f"page {QUESTION.page} of 5" in first
    assert "<mark>catering</mark>" in first
    assert re.findall(r'<div class="(\w+)" title', first) == ["score", "late", "cosine", "text"]
    assert len(Elements(first).all("rect", "r1")) == 1
    hit = client.app.state.index.search(QUESTION.text, 1)[0]
    [rect] = Elements(first).all("rect", "r1")
    x0, y0, x1, y1 = hit.regions[0].box
    drawn = [float(rect[name]) for name in ("x", "y", "width", "height")]
    assert np.allclose(drawn, (x0, y0, x1 - x0, y1 - y0), atol=2.5 * shown.MARGIN)
    assert f'href="/page/{hit.page_id}?q=' in first


def test_a_page_shows_its_neighbours_its_text_and_the_way_back(client: TestClient):
    page = client.get(page_url(client, 3, q=QUESTION.text, mode="late")).text
    elements = Elements(page)
    links = {given["id"]: given["href"] for given in elements.all("a") if "id" in given}
    assert links["before"] == page_url(client, 2, q=QUESTION.text, mode="late")
    assert links["after"] == page_url(client, 4, q=QUESTION.text, mode="late")
    assert links["back"].startswith("/?q=How+much")
    assert "mode=late#hit-" in links["back"]
    assert "Kiosk and <mark>catering</mark>" in page
    strip = [given for given in elements.all("a") if given.get("aria-label", "").startswith("Page ")]
    assert [given["aria-label"] for given in strip] == [f"Page {number}" for number in range(1, 6)]
    assert [given["aria-label"] for given in strip if "aria-current" in given] == ["Page 3"]
    first = Elements(client.get(page_url(client, 1)).text)
    assert not [given for given in first.all("a") if given.get("id") == "before"]
    assert not first.all("svg", "regions")  # nothing was asked


def test_a_page_that_was_found_is_opened_without_asking_again(client: TestClient, monkeypatch):
    index: Index = client.app.state.index
    hit = index.search("red lamp", 1)[0]
    client.get("/?q=red+lamp")
    asked_again: list[str] = []
    search = index.search
    monkeypatch.setattr(
        index, "search", lambda *given, **more: asked_again.append(given[0]) or search(*given, **more)
    )
    page = client.get(f"/page/{hit.page_id}?q=red+lamp").text
    assert len(Elements(page).all("rect", "r1")) == 1
    assert asked_again == []
    other = client.get(f"/page/{hit.page_id}?q=green+lamp").text
    assert len(Elements(other).all("rect", "r1")) == 1
    assert asked_again == ["green lamp"]


def test_a_pdf_has_a_sign_too(client: TestClient):
    assert client.get("/favicon.ico").headers["Content-Type"].startswith("image/svg")


def test_the_words_of_a_question_have_their_pictures(client: TestClient):
    address = page_url(client, 3, q=QUESTION.text).replace("?", "/words?")
    buttons = Elements(client.get(address, headers=PARTS).text).all("button", "word")
    assert "catering" in client.get(address).text
    for button in buttons:
        picture = client.get(button["data-heat"])
        assert picture.headers["Content-Type"] == "image/png"
        assert Image.open(io.BytesIO(picture.content)).mode == "L"


def test_documents_are_found_by_name_and_the_chosen_ones_stay(client: TestClient):
    documents = client.app.state.index.documents()
    [tide] = [one for one in documents if "tide" in one.file]
    page = client.get(SearchForm(within=(tide.id,)).url("/listed") + "&find=MANUAL tarn").text
    offered = [given["value"] for given in Elements(page).all("input")]
    tarn = next(one for one in documents if "tarn" in one.file)
    assert offered == [tide.id[: asked.KEY], tarn.id[: asked.KEY]]
    assert "No document of that name" in client.get("/listed?find=xylophone").text


def test_the_original_is_served_while_it_is_what_was_ingested(tmp_path: Path):
    path = write_pdf(tmp_path / "ferry.pdf", "The ferry leaves at nine.")
    with Index.open(tmp_path / "index") as index:
        index.ingest(path)
        client = TestClient(create_app(index), base_url=HERE)
        [document] = index.documents()
        address = f"/documents/{document.id}.pdf"
        answer = client.get(address)
        assert answer.content == path.read_bytes()
        assert answer.headers["Content-Type"] == "application/pdf"
        assert answer.headers["Content-Disposition"].startswith("inline")
        assert client.get(address, headers={"Range": "bytes=0-4"}).content == b"%PDF-"
        page = f"/page/{page_id(document.id, 1)}"
        assert f'href="{address}#page=1"' in client.get(page).text
        path.write_bytes(path.read_bytes() + b"\n% changed")
        told = client.get(address)
        assert (told.status_code, "has changed since" in told.text) == (404, True)
        path.unlink()
        assert "is not there any more" in client.get(address).text
        assert "The original is no longer at" in client.get(page).text


@pytest.mark.parametrize("name", ["../../../etc/passwd", "%2e%2e%2fmanifest", "x" * 300, "ab" * 32])
def test_no_other_file_is_served(client: TestClient, name: str):
    assert client.get(f"/documents/{name}.pdf").status_code == 404


def test_an_empty_index_says_how_to_fill_it(empty: TestClient, started):
    for address in ("/", "/?q=ferry"):
        assert "docrag ingest FOLDER" in empty.get(address).text
    assert "Add PDFs" not in empty.get("/").text
    assert 'id="upload"' in started().get("/").text


def test_no_hits_lead_to_other_ways(client: TestClient):
    [document, *_] = client.app.state.index.documents()
    wanted = SearchForm("xylophone", mode="text", within=(document.id,))
    page = client.get(wanted.url()).text
    links = {given["href"] for given in Elements(page).all("a", "button")}
    assert "No page matches" in page
    assert {wanted.url(mode="hybrid"), wanted.url(within=())} <= links


def test_two_hundred_documents_are_listed_and_the_others_counted(client: TestClient, monkeypatch):
    many = [
        IndexedDocument(f"{n:064x}", (f"docs/report {n:03}.pdf",), f"Report of year {n}", n + 1, n + 1)
        for n in range(230)
    ]
    index: Index = client.app.state.index
    client.app.state.documents.changed()
    with monkeypatch.context() as patched:
        patched.setattr(index, "documents", lambda: many)
        listed = client.get("/listed").text
        assert len(Elements(listed).all("input")) == 200
        assert "and 30 more" in listed
        assert re.findall(r'class="pages">(\d+)<', listed)[:3] == ["1", "2", "3"]
        found = Elements(client.get("/listed?find=report 229").text)
        assert [one["value"] for one in found.all("input")] == [f"{229:064x}"[: asked.KEY]]
        assert "230 documents, 26,565 pages" in client.get("/").text
        assert "and 170 more documents" in client.get("/").text
    client.app.state.documents.changed()


def test_a_document_whose_first_page_was_lost_is_shown_by_its_next(tmp_path: Path, monkeypatch):
    write_pdf(tmp_path / "a.pdf", "one", "two", "three")
    with Index.open(tmp_path / "index") as index:
        index.ingest(tmp_path / "a.pdf")
        [document] = index.documents()
        lost = replace(document, pages=2)
        pages = index.pages
        monkeypatch.setattr(index, "documents", lambda: [lost])
        monkeypatch.setattr(index, "pages", lambda ids: [page for page in pages(ids) if page.page > 1])
        page = TestClient(create_app(index), base_url=HERE).get("/").text
        assert f"/pages/{document.id}/2.jpg" in page
        assert f"/page/{page_id(document.id, 2)}" in page
        assert "2 pages of 3" in page


