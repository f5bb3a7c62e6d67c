"""The LlamaIndex retriever: what a query returns, what is refused, and who is notified."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.schema import QueryBundle
from llama_index_docrag import DocragRetriever
from pydantic import PrivateAttr

from docrag import Index
from docrag.demo import QUESTIONS
from docrag.errors import QueryError
from tests.integrations.llama_index.helpers import FERRY_QUESTION, files_and_pages
from tests.samples import make_image


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.file)
def test_the_best_node_is_the_page_that_answers(demo_index: Index, question):
    [best, *others] = DocragRetriever(demo_index, k=3).retrieve(question.text)
    assert files_and_pages([best]) == [(question.file, question.page)]
    assert best.score >= others[0].score >= others[1].score


async def test_aretrieve_returns_the_same(demo_index: Index):
    retriever = DocragRetriever(demo_index, k=3)
    assert await retriever.aretrieve(FERRY_QUESTION.text) == retriever.retrieve(FERRY_QUESTION.text)


def test_mode_and_score_threshold(demo_index: Index, caplog: pytest.LogCaptureFixture):
    nodes = DocragRetriever(demo_index, k=5, mode="text").retrieve("catering revenue")
    assert set(nodes[0].metadata["scores"]) == {"text"}
    threshold = nodes[1].score
    retriever = DocragRetriever(demo_index, k=5, mode="text", score_threshold=threshold)
    with caplog.at_level(logging.DEBUG, "llama_index_docrag"):
        above_threshold = retriever.retrieve("catering revenue")
    assert [node.node_id for node in above_threshold] == [node.node_id for node in nodes[:2]]
    assert f"2 of {len(nodes)} pages reach the score threshold" in caplog.messages


@pytest.mark.parametrize(("options", "message"), [({"k": 0}, "k = 0"), ({"mode": "psychic"}, "psychic")])
def test_invalid_options_are_refused_when_the_retriever_is_made(demo_index: Index, options, message):
    with pytest.raises(QueryError, match=message) as caught:
        DocragRetriever(demo_index, **options)
    assert caught.value.hint


def test_an_empty_question_is_refused(demo_index: Index):
    with pytest.raises(QueryError, match="empty"):
        DocragRetriever(demo_index).retrieve(" ")


@pytest.fixture(scope="module")
def pictures(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[[str], str]
) -> Iterator[DocragRetriever]:
    """Retrieves from an index of three pictures, with a CLIP of random weights."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "images").mkdir()
    for number in range(3):
        make_image(number).save(root / "images" / f"{number}.png")
    with Index.open(root / "index", image=checkpoint("clip")) as index:
        index.ingest(root / "images")
        yield DocragRetriever(index, k=1, mode="cosine")


async def test_an_image_finds_the_page_that_looks_like_it(pictures: DocragRetriever):
    for file in sorted(Path(pictures.index.documents()[0].file).parent.glob("*.png")):
        query = QueryBundle(query_str="", image_path=str(file))
        assert files_and_pages(pictures.retrieve(query)) == [(file.name, 1)]
        assert files_and_pages(await pictures.aretrieve(query)) == [(file.name, 1)]


def test_an_image_is_refused_if_no_encoder_takes_images(demo_index: Index, pictures: DocragRetriever):
    file = pictures.index.documents()[0].file
    with pytest.raises(QueryError, match="image"):
        DocragRetriever(demo_index).retrieve(QueryBundle("ferry", image_path=file))


def test_an_image_that_does_not_exist_is_refused(pictures: DocragRetriever):
    with pytest.raises(QueryError, match=r"/no/such\.png"):
        pictures.retrieve(QueryBundle("", image_path="/no/such.png"))


class EventNames(BaseEventHandler):
    """Records the names of events."""

    _names: list[str] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "EventNames"

    def handle(self, event: Any, **_: Any) -> None:
        self._names.append(type(event).__name__)


def test_callbacks_and_event_handlers_are_notified(demo_index: Index):
    debug_handler = LlamaDebugHandler(print_trace_on_end=False)
    event_names = EventNames()
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(event_names)
    try:
        retriever = DocragRetriever(demo_index, k=2, callback_manager=CallbackManager([debug_handler]))
        nodes = retriever.retrieve("ferry")
    finally:
        dispatcher.event_handlers.remove(event_names)
    assert event_names._names == ["RetrievalStartEvent", "RetrievalEndEvent"]
    [(start, end)] = debug_handler.get_event_pairs(CBEventType.RETRIEVE)
    assert start.payload["query_str"] == "ferry"
    assert end.payload["nodes"] == nodes
