"""Where page images are served: asked once, remembered by the pages, changed without encoding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from docrag import Index, Settings
from docrag.encode.encoders import Encoders
from docrag.errors import SettingsError
from docrag.ingest.manifest import Manifest
from docrag.ingest.storage import Storage
from docrag.operations.transfer import export_index, import_index
from docrag.settings import load_settings
from docrag.store.images import PageImages
from docrag.store.layout import Fingerprint, Layout
from docrag.store.local.store import EdgeStore
from docrag.store.page_address import PageAddresses
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord, SparseVector, page_id
from tests.samples import APPLE, CLOCK, write_pdf
from tests.store.fake_qdrant import FakeQdrant

pytestmark = pytest.mark.slow

HERE = "http://127.0.0.1:8000"
ELSEWHERE = "https://pages.example/docrag"
TEXT_ONLY = Layout.for_dims(late=None, image=None, text=2)
SHOWN = re.compile(r"\.(jpg|jpeg|png|webp|gif|svg)$")
"""Of the path, in lower case: what the dashboard takes for a picture."""


@pytest.fixture(params=["edge", "server"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path / "files"))
    monkeypatch.setenv("DOCRAG_WORKERS", "1")
    if request.param == "edge":
        yield str(tmp_path / "index")
        return
    with FakeQdrant() as server:
        yield server.uri


def addresses(uri: str) -> set[str]:
    """What the pages say, without the part that is the page's own."""
    with Index.open(uri, create=False) as index:
        records = list(index._storage.store.scroll())
    found = set()
    for record in records:
        metadata = record.payload["metadata"]
        name = uri.rpartition("/")[2]
        own = f"/pages/{name}/{metadata['document_id']}/{metadata['page'] + 1}.jpg?card=1"
        url = record.payload["image_url"]
        parts = urlsplit(url)
        assert url.endswith(own)
        assert SHOWN.search(parts.path)
        assert parts.scheme in ("http", "https")
        found.add(url.removesuffix(own))
    return found


def ingest(uri: str, folder: Path, base_url: str | None = None) -> int:
    with Index.open(uri, settings=load_settings(index=uri, image_base_url=base_url)) as index:
        report = index.ingest(folder)
    assert not report.failures
    return report.addressed


def test_a_new_address_is_told_to_all_pages_without_encoding(uri: str, folder: Path, monkeypatch):
    assert ingest(uri, folder) == 0
    assert addresses(uri) == {"http://127.0.0.1:8000"}
    write_pdf(folder / "clock.pdf", CLOCK)
    ingest(uri, folder, ELSEWHERE + "/")
    assert addresses(uri) == {ELSEWHERE}
    with monkeypatch.context() as patch:
        patch.setattr(Encoders, "encode_pages", None)
        assert ingest(uri, folder, ELSEWHERE) == 0
        assert ingest(uri, folder, "http://localhost:8000") == 4
        assert ingest(uri, folder, ELSEWHERE) == 4
    write_pdf(folder / "orchard.pdf", f"{APPLE} Again.")
    assert ingest(uri, folder) == 0  # not asked: as the pages say
    assert addresses(uri) == {ELSEWHERE}


def test_an_address_that_was_half_told_is_told_to_the_rest(uri: str, folder: Path, monkeypatch):
    ingest(uri, folder)
    with Index.open(uri) as index:
        storage = index._storage
        kind = ServerStore if uri.startswith("http") else EdgeStore
        tell, told = kind.set_payloads, []

        def set_payloads(self, values):
            if len(told) == 2:
                raise KeyboardInterrupt
            told.append(values)
            tell(self, values)

        with monkeypatch.context() as patch:
            patch.setattr("docrag.ingest.storage.ADDRESSES_PER_BATCH", 1)
            patch.setattr(kind, "set_payloads", set_payloads)
            with pytest.raises(KeyboardInterrupt):
                storage.update_image_urls(ELSEWHERE)
        assert storage.image_base_url() == "http://127.0.0.1:8000"
        assert storage.update_image_urls(ELSEWHERE) == 1
        assert storage.update_image_urls(ELSEWHERE) == 0
    assert addresses(uri) == {ELSEWHERE}


