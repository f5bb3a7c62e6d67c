"""The Haystack component: what a run returns, what it refuses, and when the index is open."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from haystack import Document
from haystack.utils import Secret
from haystack_docrag import DocragRetriever

from docrag.demo import QUESTIONS
from docrag.errors import IndexNotFound, QueryError, ServerRefused
from docrag.types import is_page_id
from tests.integrations.haystack.helpers import FERRY, files_and_pages
from tests.processes import is_held
from tests.store.fake_qdrant import FakeQdrant


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.file)
def test_best_document_is_the_page_that_answers(retriever: DocragRetriever, question):
    [best, *others] = retriever.run(question.text)["documents"]
    assert files_and_pages([best]) == [(question.file, question.page)]
    assert is_page_id(best.id)
    assert best.score >= others[0].score >= others[1].score
    assert len(best.content) > 50
    assert Path(best.meta["file_path"]).is_file()
    assert Path(best.meta["image_path"]).suffix == ".jpg"
    box = best.meta["regions"][0]["box"]
    assert 0 <= box[0] < box[2] <= 1
    assert set(best.meta["scores"]) <= {"late", "cosine", "text"}
    assert Document.from_dict(best.to_dict()) == best


async def test_run_async_returns_the_same(retriever: DocragRetriever):
    runs = [retriever.run_async(FERRY.text) for _ in range(2)]
    for answer in await asyncio.gather(*runs):
        assert answer == retriever.run(FERRY.text)


def test_a_run_can_override_top_k_mode_and_threshold(retriever: DocragRetriever):
    [best] = retriever.run("catering revenue", top_k=1, mode="text")["documents"]
    assert set(best.meta["scores"]) == {"text"}
    without_threshold = retriever.run("catering revenue", top_k=9, mode="text")["documents"]
    retriever.score_threshold = without_threshold[1].score
    with_threshold = retriever.run("catering revenue", mode="text")["documents"]
    assert [page.id for page in with_threshold] == [page.id for page in without_threshold[:2]]


@pytest.mark.parametrize(
    ("arguments", "message"), [({"top_k": 0}, "top_k = 0"), ({"mode": "psychic"}, "psychic")]
)
def test_invalid_arguments_are_refused_when_the_component_is_made(arguments, message):
    with pytest.raises(QueryError, match=message) as caught:
        DocragRetriever("nowhere", **arguments)
    assert caught.value.hint


def test_invalid_arguments_of_a_run_are_refused(retriever: DocragRetriever):
    with pytest.raises(QueryError, match="top_k = 0"):
        retriever.run("ferry", top_k=0)
    with pytest.raises(QueryError, match="empty"):
        retriever.run(" ")


def test_the_index_is_opened_once_and_closed(index: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    retriever = DocragRetriever(index)
    assert not is_held(index)
    with caplog.at_level(logging.INFO, "haystack_docrag"):
        retriever.warm_up()
    assert f"opened the index {index}" in caplog.messages
    opened = retriever._opened
    retriever.warm_up()
    retriever.run("ferry")
    assert retriever._opened is opened
    assert is_held(index)
    retriever.close()
    retriever.close()
    assert not is_held(index)
    assert retriever.run("ferry", top_k=1)["documents"]
    retriever.close()
    with pytest.raises(IndexNotFound):
        DocragRetriever(tmp_path / "none").warm_up()


def test_components_can_have_the_same_index_open(index: str):
    first, second = DocragRetriever(index, top_k=1), DocragRetriever(index, top_k=1)
    found = first.run(FERRY.text)
    assert files_and_pages(found["documents"]) == [(FERRY.file, FERRY.page)]
    assert second.run(FERRY.text) == found
    first.close()
    assert second.run(FERRY.text) == found
    second.close()


def test_the_api_key_is_sent_to_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("DOCRAG_FILES", str(tmp_path))
    monkeypatch.setenv("MY_QDRANT_KEY", "a-key")
    with FakeQdrant(key="a-key") as server:
        retriever = DocragRetriever(server.uri, api_key=Secret.from_env_var("MY_QDRANT_KEY"))
        with pytest.raises(IndexNotFound):
            retriever.warm_up()
        with pytest.raises(ServerRefused):
            DocragRetriever(server.uri, api_key=None).warm_up()
