"""What was answered is given again only while it is still true."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from docrag import Index, demo
from docrag.serve.app import create_app
from docrag.serve.cache import AnswerCache
from docrag.serve.document_list import Documents
from docrag.serve.metrics import Metrics
from docrag.serve.searches import Searches
from docrag.serve.settings import ServeSettings
from docrag.types import Hit
from tests.samples import CLOCK, FERRY, write_pdf
from tests.serve.conftest import HERE

QUESTION = demo.QUESTIONS[0].text


@pytest.fixture(scope="module")
def hits(demo_index: Index) -> list[Hit]:
    return demo_index.search(QUESTION, 3)


def test_an_answer_comes_back_whole(hits: list[Hit]):
    answered, version = AnswerCache(math.inf), object()
    answered.keep("asked", version, hits)
    assert answered.get("asked", version) == hits
    assert answered.get("another", version) is None


def test_an_answer_ends_with_a_change_and_with_its_time(hits: list[Hit], monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    answered, version = AnswerCache(5.0), object()
    answered.keep("asked", version, hits)
    assert answered.get("asked", object()) is None
    now = 104.9
    assert answered.get("asked", version) == hits
    now = 105.0
    assert answered.get("asked", version) is None


def test_the_oldest_make_room(hits: list[Hit]):
    answered, version = AnswerCache(math.inf), object()
    answered.keep(0, version, hits)
    one = AnswerCache(math.inf, most=answered._size * 3)
    for number in range(3):
        one.keep(number, version, hits)
    assert one.get(0, version) == hits  # used, so that 1 is the oldest
    one.keep(3, version, hits)
    one.keep(3, version, hits)
    assert [number for number in range(4) if one.get(number, version)] == [0, 2, 3]


def test_the_index_is_asked_once_until_documents_change(demo_index: Index, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def search(*given, **more):
        asked.append(given)
        return Index.search(demo_index, *given, **more)

    documents = Documents(demo_index)
    searches = Searches(demo_index, documents, ServeSettings(), Metrics())
    monkeypatch.setattr(demo_index, "search", search)
    first = searches.search({}, QUESTION, 3, "hybrid")
    again = searches.search({}, QUESTION, 3, "hybrid")
    assert (again.hits, len(asked)) == (first.hits, 1)
    for different in (
        (QUESTION, 2, "hybrid"),
        (QUESTION, 3, "late"),
        (QUESTION, 3, "hybrid", {"page": 3}),
        (QUESTION, 3, "hybrid", {"page": 4}),
        ("ferry", 3, "hybrid"),
    ):
        searches.search({}, *different)
    assert len(asked) == 6
    documents.changed()
    searches.search({}, QUESTION, 3, "hybrid")
    assert len(asked) == 7


def test_what_else_this_process_ingests_is_found_at_once(tmp_path: Path):
    """A program that serves its index may change it by itself, of which the server is not told."""
    question = {"query": "pendulum of a clock", "k": 1}
    with Index.open(tmp_path / "index") as index:
        client = TestClient(create_app(index), base_url=HERE)
        for name, text in (("ferry.pdf", FERRY), ("clock.pdf", CLOCK)):
            index.ingest(write_pdf(tmp_path / name, text))
            [hit] = client.post("/v1/search", json=question).json()["hits"]
            assert hit["file"].endswith(name)
