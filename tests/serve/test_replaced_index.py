"""A server goes on when another process migrates its index."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from docrag import Index, Settings
from docrag.errors import IndexReplaced
from docrag.index import following
from docrag.ingest.report import FileReport, IngestReport
from docrag.operations.migrate import migrate_index
from docrag.serve import jobs
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from tests.samples import APPLE, CLOCK, FERRY, write_pdf
from tests.serve.conftest import HERE
from tests.serve.uploading import make_pdf, upload, wait_for_job
from tests.store.fake_qdrant import FakeQdrant

pytestmark = pytest.mark.slow

QUESTION = {"query": "When does the ferry leave?", "k": 1}


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """An index on a server with one document."""
    with FakeQdrant() as qdrant:
        settings = Settings(index=qdrant.uri, files=str(tmp_path / "files"), workers=1)
        with Index.open(settings=settings) as index:
            index.ingest(write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK))
        yield settings


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """A client of a server over this index."""
    serve_settings = ServeSettings.for_index(settings, allow_ingest=True)
    app = create_app(Index.open(settings=settings, create=False), serve_settings)
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
        yield client


def best(client: TestClient, **options: object) -> str:
    """The id of the best page for the question."""
    response = client.post("/v1/search", json={**QUESTION, **options})
    assert response.status_code == 200, response.text
    return response.json()["hits"][0]["page_id"]


def test_searches_and_uploads_go_to_the_new_index(client: TestClient, settings: Settings, tmp_path: Path):
    before = best(client)
    migrate_index(settings=settings.model_copy(update={"pooling": "rows+columns"}))
    assert best(client, mode="late") == before
    assert client.get("/readyz").status_code == 200
    [document] = client.get("/v1/documents").json()["documents"]
    image = client.get(f"/pages/{document['document_id']}/1.jpg")
    assert (image.status_code, image.headers["Content-Type"]) == (200, "image/jpeg")
    job = upload(client, ("apple.pdf", make_pdf(tmp_path, APPLE))).json()["job"]
    assert wait_for_job(client, job)["state"] == "done"
    with Index.open(settings=settings, create=False) as other:
        assert other.fingerprint["pooling"] == "rows+columns"
        assert other.status().pages == 3


def test_an_upload_right_after_a_migration_is_kept(client: TestClient, settings: Settings, tmp_path: Path):
    migrate_index(settings=settings.model_copy(update={"pooling": "rows+columns"}))
    job = upload(client, ("apple.pdf", make_pdf(tmp_path, APPLE))).json()["job"]
    assert wait_for_job(client, job)["state"] == "done"
    with Index.open(settings=settings, create=False) as other:
        assert other.status().pages == 3


def test_an_old_index_that_was_kept_is_left_after_a_while(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    migrate_index(settings=settings.model_copy(update={"pooling": "rows+columns"}), keep_old=True)
    now = following.time.monotonic() + following.CHECK_SECONDS
    monkeypatch.setattr(following.time, "monotonic", lambda: now)
    assert client.get("/readyz").status_code == 200  # the old index answers while the new one is opened
    for _ in range(300):
        if client.app.state.index.fingerprint["pooling"] == "rows+columns":
            break
        time.sleep(0.1)
    assert client.app.state.index.fingerprint["pooling"] == "rows+columns"
    assert best(client, mode="late")


def test_an_upload_that_a_migration_overtakes_goes_on_with_what_remains(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ingest = Index.ingest
    attempts: list[list[str]] = []

    def overtaken(index: Index, paths: list[Path], **named: Any) -> IngestReport:
        """The first time one file fails, and then the index is replaced."""
        attempts.append([path.name for path in paths])
        if len(attempts) == 1:
            named["listener"](FileReport(str(paths[0]), "failed", 0, "page 1 cannot be read"))
            raise IndexReplaced("the index was migrated after it was opened")
        return ingest(index, paths, **named)

    monkeypatch.setattr(Index, "ingest", overtaken)
    files = (("bad.pdf", make_pdf(tmp_path, CLOCK)), ("good.pdf", make_pdf(tmp_path, APPLE)))
    state = wait_for_job(client, upload(client, *files).json()["job"])
    assert attempts == [["bad.pdf", "good.pdf"], ["good.pdf"]]
    assert state["state"] == "done"
    assert [(file["file"], file["status"]) for file in state["files"]] == [
        ("bad.pdf", "failed"),
        ("good.pdf", "added"),
    ]
    summary = state["end"]["summary"]
    assert (summary["failed"], summary["added"]) == (1, 1)


def test_an_upload_that_is_overtaken_again_and_again_fails(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    attempts: list[Index] = []

    def overtaken(index: Index, paths: list[Path], **named: Any) -> IngestReport:
        attempts.append(index)
        raise IndexReplaced("the index was migrated after it was opened")

    monkeypatch.setattr(Index, "ingest", overtaken)
    job = upload(client, ("apple.pdf", make_pdf(tmp_path, APPLE))).json()["job"]
    assert wait_for_job(client, job)["state"] == "failed"
    assert len(attempts) == len(set(map(id, attempts))) == jobs.MAX_FRUITLESS


@pytest.mark.usefixtures("engine_process")
def test_a_directory_is_followed_as_well(started: Callable[..., TestClient], folder: Path):
    client = started()
    before = best(client)
    migrate_index(folder, settings=Settings(pooling="rows+columns", workers=1))
    assert best(client, mode="late") == before
    assert client.app.state.index.fingerprint["pooling"] == "rows+columns"
