"""Errors as responses."""

from __future__ import annotations

import logging

from fastapi.testclient import TestClient

from docrag import Index
from docrag.errors import StoreError
from docrag.serve.app import create_app
from tests.serve.conftest import HERE


def test_an_unexpected_failure_is_logged_and_not_sent(demo_index: Index, monkeypatch, caplog):
    client = TestClient(create_app(demo_index), base_url=HERE, raise_server_exceptions=False)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of the machine")

    monkeypatch.setattr(demo_index, "search", fail)
    with caplog.at_level(logging.ERROR):
        response = client.post("/v1/search", json={"query": "water"})
    assert response.status_code == 500
    assert response.json()["error"] == {"message": "docrag failed", "hint": "see the server's log"}
    assert response.headers["content-security-policy"]
    assert "a secret of the machine" in caplog.text


def test_an_error_of_the_store_has_its_own_hint(demo_index: Index, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise StoreError("the disk is gone", "look for it")

    client = TestClient(create_app(demo_index), base_url=HERE)
    monkeypatch.setattr(demo_index, "documents", fail)
    response = client.get("/v1/documents")
    assert (response.status_code, response.json()["error"]["hint"]) == (500, "look for it")
