"""Pages run no foreign scripts, and errors are pages that help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pymupdf
import pytest
from fastapi.testclient import TestClient

from docrag import Index
from docrag.serve.app import create_app
from docrag.serve.rendering import STATIC
from docrag.serve.search_form import SearchForm
from docrag.types import page_id
from tests.serve.conftest import HERE
from tests.serve.elements import HOSTILE, PARTIAL, QUESTION, Elements


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a server over a document whose name, title and text are markup."""
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


def visited(client: TestClient) -> dict[str, str]:
    """Every kind of page, by its address."""
    [document, *_] = client.app.state.index.documents()
    question = f"ferry {HOSTILE}"
    addresses = [
        "/",
        SearchForm(question).url(),
        SearchForm(question).url("/results"),
        SearchForm("xylophone", mode="text").url(),
        SearchForm(question, within=(document.id,)).url(),
        SearchForm(question).url(f"/page/{page_id(document.id, 1)}"),
        SearchForm(question).url(f"/page/{page_id(document.id, 1)}/words"),
        SearchForm().url(f"/page/{page_id(document.id, document.pages)}"),
        "/listed",
        f"/?mode={HOSTILE.replace('&', '%26')}",
        f"/?in={HOSTILE.replace('&', '%26')}",
        "/page/nothing",
        f"/documents/{'ab' * 32}.pdf",
    ]
    return {address: client.get(address).text for address in addresses}


@pytest.mark.slow
@pytest.mark.parametrize("server", ["client", "hostile", "empty"])
def test_no_page_contains_what_the_content_policy_forbids(server: str, request: pytest.FixtureRequest):
    client: TestClient = request.getfixturevalue(server)
    if server == "empty":
        pages = {"/": client.get("/").text, "/?q=ferry": client.get("/?q=ferry").text}
    else:
        pages = visited(client)
    for address, page in pages.items():
        elements = Elements(page)
        assert elements.elements, address
        assert not elements.all("style"), address
        for tag, attributes in elements.elements:
            assert tag != "script" or attributes.get("src", "").startswith("/static/"), address
            assert not {name for name in attributes if name.startswith(("on", "hx-on")) or name == "style"}, (
                address
            )
            for name in ("src", "href", "action", "hx-get", "hx-post", "data-heat", "poster", "srcset"):
                assert re.match(r"[/#](?!/)|$", attributes.get(name, "")), (address, attributes)
        assert "://" not in re.sub(r"<mark>|</mark>", "", page), address


def test_every_page_comes_with_a_strict_policy(client: TestClient):
    for address in ("/", SearchForm(QUESTION.text).url(), "/?mode=x", "/page/nothing"):
        policy = client.get(address).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy


def test_scripts_and_styles_load_nothing_from_other_sites():
    for name in ("docrag.js", "upload.js", "docrag.css"):
        assert "://" not in (STATIC / name).read_text()
        assert "eval(" not in (STATIC / name).read_text()
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE").read_text()


def test_hostile_names_titles_texts_and_questions_are_text(hostile: TestClient):
    for address, page in visited(hostile).items():
        elements = Elements(page)
        assert "onerror=alert(1)>" not in page, address
        assert "alert(2)</script>" not in page, address
        assert all(image["src"].startswith("/pages/") for image in elements.all("img")), address
    results = Elements(hostile.get(SearchForm(f"ferry {HOSTILE}").url()).text)
    assert [field["value"] for field in results.all("input") if field.get("id") == "q"] == [
        f"ferry {HOSTILE}"
    ]
    assert any(HOSTILE in text for text in results.texts)  # the name of the file, unchanged
    assert "49" not in "".join(results.texts)


@pytest.mark.parametrize(
    ("address", "status", "text"),
    [
        ("/?q=a&mode=fuzzy", 400, "use one of hybrid, late, cosine, text"),
        ("/?q=a&k=0", 400, "use a number from 1 to 100"),
        ("/?q=a&k=%C2%B2", 400, "use a number from 1 to 100"),
        ("/?q=a&in=zz", 400, "choose documents in the list"),
        ("/?q=a&in=abcdef012345", 400, "search in all documents"),
        (f"/?q={'a' * 2001}", 400, "at most 2000"),
        (f"/page/{page_id('ab' * 32, 1)}", 404, "use the id of a hit"),
        ("/page/nothing", 404, "use the id of a hit"),
    ],
)
def test_errors_say_what_to_do(client: TestClient, address: str, status: int, text: str):
    whole = client.get(address)
    assert (whole.status_code, text in whole.text) == (status, True)
    assert Elements(whole.text).all("input")  # one can search again from there
    part = client.get(address, headers=PARTIAL)
    assert (part.status_code, text in part.text) == (status, True)
    assert not Elements(part.text).all("header")
    back = client.get(address, headers={**PARTIAL, "HX-History-Restore-Request": "true"})
    assert Elements(back.text).all("header")


def test_an_unknown_address(client: TestClient):
    page = client.get("/nothing", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, "there is nothing at this address" in page.text) == (404, True)
    assert Elements(page.text).all("input")
    response = client.get("/v1/nothing")
    assert (response.status_code, response.json()["error"]["hint"]) == (404, "see /openapi.json")


def test_a_failure_of_the_server_is_logged_and_shown(folder: Path, caplog: pytest.LogCaptureFixture):
    index = Index.open(folder, create=False)
    client = TestClient(create_app(index), base_url=HERE, raise_server_exceptions=False)
    index.close()
    response = client.get("/?q=lamp")
    assert response.status_code == 500
    assert "closed" in response.text
    [line] = [record.getMessage() for record in caplog.records if record.name == "docrag.serve.errors"]
    assert line.startswith("GET '/': ")
    assert "lamp" not in line
