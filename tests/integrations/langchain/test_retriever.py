"""The LangChain retriever over the demo's documents: LangChain's own tests, and all that can be asked."""

from __future__ import annotations

import asyncio
import base64
import json
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

CATERING, FLASHES = QUESTIONS[0], next(one for one in QUESTIONS if one.file == "tarn12_manual.pdf")


class TestStandard(RetrieversIntegrationTests):
    """What LangChain asks of every retriever."""

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


def places(docs: list[Document]) -> list[tuple[str, int]]:
    """File and page, from 1."""
    return [(doc.metadata["file_name"], doc.metadata["page"] + 1) for doc in docs]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.file)
def test_the_best_document_is_the_page_that_answers(retriever, question):
    assert places(retriever.invoke(question.text))[0] == (question.file, question.page)


def test_a_document_says_what_its_hit_says(retriever, demo_index):
    [doc], [hit] = retriever.invoke(CATERING.text, k=1), demo_index.search(CATERING.text, k=1)
    assert (doc.id, doc.page_content) == (hit.page_id, hit.text)
    told = doc.metadata
    assert (told["rank"], told["score"], told["scores"]) == (1, hit.score, dict(hit.scores))
    assert [tuple(region["box"]) for region in told["regions"]] == [region.box for region in hit.regions]
    assert Path(told["image_path"]) == hit.image_path
    assert told["image_url"].endswith(".jpg")


def test_metadata_is_named_as_by_langchains_pdf_loader_and_goes_through_json(retriever):
    [doc] = retriever.invoke(CATERING.text, k=1)
    assert {"source", "file_path", "page", "total_pages", "title"} <= doc.metadata.keys()
    assert doc.metadata["file_path"] == str(documents() / CATERING.file)
    assert doc.metadata["page"] == CATERING.page - 1
    assert Document(**json.loads(json.dumps(doc.model_dump()))) == doc
    assert not any(isinstance(value, str) and len(value) > 5000 for value in doc.metadata.values())


def test_images_come_as_base64_only_when_asked_for(retriever, demo_index):
    [plain] = retriever.invoke(CATERING.text, k=1)
    [doc] = retriever.invoke(CATERING.text, k=1, include_images=True)
    assert doc.metadata.keys() - plain.metadata.keys() == {"image_base64"}
    jpeg = base64.b64decode(doc.metadata["image_base64"])
    assert jpeg == Path(doc.metadata["image_path"]).read_bytes()


@pytest.mark.parametrize("mode", ["late", "cosine", "text", "hybrid"])
def test_modes_are_those_of_the_index(retriever, demo_index, mode):
    docs = retriever.invoke(CATERING.text, mode=mode)
    hits = demo_index.search(CATERING.text, k=3, mode=mode)
    assert [(doc.id, doc.metadata["score"]) for doc in docs] == [(hit.page_id, hit.score) for hit in hits]


@pytest.mark.parametrize(
    ("field", "value"),
    [("filter", {"file_name": FLASHES.file}), ("score_threshold", 0.6), ("mode", "text"), ("neighbours", 1)],
)
async def test_constructor_and_call_ask_the_same_and_async_too(demo_index, field, value):
    given = DocragRetriever(index=demo_index, k=2, **{field: value}).invoke(CATERING.text)
    plain = DocragRetriever(index=demo_index, k=2)
    assert plain.invoke(CATERING.text, **{field: value}) == given
    assert await plain.ainvoke(CATERING.text, **{field: value}) == given
    assert plain.invoke(CATERING.text) != given


def test_a_filter_leaves_other_files_out(retriever):
    docs = retriever.invoke(CATERING.text, filter={"file_name": FLASHES.file})
    assert {file for file, _ in places(docs)} == {FLASHES.file}


def test_a_threshold_leaves_out_lower_scores(retriever):
    scores = [doc.metadata["score"] for doc in retriever.invoke(CATERING.text)]
    kept = retriever.invoke(CATERING.text, score_threshold=scores[1])
    assert [doc.metadata["score"] for doc in kept] == scores[:2]
    assert retriever.invoke(CATERING.text, score_threshold=2) == []


def test_neighbours_stand_around_their_page_in_the_order_of_the_document(retriever):
    before, hit, after = retriever.invoke(CATERING.text, k=1, neighbours=1)
    assert places([before, hit, after]) == [(CATERING.file, CATERING.page + step) for step in (-1, 0, 1)]
    assert [doc.metadata.get("neighbour_of") for doc in (before, hit, after)] == [hit.id, None, hit.id]
    assert [doc.metadata.get("rank") for doc in (before, hit, after)] == [None, 1, None]
    assert before.page_content
    assert Path(before.metadata["image_path"]).is_file()
    last = retriever.invoke(FLASHES.text, k=1, neighbours=1)
    assert places(last) == [(FLASHES.file, 3), (FLASHES.file, 4)]  # there is no fifth page


