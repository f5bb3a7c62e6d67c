"""Errors as responses."""

from __future__ import annotations

import logging

from fastapi.testclient import TestClient

from docrag import Index
from docrag.errors import StoreError
from docrag.serve.app import create_app
from tests.serve.conftest import HERE


def test_a_failure_is_logged_and_not_told(demo_index: Index, monkeypatch, caplog):
    client = TestClient(create_app(demo_index), base_url=HERE, raise_server_exceptions=False)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of the machine")

    monkeypatch.setattr(demo_index, "search", broken)
    with caplog.at_level(logging.ERROR):
        answer = client.post("/v1/search", json={"query": "water"})
    assert answer.status_code == 500
    assert answer.json()["error"] == {"message": "docrag failed", "hint": "the server's log says why"}
    assert answer.headers["content-security-policy"]
    assert "a secret of the machine" in caplog.text


def test_an_index_that_cannot_be_used_has_its_own_status(demo_index: Index, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise StoreError("the disk is gone", "look for it")

    client = TestClient(create_app(demo_index), base_url=HERE)
    monkeypatch.setattr(demo_index, "documents", broken)
    answer = client.get("/v1/documents")
    assert (answer.status_code, answer.json()["error"]["hint"]) == (500, "look for it")
