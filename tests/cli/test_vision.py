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


def test_captions_stand_beside_the_text_and_are_found(docrag, arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    with ModelServer(describe) as server:
        model = ("--caption-url", server.url, "--caption-model", "seer")
        done = docrag(*arguments, *model)
        assert done.code == 0, done.err
        assert len(server.requests) == 2
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer secret-key"}
        assert {request.body["model"] for request in server.requests} == {"seer"}
        docrag("remove", tmp_path / "docs" / "a.pdf", "--index", tmp_path / "index")
        assert docrag(*arguments, *model).code == 0
        assert len(server.requests) == 2  # the second run pays nothing
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


def test_a_refused_page_is_told_and_found_by_its_text(docrag, arguments, tmp_path):
    def picky(request: Request) -> Answer:
        asked.append(json.dumps(request.body))
        refused = asked[0] == asked[-1]  # whichever page came first
        return Answer(400, {"error": {"message": "too ugly"}}) if refused else describe(request)

    asked: list[str] = []
    with ModelServer(picky) as server:
        more = ("--caption-url", server.url, "--caption-model", "seer", "--json")
        done = docrag(*arguments, *more)
    assert "too ugly" in done.lines[0]["error"]
    assert done.lines[0]["pages"] == 2
    found = docrag("search", "ferry timetable", "--index", tmp_path / "index", "--json").lines[0]
    assert found["hits"][0]["page"] == 1


def test_a_wrong_key_stops_with_the_address(docrag, arguments):
    with ModelServer(lambda request: Answer(401, {"error": {"message": "bad key"}})) as server:
        done = docrag(*arguments, "--caption-url", server.url, "--caption-model", "seer")
        assert server.url in done.err
    assert done.code == 1


def test_an_endpoint_must_be_named(docrag, arguments):
    done = docrag(*arguments)
    assert done.code == 2
    assert "--caption-url" in done.err
