"""Images of pages at the addresses of payloads: older ones, those that name an index, and cards."""

from __future__ import annotations

import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from docrag import Index, Settings
from docrag.errors import DocumentError, IndexNotFound
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from docrag.types import Hit, IndexedPage
from tests.samples import CLOCK, copy_index, write_pdf
from tests.serve.conftest import HERE

IMG = {
    "Accept": "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
    "Sec-Fetch-Dest": "image",
}
"""What a browser sends for an <img>."""
TAB = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"}
"""What it sends for an address that is opened by itself."""


@pytest.fixture
def two_indexes(two_pages: Path, tmp_path: Path) -> Iterator[tuple[Index, Path, Hit]]:
    """An index, the directory of another, and a page that is in the other alone."""
    other = tmp_path / "manuals"
    with Index.open(other) as index:
        index.ingest(write_pdf(tmp_path / "clock.pdf", CLOCK))
        [page] = index.search("clock", k=1)
    with Index.open(copy_index(two_pages, tmp_path / "reports"), create=False) as index:
        yield index, other, page


def client_of(index: Index, uri: Path, *pages_of: Path) -> TestClient:
    settings = ServeSettings.for_index(Settings(index=str(uri)), pages_of=list(map(str, pages_of)))
    return TestClient(create_app(index, settings), base_url=HERE, raise_server_exceptions=False)


def payload_address(page: Hit) -> str:
    return page.image_url.removeprefix(HERE) + "?card=1"


def test_a_browser_gets_a_card_and_everybody_else_the_image(client: TestClient, demo_index: Index):
    hit = demo_index.search("What do four red flashes mean?", k=1)[0]
    address = payload_address(hit)
    jpeg = hit.image_path.read_bytes()
    card = client.get(address, headers=IMG)
    assert card.headers["content-type"] == "image/svg+xml"
    assert ET.fromstring(card.content).tag == "{http://www.w3.org/2000/svg}svg"
    assert card.headers["content-security-policy"].startswith("default-src 'none'")
    assert card.headers["cross-origin-resource-policy"] == "cross-origin"
    for headers in ({}, TAB):
        plain = client.get(address, headers=headers)
        assert (plain.headers["content-type"], plain.content) == ("image/jpeg", jpeg)
        assert plain.headers["vary"] == card.headers["vary"] == "Accept"
        assert plain.headers["etag"] != card.headers["etag"]
    for response, headers in ((card, IMG), (plain, TAB)):
        known = client.get(address, headers={**headers, "If-None-Match": response.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
    whole = client.get(address.removesuffix("?card=1"), headers=IMG)
    assert (whole.headers["content-type"], whole.content) == ("image/jpeg", jpeg)


def test_addresses_of_an_older_docrag_are_answered(client: TestClient, demo_index: Index):
    hit = demo_index.search("What do four red flashes mean?", k=1)[0]
    older = client.get(f"/pages/{hit.document_id}/{hit.page}.jpg", headers=IMG)
    assert (older.headers["content-type"], older.content) == ("image/jpeg", hit.image_path.read_bytes())


def test_one_server_shows_the_pages_of_several_indexes(two_indexes: tuple[Index, Path, Hit]):
    index, other, page = two_indexes
    client = client_of(index, other.with_name("reports"), other)
    own = index.search("ferry", k=1)[0]
    for hit in (own, page):
        response = client.get(payload_address(hit))
        assert response.content == hit.image_path.read_bytes()
        older = client.get(f"/pages/{hit.document_id}/{hit.page}.jpg")
        assert older.content == response.content


def test_a_page_of_another_index_is_not_found_and_the_reason_is_said(two_indexes: tuple[Index, Path, Hit]):
    index, other, page = two_indexes
    client = client_of(index, other.with_name("reports"))
    response = client.get(payload_address(page))
    assert response.status_code == 404
    assert response.json()["error"] == {
        "message": "this server shows the pages of reports, not those of manuals",
        "hint": "start docrag serve with --pages-of and the address of manuals",
    }
    unnamed = client.get(f"/pages/{page.document_id}/1.jpg").json()["error"]
    assert unnamed["message"] == f"reports has no page 1 of the document {page.document_id[:12]}..."
    assert "--pages-of" in unnamed["hint"]


def test_the_name_in_an_address_may_be_that_before_a_snapshot_was_restored(two_indexes):
    """The sha256 of the file says which page it is; the name does not have to be right."""
    index, other, _ = two_indexes
    client = client_of(index, other.with_name("reports"))
    own = index.search("ferry", k=1)[0]
    assert client.get(f"/pages/before/{own.document_id}/{own.page}.jpg").status_code == 200


def test_a_page_whose_image_is_on_another_machine_says_so(
    two_indexes: tuple[Index, Path, Hit], monkeypatch: pytest.MonkeyPatch
):
    index, other, _ = two_indexes
    own = index.search("ferry", k=1)[0]

    def image_file(page: IndexedPage) -> Path:
        raise DocumentError(f"there is no image of {page.file}", "use the machine that has it")

    monkeypatch.setattr(IndexedPage, "image_file", image_file)
    response = client_of(index, other.with_name("reports")).get(payload_address(own))
    assert response.status_code == 404
    assert response.json()["error"] == {
        "message": f"there is no image of {own.file}",
        "hint": "use the machine that has it",
    }


def test_a_page_whose_image_cannot_be_written_says_so(two_indexes: tuple[Index, Path, Hit]):
    index, other, _ = two_indexes
    own = index.search("ferry", k=1)[0]
    folder = own.image_path.parent
    shutil.rmtree(folder)
    folder.write_text("in the way")
    response = client_of(index, other.with_name("reports")).get(payload_address(own))
    assert response.status_code == 404
    assert "cannot write" in response.json()["error"]["message"]


def test_another_index_must_be_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCRAG_SERVE_PAGES_OF", f"http://localhost:6333/nowhere, {tmp_path}")
    settings = Settings(index=str(tmp_path), files=str(tmp_path / "files"))
    with pytest.raises(IndexNotFound, match="no page images of http://localhost:6333/nowhere") as caught:
        ServeSettings.from_environment(settings)
    assert "ingest its documents here" in caught.value.hint
    (tmp_path / "files" / "localhost_6333_nowhere").mkdir(parents=True)
    others = ServeSettings.from_environment(settings).other_pages
    assert [name for name, _ in others] == ["nowhere", tmp_path.name]


@pytest.mark.parametrize(
    "path", ["/pages/x/y/1.jpg", f"/pages/x/{'ab' * 32}/0.jpg", f"/pages//{'ab' * 32}/1.jpg"]
)
def test_what_is_no_address_of_a_page_is_refused(client: TestClient, path: str):
    assert client.get(path).status_code in (404, 422)


def test_an_upload_of_a_new_index_is_shown_at_once(started: Callable[..., TestClient], tmp_path: Path):
    client = started()
    [document] = client.get("/v1/documents").json()["documents"]
    response = client.get(f"/pages/index/{document['document_id']}/2.jpg?card=1", headers=IMG)
    assert response.headers["content-type"] == "image/svg+xml"
