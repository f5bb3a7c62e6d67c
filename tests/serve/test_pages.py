from __future__ import annotations

import hashlib
import io
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pymupdf
import pytest
from fastapi.testclient import TestClient
from markupsafe import Markup
from PIL import Image

from docrag import Index, demo
from docrag.errors import NotFound, QueryError
from docrag.serve import asked, shown
from docrag.serve.app import create_app
from docrag.serve.asked import Asked
from docrag.serve.originals import original, standing
from docrag.serve.pictures import Pictures, open_picture
from docrag.types import IndexedDocument, page_id
from tests.samples import make_image, write_pdf
from tests.serve.conftest import HERE

QUESTION = demo.QUESTIONS[0]
PARTS = {"HX-Request": "true"}
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the texts within."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str, kind: str = "") -> list[dict[str, str]]:
        """Attributes of the elements of a kind."""
        found = [given for name, given in self.found if name == tag]
        return [given for given in found if not kind or kind in given.get("class", "").split()]


def page_url(client: TestClient, number: int, **asked: str) -> str:
    document = next(one for one in client.app.state.index.documents() if one.file.endswith(QUESTION.file))
    return Asked(**asked).url(f"/page/{page_id(document.id, number)}")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server over a document whose name, title and text try to be markup."""
    folder = tmp_path_factory.mktemp("hostile")
    path = folder / "docs" / f"{HOSTILE.replace('/', '')}.pdf"
    path.parent.mkdir()
    with pymupdf.open() as file:
        for size in (30, 11):
            page = file.new_page(width=900, height=500)
            page.insert_text((40, 80), f"{HOSTILE} ferry", fontsize=size)
        file.set_metadata({"title": f"</title><script>alert(2)</script>{HOSTILE}"})
        file.save(path)
    with Index.open(folder / "index") as index:
        assert not index.ingest(path.parent).failures
        yield TestClient(create_app(index), base_url=HERE, raise_server_exceptions=False)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[TestClient]:
    with Index.open(tmp_path / "empty") as index:
        yield TestClient(create_app(index), base_url=HERE, raise_server_exceptions=False)


def visited(client: TestClient) -> dict[str, str]:
    """Every kind of page, by its address."""
    [document, *_] = client.app.state.index.documents()
    question = f"ferry {HOSTILE}"
    addresses = [
        "/",
        Asked(question).url(),
        Asked(question).url("/results"),
        Asked("xylophone", mode="text").url(),
        Asked(question, within=(document.id,)).url(),
        Asked(question).url(f"/page/{page_id(document.id, 1)}"),
        Asked(question).url(f"/page/{page_id(document.id, 1)}/words"),
        Asked().url(f"/page/{page_id(document.id, document.pages)}"),
        "/listed",
        f"/?mode={HOSTILE.replace('&', '%26')}",
        f"/?in={HOSTILE.replace('&', '%26')}",
        "/page/nothing",
        f"/documents/{'ab' * 32}.pdf",
    ]
    return {address: client.get(address).text for address in addresses}


@pytest.mark.parametrize("server", ["client", "hostile", "empty"])
def test_no_page_holds_what_the_content_policy_forbids(server: str, request: pytest.FixtureRequest):
    client: TestClient = request.getfixturevalue(server)
    if server == "empty":
        pages = {"/": client.get("/").text, "/?q=ferry": client.get("/?q=ferry").text}
    else:
        pages = visited(client)
    for address, page in pages.items():
        elements = Elements(page)
        assert elements.found, address
        assert not elements.all("style"), address
        for tag, given in elements.found:
            assert tag != "script" or given.get("src", "").startswith("/static/"), address
            assert not {name for name in given if name.startswith(("on", "hx-on")) or name == "style"}, (
                address
            )
            for name in ("src", "href", "action", "hx-get", "hx-post", "data-heat", "poster", "srcset"):
                assert re.match(r"[/#](?!/)|$", given.get(name, "")), (address, given)
        assert "://" not in re.sub(r"<mark>|</mark>", "", page), address


def test_every_page_comes_with_a_strict_policy(client: TestClient):
    for address in ("/", Asked(QUESTION.text).url(), "/?mode=x", "/page/nothing"):
        policy = client.get(address).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy


def test_own_scripts_and_styles_name_no_address():
    folder = Path(shown.__file__).parent / "static"
    for name in ("docrag.js", "upload.js", "docrag.css"):
        assert "://" not in (folder / name).read_text()
        assert "eval(" not in (folder / name).read_text()
    assert "Zero-Clause BSD" in (folder / "htmx.LICENSE").read_text()


def test_hostile_names_titles_texts_and_questions_are_text(hostile: TestClient):
    for address, page in visited(hostile).items():
        elements = Elements(page)
        assert "onerror=alert(1)>" not in page, address
        assert "alert(2)</script>" not in page, address
        assert all(given["src"].startswith("/pages/") for given in elements.all("img")), address
    results = Elements(hostile.get(Asked(f"ferry {HOSTILE}").url()).text)
    assert [given["value"] for given in results.all("input") if given.get("id") == "q"] == [
        f"ferry {HOSTILE}"
    ]
    assert any(HOSTILE in text for text in results.texts)  # the file's name, as it is
    assert "49" not in "".join(results.texts)


def test_the_address_holds_the_question_and_what_narrows_it(client: TestClient):
    [document, *_] = client.app.state.index.documents()
    page = client.get(Asked("harbour", mode="late", k=5, within=(document.id,)).url()).text
    elements = Elements(page)
    checked = [given["value"] for given in elements.all("input") if "checked" in given]
    assert checked == ["late", document.id[: asked.KEY]]
    assert len(elements.all("li", "hit")) == document.pages
    assert re.search(r"<option selected>5<", page)
    part = client.get(Asked("harbour", mode="late", k=5).url("/results"), headers=PARTS)
    assert part.headers["HX-Push-Url"] == "/?q=harbour&mode=late&k=5"
    assert len(Elements(part.text).all("li", "hit")) == 5
    assert not Elements(part.text).all("header")


def test_the_right_page_comes_first_with_its_marks_text_and_scores(client: TestClient):
    page = client.get(Asked(QUESTION.text).url()).text
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
    page = client.get(Asked(within=(tide.id,)).url("/listed") + "&find=MANUAL tarn").text
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


def test_an_original_where_nothing_can_be_seen_is_gone(tmp_path: Path):
    """As in the home of another user, whose index is served by somebody else."""
    hidden = tmp_path / ("n" * 300)  # the disk refuses to look, also to the administrator, who runs tests
    with pytest.raises(OSError, match="too long"):
        hidden.stat()
    assert standing([str(hidden)]) is None
    path = write_pdf(tmp_path / "a.pdf", "Behind a name that cannot be looked at.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    document = IndexedDocument(digest, (str(hidden), str(path)), "", 1, 1)
    assert original(document) == path


@pytest.mark.parametrize("name", ["../../../etc/passwd", "%2e%2e%2fmanifest", "x" * 300, "ab" * 32])
def test_no_other_file_is_served(client: TestClient, name: str):
    assert client.get(f"/documents/{name}.pdf").status_code == 404


def test_a_file_that_is_no_pdf_is_not_served_as_one(tmp_path: Path):
    picture = tmp_path / "chart.png"
    make_image(1).save(picture)
    with Index.open(tmp_path / "index") as index:
        index.ingest(picture)
        [document] = index.documents()
        with pytest.raises(NotFound, match="not a PDF"):
            original(document)


def test_an_empty_index_says_how_to_fill_it(empty: TestClient, started):
    for address in ("/", "/?q=ferry"):
        assert "docrag ingest FOLDER" in empty.get(address).text
    assert "Add PDFs" not in empty.get("/").text
    assert 'id="upload"' in started().get("/").text


def test_no_hits_lead_to_other_ways(client: TestClient):
    [document, *_] = client.app.state.index.documents()
    wanted = Asked("xylophone", mode="text", within=(document.id,))
    page = client.get(wanted.url()).text
    links = {given["href"] for given in Elements(page).all("a", "button")}
    assert "No page matches" in page
    assert {wanted.url(mode="hybrid"), wanted.url(within=())} <= links


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/?q=a&mode=fuzzy", 400, "one of hybrid, late, cosine, text"),
        ("/?q=a&k=0", 400, "a number from 1 to 100"),
        ("/?q=a&k=%C2%B2", 400, "a number from 1 to 100"),
        ("/?q=a&in=zz", 400, "choose documents in the list"),
        ("/?q=a&in=abcdef012345", 400, "search in all"),
        (f"/?q={'a' * 2001}", 400, "at most 2000"),
        (f"/page/{page_id('ab' * 32, 1)}", 404, "take the id of a hit"),
        ("/page/nothing", 404, "take the id of a hit"),
    ],
)
def test_errors_say_what_to_do(client: TestClient, address: str, status: int, said: str):
    whole = client.get(address)
    assert (whole.status_code, said in whole.text) == (status, True)
    assert Elements(whole.text).all("input")  # a person can go on from there
    part = client.get(address, headers=PARTS)
    assert (part.status_code, said in part.text) == (status, True)
    assert not Elements(part.text).all("header")
    back = client.get(address, headers={**PARTS, "HX-History-Restore-Request": "true"})
    assert Elements(back.text).all("header")


def test_an_address_that_leads_nowhere(client: TestClient):
    page = client.get("/nothing", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, "there is nothing at this address" in page.text) == (404, True)
    assert Elements(page.text).all("input")
    told = client.get("/v1/nothing")
    assert (told.status_code, told.json()["error"]["hint"]) == (404, "see /openapi.json")


def test_what_fails_here_is_logged_and_shown(folder: Path, caplog: pytest.LogCaptureFixture):
    index = Index.open(folder, create=False)
    client = TestClient(create_app(index), base_url=HERE, raise_server_exceptions=False)
    index.close()
    answer = client.get("/?q=lamp")
    assert answer.status_code == 500
    assert "closed" in answer.text
    [line] = [record.getMessage() for record in caplog.records if record.name == "docrag.serve.errors"]
    assert line.startswith("GET '/': ")
    assert "lamp" not in line


def test_images_are_searched_by_where_an_encoder_sees(tmp_path: Path, checkpoint):
    with Index.open(tmp_path / "index", image=checkpoint("clip")) as index:
        index.ingest(demo.documents() / "tarn12_manual.pdf")
        client = TestClient(create_app(index), base_url=HERE, raise_server_exceptions=False)
        assert 'id="by-image"' in client.get("/").text
        content = io.BytesIO()
        make_image(1).save(content, "PNG")
        sent = {"image": (f"{HOSTILE}.png", content.getvalue(), "image/png")}
        page = client.post("/by-image", files=sent, data={"q": "", "k": "5"}, headers={"Origin": HERE})
        assert page.status_code == 200
        assert len(Elements(page.text).all("li", "hit")) == 4
        assert "onerror=alert(1)>" not in page.text
        broken = {"image": ("a.png", b"\x89PNG but not really", "image/png")}
        told = client.post("/by-image", files=broken, headers={**PARTS, "Origin": HERE})
        assert (told.status_code, "the image cannot be read" in told.text) == (400, True)
        assert client.post("/by-image", data={"q": "a"}, headers={"Origin": HERE}).status_code == 400


def test_the_address_of_a_search_by_an_image_holds_as_long_as_it_is_kept(tmp_path: Path, checkpoint):
    with Index.open(tmp_path / "index", image=checkpoint("clip")) as index:
        index.ingest(demo.documents() / "tarn12_manual.pdf")
        client = TestClient(create_app(index), base_url=HERE, follow_redirects=False)
        content = io.BytesIO()
        make_image(1).save(content, "PNG")
        sent = {"image": ("a.png", content.getvalue(), "image/png")}
        answer = client.post(
            "/by-image", files=sent, data={"q": "a lamp", "k": "5"}, headers={"Origin": HERE}
        )
        address = answer.headers["Location"]
        assert (answer.status_code, address.partition("&like=")[0]) == (303, "/?q=a+lamp&k=5")
        part = client.post("/by-image", files=sent, data={"q": "a lamp", "k": "5"}, headers=PARTS)
        assert part.headers["HX-Push-Url"] == address
        page = Elements(client.get(address).text)
        assert [one["value"] for one in page.all("input") if one.get("name") == "like"] == [address[-32:]]
        assert "a.png" in page.texts
        gone = client.get("/?like=" + "0" * 32)
        assert (gone.status_code, "choose or drop it again" in gone.text) == (404, True)


@pytest.mark.parametrize("tag", [256, 282])
def test_a_picture_with_broken_notes_is_refused(tag: int):
    """Pillow turns it, writes the notes anew, and fails with struct.error or TypeError."""
    turned, words = struct.pack("<HHII", 274, 3, 1, 6), struct.pack("<HHI4s", tag, 2, 2, b"ab")
    notes = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + turned + words + bytes(4)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", exif=notes)
    with pytest.raises(QueryError, match="cannot be read"):
        open_picture(out.getvalue())


def test_pictures_are_kept_as_long_as_there_is_room():
    contents = []
    for seed in range(3):
        out = io.BytesIO()
        make_image(seed).save(out, "PNG")
        contents.append(out.getvalue())
    pictures = Pictures(most=len(contents[0]) + len(contents[1]) + len(contents[2]) - 1)
    keys = [pictures.keep(f"{n}.png", content) for n, content in enumerate(contents)]
    with pytest.raises(NotFound, match="no longer kept"):
        pictures.get(keys[0])
    assert [pictures.get(key).content for key in keys[1:]] == contents[1:]
    with pytest.raises(QueryError, match="cannot be read"):
        pictures.keep("a.png", b"no image")
    alone = Pictures(most=1)
    assert alone.get(alone.keep("large.png", contents[0])).name == "large.png"


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


def test_a_page_says_what_it_is_about_beside_the_title_of_its_document(client: TestClient):
    hit = client.app.state.index.search(QUESTION.text, 1)[0]
    about = shown.about(hit.metadata)
    assert about
    assert about not in hit.metadata["title"]
    assert Markup.escape(about) in client.get(Asked(QUESTION.text).url()).text
    assert shown.about({"title": "A", "caption": "a vision model said this"}) == ""
    assert shown.about({"title": "A", "caption": f"A. {'word ' * 90}"}, 20) == "word word word word …"


def test_no_image_is_asked_for_where_no_encoder_sees(client: TestClient):
    assert "by-image" not in client.get("/").text
    content = io.BytesIO()
    make_image(1).save(content, "PNG")
    told = client.post("/by-image", files={"image": ("a.png", content.getvalue())}, headers={"Origin": HERE})
    assert (told.status_code, "no encoder that takes an image" in told.text) == (400, True)


def test_the_address_of_a_question_is_read_back_as_it_was():
    from starlette.datastructures import QueryParams

    wanted = Asked("Müller & Söhne #3?", "text", 20, ("ab12cd34ef56",))
    assert Asked.of(QueryParams(wanted.url().partition("?")[2])) == wanted
    assert Asked().url() == "/"
    with pytest.raises(QueryError):
        Asked(within=("ab12cd34ef56",)).chosen([])


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
