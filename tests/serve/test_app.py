"""The application as a whole."""

from __future__ import annotations

import logging

from fastapi.testclient import TestClient

from docrag import Index
from docrag.serve.app import create_app


def test_the_application_responds_to_its_own_host_names_only(demo_index: Index):
    app = create_app(demo_index)
    assert TestClient(app).get("/healthz").status_code == 421  # its Host is "testserver"
    assert TestClient(app, base_url="http://127.0.0.1:8000").get("/healthz").json()["status"] == "ok"


def test_it_is_ready_during_its_lifespan_and_closes_the_index(started, caplog):
    caplog.set_level(logging.INFO, logger="docrag.serve")
    client = started()
    assert "models loaded in" in caplog.text
    assert client.get("/readyz").json() == {"status": "ready"}
    index = client.app.state.index
    client.__exit__(None, None, None)
    assert client.get("/readyz").status_code == 503
    assert "the index is closed" in caplog.text
    with Index.open(client.app.state.settings.folder, create=False) as again:  # no process holds it
        assert again.documents()
    index.close()  # closing it again does no harm


def test_the_description_loads_nothing_from_other_sites(client: TestClient):
    assert client.get("/docs").status_code == 404
    description = client.get("/openapi.json").json()
    assert {"/v1/search", "/v1/documents", "/v1/pages/{page_id}", "/healthz"} <= description["paths"].keys()
    assert "/v1/ingest" not in description["paths"]  # this server is read-only
    assert description["components"]["schemas"]["SearchRequest"]["examples"]


def test_an_index_that_was_moved_while_it_was_served_is_missed(started):
    client = started()
    assert client.post("/v1/search", json={"query": "ferry"}).status_code == 200
    folder = client.app.state.settings.folder
    folder.rename(folder.with_name("elsewhere"))
    for response in (client.get("/readyz"), client.post("/v1/search", json={"query": "ferry"})):
        assert response.status_code == 503
        assert "start docrag serve again" in response.json()["error"]["hint"]
    page = client.get("/?q=ferry")
    assert (page.status_code, "no longer where it was" in page.text) == (503, True)
    folder.with_name("elsewhere").rename(folder)
    assert client.get("/?q=ferry").status_code == 200
