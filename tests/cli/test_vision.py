"""Captions by a vision model, from the command line."""

from __future__ import annotations

import json

import pytest

from tests.samples import APPLE, FERRY, write_pdf
from tests.servers import Answer, ModelServer, Request


def describe(request: Request) -> Answer:
    return Answer(body={"choices": [{"message": {"content": "A zeppelin above a lake."}}]})


@pytest.fixture
def arguments(tmp_path):
    write_pdf(tmp_path / "docs" / "a.pdf", FERRY, APPLE)
    return ("ingest", tmp_path / "docs", "--index", tmp_path / "index", "--caption", "vision")


@pytest.mark.slow
def test_captions_stand_beside_the_text_and_are_found(docrag, arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    with ModelServer(describe) as server:
        model = ("--caption-url", server.url, "--caption-model", "seer")
        outcome = docrag(*arguments, *model)
        assert outcome.code == 0, outcome.err
        assert len(server.requests) == 2
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer secret-key"}
        assert {request.body["model"] for request in server.requests} == {"seer"}
        docrag("remove", tmp_path / "docs" / "a.pdf", "--index", tmp_path / "index")
        assert docrag(*arguments, *model).code == 0
        assert len(server.requests) == 2  # the second run takes them from the cache
        plain = ("ingest", tmp_path / "docs", "--index", tmp_path / "index", "--again")
        assert "2 pages" in docrag(*plain).out
        found = docrag("search", "zeppelin", "--index", tmp_path / "index", "--mode", "text", "--json")
        assert found.lines[0]["hits"] == []
        assert docrag(*arguments, *model, "--again").code == 0
        found = docrag("search", "zeppelin", "--index", tmp_path / "index", "--mode", "text", "--json")
        assert len(server.requests) == 2
    hits = found.lines[0]["hits"]
    assert len(hits) == 2
    assert all("zeppelin" in hit["text"] for hit in hits)
    assert any("ferry timetable" in hit["text"] for hit in hits)


@pytest.mark.slow
def test_a_page_that_the_model_refuses_is_reported_and_found_by_its_text(docrag, arguments, tmp_path):
    def picky(request: Request) -> Answer:
        bodies.append(json.dumps(request.body))
        refused = bodies[0] == bodies[-1]  # whichever page came first
        return Answer(400, {"error": {"message": "too ugly"}}) if refused else describe(request)

    bodies: list[str] = []
    with ModelServer(picky) as server:
        more = ("--caption-url", server.url, "--caption-model", "seer", "--json")
        outcome = docrag(*arguments, *more)
    assert "too ugly" in outcome.lines[0]["error"]
    assert outcome.lines[0]["pages"] == 2
    found = docrag("search", "ferry timetable", "--index", tmp_path / "index", "--json").lines[0]
    assert found["hits"][0]["page"] == 1


@pytest.mark.slow
def test_a_wrong_key_stops_with_the_address(docrag, arguments):
    with ModelServer(lambda request: Answer(401, {"error": {"message": "bad key"}})) as server:
        outcome = docrag(*arguments, "--caption-url", server.url, "--caption-model", "seer")
        assert server.url in outcome.err
    assert outcome.code == 1


def test_an_endpoint_must_be_named(docrag, arguments):
    outcome = docrag(*arguments)
    assert outcome.code == 2
    assert "--caption-url" in outcome.err