def test_addresses_of_an_older_docrag_are_kept_until_others_are_asked_for(uri: str, folder: Path):
    ingest(uri, folder)
    with Index.open(uri) as index:
        storage = index._storage
        older = PageAddresses(HERE)
        storage.store.set_payloads(
            {
                record.id: {"image_url": older.of(record.payload["metadata"]["document_id"], number(record))}
                for record in storage.store.scroll()
            }
        )
    write_pdf(folder / "orchard.pdf", f"{APPLE} Again.")
    assert ingest(uri, folder) == 0
    with Index.open(uri) as index:
        records = list(index._storage.store.scroll())
        assert {PageAddresses.read(record.payload["image_url"]) for record in records} == {older}
    assert ingest(uri, folder, HERE) == 4
    assert addresses(uri) == {HERE}


def number(record: PageRecord) -> int:
    return int(record.payload["metadata"]["page"]) + 1


def test_hits_name_the_image_itself_and_not_the_card(uri: str, folder: Path):
    ingest(uri, folder)
    with Index.open(uri) as index:
        [hit] = index.search("clock", k=1)
    assert hit.image_url == f"{HERE}/pages/{uri.rpartition('/')[2]}/{hit.document_id}/{hit.page}.jpg"


def test_a_change_of_195_addresses_takes_four_requests(tmp_path: Path, monkeypatch):
    """On a real server, a request for each of 1,945 pages took 29 s and 15 runs of its optimizer."""
    monkeypatch.setattr("docrag.ingest.storage.ADDRESSES_PER_BATCH", 50)
    with FakeQdrant() as server:
        store = ServerStore.create(connect(Address.parse(server.uri)), TEXT_ONLY, Fingerprint({"layout": 1}))
        store.upsert([page_record(page) for page in range(195)])
        images, manifest = PageImages(tmp_path / "images"), Manifest(tmp_path / "manifest.sqlite")
        with closing(Storage(store, images, manifest, name="reports")) as storage:
            asked = len(server.requests)
            assert storage.update_image_urls(ELSEWHERE) == 195
            requests = server.requests[asked:]
            assert storage.page_addresses() == PageAddresses(ELSEWHERE, "reports")
    assert [one.path.rpartition("/")[2] for one in requests if one.path.endswith("/batch")] == ["batch"] * 4
    assert len(requests) < 10


def page_record(page: int) -> PageRecord:
    """A page of an index that an older docrag made."""
    document_id = "ab" * 32
    payload = {
        "page_content": "",
        "metadata": {"document_id": document_id, "page": page},
        "image_url": PageAddresses(HERE).of(document_id, page + 1),
    }
    vectors = {"caption": np.array([0.6, 0.8], np.float32), "bm25": SparseVector((), ())}
    return PageRecord(page_id(document_id, page + 1), vectors, payload)


def test_an_import_keeps_the_address_of_the_index_or_takes_the_one_asked_for(
    uri: str, folder: Path, tmp_path: Path
):
    here = str(tmp_path / "here")
    ingest(here, folder, ELSEWHERE)
    export_index(here, tmp_path / "export")
    assert import_index(tmp_path / "export", uri).addressed == 0
    assert addresses(uri) == {ELSEWHERE}
    done = import_index(tmp_path / "export", uri, image_base_url="http://localhost:8000")
    assert (done.addressed, done.written) == (3, 0)
    write_pdf(folder / "clock.pdf", CLOCK)
    ingest(here, folder, "http://other.example")
    export_index(here, tmp_path / "export")
    done = import_index(tmp_path / "export", uri)
    assert (done.addressed, done.pages) == (0, 4)
    assert addresses(uri) == {"http://localhost:8000"}
    new = str(tmp_path / "new")
    import_index(tmp_path / "export", new)  # some parts were written before the address changed
    assert addresses(new) == {"http://other.example"}


BAD = ("pages.example", "ftp://pages.example", "file:///pages", "http://", "http://a b/", "http://x/?token=1")
WORSE = ("http://x/#top", "http://me:secret@x/", "http://x:99999/", "")


@pytest.mark.parametrize("bad", [*BAD, *WORSE])
def test_what_the_dashboard_could_not_read_is_refused(bad: str):
    with pytest.raises(SettingsError, match="image_base_url") as caught:
        load_settings(image_base_url=bad)
    assert "--image-base-url" in caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("HTTP://Pages.Example:80/", "http://pages.example"), ("http://[::1]:8000/a/", "http://[::1]:8000/a")],
)
def test_an_address_is_kept_as_browsers_read_it(given: str, kept: str):
    assert Settings(image_base_url=given).image_base_url == kept
