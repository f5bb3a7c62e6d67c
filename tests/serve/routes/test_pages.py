"""What the pages show."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from docrag import Index
from docrag.serve.app import create_app
from docrag.serve.search_form import ID_PREFIX, SearchForm
from docrag.serve.template_helpers import FRAME_MARGIN
from docrag.types import IndexedDocument, page_id
from tests.samples import write_pdf
from tests.serve.conftest import HERE
from tests.serve.elements import PARTIAL, QUESTION, Elements, page_url


def test_the_address_holds_the_question_and_its_options(client: TestClient):
    [document, *_] = client.app.state.index.documents()
    page = client.get(SearchForm("harbour", mode="late", k=5, within=(document.id,)).url()).text
    elements = Elements(page)
    checked = [field["value"] for field in elements.all("input") if "checked" in field]
    assert checked == ["late", document.id[:ID_PREFIX]]
    assert len(elements.all("li", "hit")) == document.pages
    assert re.search(r"<option selected>5<", page)
    part = client.get(SearchForm("harbour", mode="late", k=5).url("/results"), headers=PARTIAL)
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
    assert np.allclose(drawn, (x0, y0, x1 - x0, y1 - y0), atol=2.5 * FRAME_MARGIN)
    assert f'href="/page/{hit.page_id}?q=' in first


def test_a_page_shows_its_neighbours_its_text_and_the_way_back(client: TestClient):
    page = client.get(page_url(client, 3, q=QUESTION.text, mode="late")).text
    elements = Elements(page)
    links = {link["id"]: link["href"] for link in elements.all("a") if "id" in link}
    assert links["before"] == page_url(client, 2, q=QUESTION.text, mode="late")
    assert links["after"] == page_url(client, 4, q=QUESTION.text, mode="late")
    assert links["back"].startswith("/?q=How+much")
    assert "mode=late#hit-" in links["back"]
    assert "Kiosk and <mark>catering</mark>" in page
    strip = [link for link in elements.all("a") if link.get("aria-label", "").startswith("Page ")]
    assert [link["aria-label"] for link in strip] == [f"Page {number}" for number in range(1, 6)]
    assert [link["aria-label"] for link in strip if "aria-current" in link] == ["Page 3"]
    first = Elements(client.get(page_url(client, 1)).text)
    assert not [link for link in first.all("a") if link.get("id") == "before"]
    assert not first.all("svg", "regions")  # there is no question


def test_opening_a_result_does_not_search_again(client: TestClient, monkeypatch):
    index: Index = client.app.state.index
    hit = index.search("red lamp", 1)[0]
    client.get("/?q=red+lamp")
    searched: list[str] = []
    search = index.search
    monkeypatch.setattr(
        index,
        "search",
        lambda *arguments, **options: searched.append(arguments[0]) or search(*arguments, **options),
    )
    page = client.get(f"/page/{hit.page_id}?q=red+lamp").text
    assert len(Elements(page).all("rect", "r1")) == 1
    assert searched == []
    other = client.get(f"/page/{hit.page_id}?q=green+lamp").text
    assert len(Elements(other).all("rect", "r1")) == 1
    assert searched == ["green lamp"]


def test_a_pdf_has_an_icon_too(client: TestClient):
    assert client.get("/favicon.ico").headers["Content-Type"].startswith("image/svg")


def test_the_words_of_a_question_have_heatmaps(client: TestClient):
    address = page_url(client, 3, q=QUESTION.text).replace("?", "/words?")
    buttons = Elements(client.get(address, headers=PARTIAL).text).all("button", "word")
    assert "catering" in client.get(address).text
    for button in buttons:
        heatmap = client.get(button["data-heat"])
        assert heatmap.headers["Content-Type"] == "image/png"
        assert Image.open(io.BytesIO(heatmap.content)).mode == "L"


def test_documents_are_found_by_name_and_chosen_ones_stay_listed(client: TestClient):
    documents = client.app.state.index.documents()
    [tide] = [document for document in documents if "tide" in document.file]
    page = client.get(SearchForm(within=(tide.id,)).url("/listed") + "&find=MANUAL tarn").text
    offered = [field["value"] for field in Elements(page).all("input")]
    tarn = next(document for document in documents if "tarn" in document.file)
    assert offered == [tide.id[:ID_PREFIX], tarn.id[:ID_PREFIX]]
    assert "No matching document" in client.get("/listed?find=xylophone").text


@pytest.mark.slow
def test_the_original_is_served_as_long_as_it_is_unchanged(tmp_path: Path):
    path = write_pdf(tmp_path / "ferry.pdf", "The ferry leaves at nine.")
    with Index.open(tmp_path / "index") as index:
        index.ingest(path)
        client = TestClient(create_app(index), base_url=HERE)
        [document] = index.documents()
        address = f"/documents/{document.id}.pdf"
        response = client.get(address)
        assert response.content == path.read_bytes()
        assert response.headers["Content-Type"] == "application/pdf"
        assert response.headers["Content-Disposition"].startswith("inline")
        assert client.get(address, headers={"Range": "bytes=0-4"}).content == b"%PDF-"
        page = f"/page/{page_id(document.id, 1)}"
        assert f'href="{address}#page=1"' in client.get(page).text
        path.write_bytes(path.read_bytes() + b"\n% changed")
        changed = client.get(address)
        assert (changed.status_code, "has changed since" in changed.text) == (404, True)
        path.unlink()
        assert "no longer exists" in client.get(address).text
        assert "The original is no longer at" in client.get(page).text


@pytest.mark.parametrize("name", ["../../../etc/passwd", "%2e%2e%2fmanifest", "x" * 300, "ab" * 32])
def test_no_other_file_is_served(client: TestClient, name: str):
    assert client.get(f"/documents/{name}.pdf").status_code == 404


def test_an_empty_index_says_how_to_fill_it(empty: TestClient, started):
    for address in ("/", "/?q=ferry"):
        assert "docrag ingest FOLDER" in empty.get(address).text
    assert "Add PDFs" not in empty.get("/").text
    assert 'id="upload"' in started().get("/").text


def test_a_search_without_results_offers_other_searches(client: TestClient):
    [document, *_] = client.app.state.index.documents()
    form = SearchForm("xylophone", mode="text", within=(document.id,))
    page = client.get(form.url()).text
    links = {link["href"] for link in Elements(page).all("a", "button")}
    assert "No page matches" in page
    assert {form.url(mode="hybrid"), form.url(within=())} <= links


def test_two_hundred_documents_are_listed_and_the_others_counted(client: TestClient, monkeypatch):
    many = [
        IndexedDocument(f"{n:064x}", (f"docs/report {n:03}.pdf",), f"Report of year {n}", n + 1, n + 1)
        for n in range(230)
    ]
    index: Index = client.app.state.index
    client.app.state.documents.invalidate()
    with monkeypatch.context() as patched:
        patched.setattr(index, "documents", lambda: many)
        listed = client.get("/listed").text
        assert len(Elements(listed).all("input")) == 200
        assert "and 30 more" in listed
        assert re.findall(r'class="pages">(\d+)<', listed)[:3] == ["1", "2", "3"]
        matching = Elements(client.get("/listed?find=report 229").text)
        assert [field["value"] for field in matching.all("input")] == [f"{229:064x}"[:ID_PREFIX]]
        assert "230 documents, 26,565 pages" in client.get("/").text
        assert "and 170 more documents" in client.get("/").text
    client.app.state.documents.invalidate()


@pytest.mark.slow
def test_a_document_whose_first_page_is_missing_is_shown_by_its_next_page(tmp_path: Path, monkeypatch):
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