def test_pages_that_are_found_and_neighbours_come_once(retriever):
    docs = retriever.invoke(FLASHES.text, k=6, neighbours=2)
    assert len({doc.id for doc in docs}) == len(docs)
    ranks = [doc.metadata["rank"] for doc in docs if "rank" in doc.metadata]
    assert sorted(ranks) == [1, 2, 3, 4, 5, 6]
    for name in {file for file, _ in places(docs)}:
        numbers = [page for file, page in places(docs) if file == name]
        backwards = [earlier - later for earlier, later in pairwise(numbers) if later < earlier]
        assert 1 not in backwards  # pages that follow each other are in one run


def test_one_page_of_each_document_and_k_counts_documents(retriever, demo_index):
    files = len(demo_index.documents())
    docs = retriever.invoke("water", k=files, group_by_document=True)
    assert len({doc.metadata["document_id"] for doc in docs}) == len(docs) == files
    best = {}
    for hit in demo_index.search("water", k=100):
        best.setdefault(hit.document_id, hit.page_id)
    assert {doc.metadata["document_id"]: doc.id for doc in docs} == best


def test_several_pages_of_each_document_stand_together(retriever):
    docs = retriever.invoke(CATERING.text, k=2, group_by_document=2)
    files = [file for file, _ in places(docs)]
    assert len(files) == 4
    assert files == [files[0], files[0], files[2], files[2]]
    assert files[0] == CATERING.file


async def test_documents_are_looked_for_beyond_the_pages_of_the_first(tmp_path):
    write_pdf(tmp_path / "docs" / "ferries.pdf", *[f"{FERRY} Sailing {number}." for number in range(40)])
    write_pdf(tmp_path / "docs" / "apples.pdf", APPLE)
    with DocragRetriever.from_folder(tmp_path / "docs", index=tmp_path / "index") as retriever:
        docs = retriever.invoke("ferry timetable", k=2, group_by_document=1)
        assert [file for file, _ in places(docs)] == ["ferries.pdf", "apples.pdf"]
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
async def test_bad_arguments_say_what_is_wrong(retriever, argument, message):
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
def test_bad_fields_of_the_constructor_say_what_is_wrong(demo_index, fields, message):
    with pytest.raises(ValidationError, match=message):
        DocragRetriever(**{"index": demo_index, **fields})


def test_an_empty_query_is_refused(retriever):
    with pytest.raises(QueryError, match="empty"):
        retriever.invoke("  ")


class Seen(BaseCallbackHandler):
    """Keeps what tracing is told."""

    def __init__(self):
        self.events = []

    def on_retriever_start(self, serialized, query, *, metadata, tags, **kwargs):
        self.events.append(("start", query, metadata, tags))

    def on_retriever_end(self, docs, **kwargs):
        self.events.append(("end", len(docs)))

    def on_retriever_error(self, error, **kwargs):
        self.events.append(("error", type(error)))


def test_callbacks_and_tracing_hear_of_a_call(demo_index):
    seen = Seen()
    retriever = demo_index.as_retriever(k=2, tags=["pages"], metadata={"team": "papers"})
    retriever.invoke(CATERING.text, {"callbacks": [seen]}, mode="late")
    (start, query, metadata, tags), end = seen.events
    assert (start, query, end) == ("start", CATERING.text, ("end", 2))
    assert "pages" in tags
    assert metadata["team"] == "papers"
    assert (metadata["ls_retriever_name"], metadata["ls_vector_store_provider"]) == ("docrag", "qdrant")
    assert metadata["ls_embedding_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    retriever.invoke(CATERING.text, {"callbacks": [seen]}, mode="text")
    assert seen.events[2][2]["ls_embedding_model"] == "bm25"
    with pytest.raises(QueryError):
        retriever.invoke("", {"callbacks": [seen]})
    assert seen.events[-1] == ("error", QueryError)


async def test_async_callbacks_hear_too(retriever):
    seen = Seen()
    await retriever.ainvoke(CATERING.text, {"callbacks": [seen]})
    assert [event[0] for event in seen.events] == ["start", "end"]


async def test_it_is_a_runnable_like_any_other(demo_index, retriever):
    questions = [question.text for question in QUESTIONS]
    wanted = [places(retriever.invoke(text)) for text in questions]
    assert [places(docs) for docs in retriever.batch(questions)] == wanted
    assert [places(docs) for docs in await retriever.abatch(questions)] == wanted
    assert len(retriever.bind(k=1).invoke(CATERING.text)) == 1
    assert len(retriever.with_config(tags=["x"]).invoke(CATERING.text)) == 3
    both = await asyncio.gather(*(retriever.ainvoke(text, k=1) for text in questions))
    assert [places(docs) for docs in both] == [places[:1] for places in wanted]
    assert (retriever | RunnableLambda(len)).invoke(CATERING.text, k=1) == 1
    dumps(retriever)  # tracing writes what it can; an index is not among it
