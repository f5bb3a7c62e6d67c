"""A server goes on when another process migrates its index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from docrag import Index, Settings
from docrag.operations.migrate import migrate_index
from docrag.serve.app import create_app
from docrag.serve.settings import ServeSettings
from tests.samples import APPLE, CLOCK, FERRY, write_pdf
from tests.serve.conftest import HERE
from tests.serve.uploading import upload, wait_for
from tests.store.fake_qdrant import FakeQdrant

pytestmark = pytest.mark.slow

QUESTION = {"query": "When does the ferry leave?", "k": 1}


@pytest.fixture(params=["server", "directory"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    with FakeQdrant() as qdrant:
        uri = qdrant.uri if request.param == "server" else str(tmp_path / "index")
        settings = Settings(index=uri, files=str(tmp_path / "files"), workers=1)
        with Index.open(settings=settings) as index:
            index.ingest(write_pdf(tmp_path / "docs" / "ferry.pdf", FERRY, CLOCK))
        yield settings


def test_searches_and_uploads_go_to_the_new_index(settings: Settings, tmp_path: Path):
    serve_settings = ServeSettings.for_index(settings, allow_ingest=True)
    app = create_app(Index.open(settings=settings, create=False), serve_settings)
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
        before = client.post("/v1/search", json=QUESTION).json()["hits"]
        if "://" in settings.index:
            migrate_index(settings=settings.model_copy(update={"pooling": "rows+columns"}))
        response = client.post("/v1/search", json={**QUESTION, "mode": "late"})
        assert response.status_code == 200, response.text
        assert response.json()["hits"][0]["page_id"] == before[0]["page_id"]
        assert client.get("/v1/documents").status_code == 200
        assert client.get("/readyz").status_code == 200
        response = upload(client, ("apple.pdf", write_pdf(tmp_path / "apple.pdf", APPLE).read_bytes()))
        assert response.status_code == 202
        print(response.json(), wait_for)
