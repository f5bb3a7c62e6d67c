"""DocragRetriever on the demo documents: the suite of langchain-tests, and every option of the retriever."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from itertools import pairwise
from pathlib import Path

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.load import dumps
from langchain_core.runnables import RunnableLambda
from langchain_docrag import DocragRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import ValidationError

from docrag import Index
from docrag.demo import QUESTIONS, documents
from docrag.errors import QueryError
from tests.samples import APPLE, FERRY, write_pdf

CATERING = QUESTIONS[0]
FLASHES = next(question for question in QUESTIONS if question.file == "tarn12_manual.pdf")


class TestStandard(RetrieversIntegrationTests):
    """What LangChain requires of every retriever."""

    @pytest.fixture(autouse=True)
    def _open(self, demo_index: Index) -> None:
        self._index = demo_index

    @property
    def retriever_constructor(self) -> type[DocragRetriever]:
        return DocragRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, object]:
        return {"index": self._index}

    @property
    def retriever_query_example(self) -> str:
        return CATERING.text


@pytest.fixture
def retriever(demo_index: Index) -> DocragRetriever:
    return demo_index.as_retriever(k=3)


def files_and_pages(docs: list[Document]) -> list[tuple[str, int]]:
    """File name and page number, from 1."""
    return [(doc.metadata["file_name"], doc.metadata["page"] + 1) for doc in docs]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.file)
def test_the_best_document_is_the_page_that_answers(retriever, question):
    assert files_and_pages(retriever.invoke(question.text))[0] == (question.file, question.page)


def test_a_document_has_the_data_of_its_hit(retriever, demo_index):
    [doc] = retriever.invoke(CATERING.text, k=1)
    [hit] = demo_index.search(CATERING.text, k=1)
    assert (doc.id, doc.page_content) == (hit.page_id, hit.text)
    metadata = doc.metadata
    assert (metadata["rank"], metadata["score"]) == (1, hit.score)
    assert metadata["scores"] == dict(hit.scores)
    assert [tuple(region["box"]) for region in metadata["regions"]] == [region.box for region in hit.regions]
    assert Path(metadata["image_path"]) == hit.image_path
    assert metadata["image_url"].endswith(".jpg")


def test_metadata_has_the_keys_of_pymupdfloader_and_survives_json(retriever):
    [doc] = retriever.invoke(CATERING.text, k=1)
    assert {"source", "file_path", "page", "total_pages", "title"} <= doc.metadata.keys()
    assert doc.metadata["file_path"] == str(documents() / CATERING.file)
    assert doc.metadata["page"] == CATERING.page - 1
    assert Document(**json.loads(json.dumps(doc.model_dump()))) == doc
    assert not any(isinstance(value, str) and len(value) > 5000 for value in doc.metadata.values())


def test_images_are_included_as_base64_only_on_request(retriever, demo_index):
    [plain] = retriever.invoke(CATERING.text, k=1)
    [doc] = retriever.invoke(CATERING.text, k=1, include_images=True)
    assert doc.metadata.keys() - plain.metadata.keys() == {"image_base64"}
    jpeg = base64.b64decode(doc.metadata["image_base64"])
    assert jpeg == Path(doc.metadata["image_path"]).read_bytes()


def test_regions_can_be_left_out(retriever):
    [whole] = retriever.invoke(CATERING.text, k=1)
    [lean] = retriever.invoke(CATERING.text, k=1, regions=False)
    assert whole.metadata["regions"]
    assert lean.metadata == {**whole.metadata, "regions": []}


@pytest.mark.parametrize("mode", ["late", "cosine", "text", "hybrid"])
def test_modes_are_those_of_the_index(retriever, demo_index, mode):
    docs = retriever.invoke(CATERING.text, mode=mode)
    hits = demo_index.search(CATERING.text, k=3, mode=mode)
    assert [(doc.id, doc.metadata["score"]) for doc in docs] == [(hit.page_id, hit.score) for hit in hits]


@pytest.mark.parametrize(
    ("field", "value"),
    [("filter", {"file_name": FLASHES.file}), ("score_threshold", 0.6), ("mode", "text"), ("neighbours", 1)],
)
async def test_options_can_be_given_to_the_constructor_and_to_a_call(demo_index, field, value):
    expected = DocragRetriever(index=demo_index, k=2, **{field: value}).invoke(CATERING.text)
    plain = DocragRetriever(index=demo_index, k=2)
    assert plain.invoke(CATERING.text, **{field: value}) == expected
    assert await plain.ainvoke(CATERING.text, **{field: value}) == expected
    assert plain.invoke(CATERING.text) != expected


def test_a_filter_excludes_other_files(retriever):
    docs = retriever.invoke(CATERING.text, filter={"file_name": FLASHES.file})
    assert {file for file, _ in files_and_pages(docs)} == {FLASHES.file}


def test_a_threshold_excludes_lower_scores(retriever, caplog):
    scores = [doc.metadata["score"] for doc in retriever.invoke(CATERING.text)]
    with caplog.at_level(logging.DEBUG, "langchain_docrag"):
        above = retriever.invoke(CATERING.text, score_threshold=scores[1])
    assert [doc.metadata["score"] for doc in above] == scores[:2]
    assert "1 of 3 pages are below the score threshold" in caplog.messages
    assert retriever.invoke(CATERING.text, score_threshold=2) == []


def test_neighbours_are_returned_around_their_page_in_document_order(retriever):
    before, hit, after = retriever.invoke(CATERING.text, k=1, neighbours=1)
    assert files_and_pages([before, hit, after]) == [
        (CATERING.file, CATERING.page + step) for step in (-1, 0, 1)
    ]
    assert [doc.metadata.get("neighbour_of") for doc in (before, hit, after)] == [hit.id, None, hit.id]
    assert [doc.metadata.get("rank") for doc in (before, hit, after)] == [None, 1, None]
    assert before.page_content
    assert Path(before.metadata["image_path"]).is_file()
    last = retriever.invoke(FLASHES.text, k=1, neighbours=1)
    assert files_and_pages(last) == [(FLASHES.file, 3), (FLASHES.file, 4)]  # there is no fifth page


def test_every_page_is_returned_once(retriever):
    docs = retriever.invoke(FLASHES.text, k=6, neighbours=2)
    assert len({doc.id for doc in docs}) == len(docs)
    ranks = [doc.metadata["rank"] for doc in docs if "rank" in doc.metadata]
    assert sorted(ranks) == [1, 2, 3, 4, 5, 6]
    for name in {file for file, _ in files_and_pages(docs)}:
        numbers = [page for file, page in files_and_pages(docs) if file == name]
        backwards = [earlier - later for earlier, later in pairwise(numbers) if later < earlier]
        assert 1 not in backwards  # consecutive pages are in one run


def test_group_by_document_returns_one_page_each_and_k_counts_documents(retriever, demo_index):
    files = len(demo_index.documents())
    docs = retriever.invoke("water", k=files, group_by_document=True)
    assert len({doc.metadata["document_id"] for doc in docs}) == len(docs) == files
    best = {}
    for hit in demo_index.search("water", k=100):
        best.setdefault(hit.document_id, hit.page_id)
    assert {doc.metadata["document_id"]: doc.id for doc in docs} == best


def test_group_by_document_returns_several_pages_together(retriever):
    docs = retriever.invoke(CATERING.text, k=2, group_by_document=2)
    files = [file for file, _ in files_and_pages(docs)]
    assert len(files) == 4
    assert files == [files[0], files[0], files[2], files[2]]
    assert files[0] == CATERING.file


@pytest.mark.slow
async def test_the_search_is_widened_until_it_finds_enough_documents(tmp_path, caplog):
    write_pdf(tmp_path / "docs" / "ferries.pdf", *[f"{FERRY} Sailing {number}." for number in range(40)])
    write_pdf(tmp_path / "docs" / "apples.pdf", APPLE)
    with DocragRetriever.from_folder(tmp_path / "docs", index=tmp_path / "index") as retriever:
        with caplog.at_level(logging.DEBUG, "langchain_docrag"):
            docs = retriever.invoke("ferry timetable", k=2, group_by_document=1)
        assert "the best 8 pages are of fewer than 2 documents: searching for 32" in caplog.messages
        assert "ferry timetable" not in caplog.text
        assert [file for file, _ in files_and_pages(docs)] == ["ferries.pdf", "apples.pdf"]
        assert await retriever.ainvoke("ferry timetable", k=2, group_by_document=1) == docs


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"k": 0}, "k=0.*greater than or equal to 1"),
        ({"mode": "fast"}, "mode='fast'.*'hybrid', 'late', 'cosine' or 'text'"),
        ({"top_k": 3}, "no argument 'top_k'.*k, mode, filter"),
        ({"neighbours": -1}, "neighbours=-1"),
        ({"score_threshold": "high"}, "score_threshold='high'"),
        ({"filter": "file.pdf"}, "filter"),
        ({"filter": {"a b": "c"}}, "a b"),
    ],
)
async def test_invalid_arguments_of_a_call_are_refused(retriever, argument, message):
    with pytest.raises(QueryError, match=message):
        retriever.invoke("ferry", **argument)
    with pytest.raises(QueryError, match=message):
        await retriever.ainvoke("ferry", **argument)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"top_k": 3}, "top_k"),
        ({"k": 0}, "k\n"),
        ({"index": "my-index"}, "from_index"),
        ({"mode": "x"}, "mode"),
    ],
)
def test_invalid_fields_of_the_constructor_are_refused(demo_index, fields, message):
    with pytest.raises(ValidationError, match=message):
        DocragRetriever(**{"index": demo_index, **fields})


def test_an_empty_query_is_refused(retriever):
    with pytest.raises(QueryError, match="empty"):
        retriever.invoke("  ")


class RecordingCallbackHandler(BaseCallbackHandler):
    """Records the events of retrievers."""

    def __init__(self):
        self.events = []

    def on_retriever_start(self, serialized, query, *, metadata, tags, **kwargs):
        self.events.append(("start", query, metadata, tags))

    def on_retriever_end(self, docs, **kwargs):
        self.events.append(("end", len(docs)))

    def on_retriever_error(self, error, **kwargs):
        self.events.append(("error", type(error)))


def test_callbacks_and_tracing_are_notified(demo_index):
    handler = RecordingCallbackHandler()
    retriever = demo_index.as_retriever(k=2, tags=["pages"], metadata={"team": "papers"})
    retriever.invoke(CATERING.text, {"callbacks": [handler]}, mode="late")
    (start, query, metadata, tags), end = handler.events
    assert (start, query, end) == ("start", CATERING.text, ("end", 2))
    assert "pages" in tags
    assert metadata["team"] == "papers"
    assert (metadata["ls_retriever_name"], metadata["ls_vector_store_provider"]) == ("docrag", "qdrant")
    assert metadata["ls_embedding_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    retriever.invoke(CATERING.text, {"callbacks": [handler]}, mode="text")
    assert handler.events[2][2]["ls_embedding_model"] == "bm25"
    with pytest.raises(QueryError):
        retriever.invoke("", {"callbacks": [handler]})
    assert handler.events[-1] == ("error", QueryError)


async def test_async_callbacks_are_notified(retriever):
    handler = RecordingCallbackHandler()
    await retriever.ainvoke(CATERING.text, {"callbacks": [handler]})
    assert [event[0] for event in handler.events] == ["start", "end"]


async def test_it_can_be_used_like_any_runnable(demo_index, retriever):
    questions = [question.text for question in QUESTIONS]
    expected = [files_and_pages(retriever.invoke(text)) for text in questions]
    assert [files_and_pages(docs) for docs in retriever.batch(questions)] == expected
    assert [files_and_pages(docs) for docs in await retriever.abatch(questions)] == expected
    assert len(retriever.bind(k=1).invoke(CATERING.text)) == 1
    assert len(retriever.with_config(tags=["x"]).invoke(CATERING.text)) == 3
    results = await asyncio.gather(*(retriever.ainvoke(text, k=1) for text in questions))
    assert [files_and_pages(docs) for docs in results] == [pages[:1] for pages in expected]
    assert (retriever | RunnableLambda(len)).invoke(CATERING.text, k=1) == 1
    dumps(retriever)  # tracing serializes the retriever, without its index
