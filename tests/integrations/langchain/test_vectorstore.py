"""DocragVectorStore with texts: the suite of langchain-tests on both engines, and what it does not test."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores import VectorStore
from langchain_docrag import DocragVectorStore
from langchain_docrag.similarity import marginal_relevance
from langchain_docrag.vectorstore import relevance
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from docrag.errors import IndexMismatch, InvalidRecord, QueryError, SettingsError
from tests.integrations.langchain import vectorstores
from tests.integrations.langchain.vectorstores import FAKE, contents

reopen, store = vectorstores.reopen, vectorstores.store

INVALID_METADATA = [
    ({"when": object()}, "when: object is not JSON"),
    ({"x": {"y": float("nan")}}, r"x\.y: nan is not JSON"),
    ({"x": {1: "one"}}, "x: the key 1 is not a string"),
    ({"x": 2**63}, "more than 64 bits"),
    ({"x": "\ud83d"}, "is not Unicode"),
]
UNUSUAL_IDS = ["1", "", " ", "a/b#c?", "Ünïcødé 🚢", "x" * 10_000, "6f3c1c0e-53a8-5d0b-9d0c-6c2f1c3a5e11"]
UNUSUAL_METADATA = {
    "nested": {"list": [1, {"deep": [None, True, 1.5]}], "empty": {}, "none": None},
    "Schlüssel mit Leerzeichen": "größer ✓",
    "a.b": -0.0,
    "": "an empty key",
    "page": "iv",
    "source": 7,
    "whole": 2**63 - 1,
    "small": -(2**63),
    "exact": 0.1,
}


class TestStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, store) -> VectorStore:
        return store


def test_ids_are_returned_as_they_were_given(store):
    assert store.add_texts(UNUSUAL_IDS, ids=UNUSUAL_IDS) == UNUSUAL_IDS
    assert [found.id for found in store.get_by_ids(UNUSUAL_IDS)] == UNUSUAL_IDS
    assert {found.id for found in store.similarity_search("x", k=10)} == set(UNUSUAL_IDS)
    assert store.delete([""])
    assert [found.id for found in store.get_by_ids(UNUSUAL_IDS)] == [id for id in UNUSUAL_IDS if id]


def test_metadata_is_returned_as_it_was_given(store):
    document = Document(id="a", page_content="text\n\twith 🚢", metadata=UNUSUAL_METADATA)
    store.add_documents([document])
    [found] = store.get_by_ids(["a"])
    assert found == document
    assert json.dumps(found.metadata, sort_keys=True) == json.dumps(UNUSUAL_METADATA, sort_keys=True)
    assert store.similarity_search("text", k=1) == [document]


def test_documents_are_kept_when_the_store_is_closed(reopen):
    with reopen() as store:
        store.add_texts(["foo", "bar"], [{"n": 1}, {"n": 2}], ids=["1", "2"])
        before = store.similarity_search_with_score("bar", k=2)
    with reopen() as store:
        after = store.similarity_search_with_score("bar", k=2)
        assert [document for document, _ in after] == [document for document, _ in before]
        assert [score for _, score in after] == pytest.approx([score for _, score in before], abs=1e-6)
        store.delete(["2"])
    with reopen() as store:
        assert contents(store) == ["foo"]


def test_scores_are_cosines_in_descending_order(store):
    store.add_texts(["foo", "bar", "baz"])
    query = np.array(FAKE.embed_query("baz"))
    results = store.similarity_search_with_score("baz", k=3)
    for document, score in results:
        vector = np.array(FAKE.embed_query(document.page_content))
        assert score == pytest.approx(
            vector @ query / np.linalg.norm(vector) / np.linalg.norm(query), abs=1e-5
        )
    scores = [score for _, score in results]
    assert scores == sorted(scores, reverse=True)
    assert store.similarity_search_by_vector(list(query), k=1)[0].page_content == "baz"


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"kind": "a"}, ["0", "2"]),
        ({"kind": ["a", "b"]}, ["0", "1", "2"]),
        ({"kind": "a", "n": 2}, ["2"]),
        ({"n": 1.0}, ["1"]),
        ({"n": 2}, ["2"]),
        ({"n": [0, 1]}, ["0", "1"]),
        ({"open": True}, ["0"]),
        ({"open": False}, ["1"]),
        ({"open": [True, False]}, ["0", "1"]),
        ({"by": {"name of": "Ada"}}, ["1"]),
        ({"by": {"sure": True}}, ["1"]),
        ({"tags": "x"}, ["0", "2"]),
        ({"big": 2**60 + 1}, ["2"]),
        ({"none": None, "kind": "a"}, ["0", "2"]),
        ({"page": "iv"}, ["2"]),
        ({"page": 3}, ["1"]),
        ({"kind": "c"}, []),
        ({"": "empty"}, ["0"]),
        ({}, ["0", "1", "2"]),
        (None, ["0", "1", "2"]),
    ],
)
def test_a_filter_selects_equal_metadata(store, filter, expected):
    store.add_texts(
        ["0", "1", "2"],
        [
            {"kind": "a", "n": 0, "open": True, "tags": ["x", "y"], "": "empty"},
            {"kind": "b", "n": 1, "open": False, "by": {"name of": "Ada", "sure": True}, "page": 3},
            {"kind": "a", "n": 2.0, "tags": ["x"], "big": 2**60 + 1, "page": "iv", "none": None},
        ],
    )
    assert contents(store, filter=filter) == expected


@pytest.mark.parametrize("filter", [{"n": []}, {"n": {}}, {"n": object()}, {'"': 1}, {"n": float("nan")}])
def test_an_invalid_filter_is_refused(store, filter):
    store.add_texts(["0"], [{"n": 1}])
    with pytest.raises(QueryError, match="filter"):
        store.similarity_search("x", filter=filter)


def test_of_texts_with_the_same_id_the_last_one_is_kept(store):
    assert store.add_texts(["old", "new"], ids=["1", "1"]) == ["1", "1"]
    assert contents(store) == ["new"]


def test_delete_without_ids_removes_all_and_with_an_empty_list_nothing(store):
    assert store.delete(["1"])
    assert store.delete()
    store.add_texts(["foo", "bar"])
    store.delete([])
    assert contents(store) == ["bar", "foo"]
    store.delete()
    assert contents(store) == []
    store.add_texts(["baz"])
    assert contents(store) == ["baz"]


async def test_coroutines_return_the_same(store):
    ids = await store.aadd_documents(
        [Document(page_content="foo", metadata={"n": 1}), Document(page_content="bar")]
    )
    [(found, score)] = await store.asimilarity_search_with_score("foo", k=1, filter={"n": 1})
    assert (found.id, score) == (ids[0], pytest.approx(1, abs=1e-5))
    assert await store.amax_marginal_relevance_search("foo", k=1) == [found]
    assert await store.asimilarity_search("foo", k=1) == [found]
    assert await store.aadd_texts([]) == []
    await store.adelete([found.id])
    assert await store.aget_by_ids(ids) == await store.asimilarity_search("foo", k=5)
    assert len(await store.aget_by_ids(ids)) == 1


@pytest.mark.parametrize(
    ("search_type", "options"),
    [
        ("similarity", {"k": 2}),
        ("mmr", {"k": 2, "fetch_k": 3}),
        ("similarity_score_threshold", {"k": 2, "score_threshold": 0.0}),
    ],
)
async def test_a_retriever_of_the_store_takes_filters_and_every_type_of_search(store, search_type, options):
    store.add_texts(["foo", "bar", "baz", "qux"], [{"n": n % 2} for n in range(4)], ids=list("0123"))
    retriever = store.as_retriever(search_type=search_type, search_kwargs={**options, "filter": {"n": 0}})
    found = retriever.invoke("baz")
    assert [document.id for document in found] == ["2", "0"]
    assert await retriever.ainvoke("baz") == found


def test_a_score_threshold_is_a_relevance_from_0_to_1(store):
    store.add_texts(["foo", "bar", "baz"])
    scored = store.similarity_search_with_score("foo", k=3)
    relevant = store.similarity_search_with_relevance_scores("foo", k=3)
    assert [score for _, score in relevant] == [relevance(score) for _, score in scored]
    [(best, _)] = store.similarity_search_with_relevance_scores("foo", k=3, score_threshold=0.99)
    assert best.page_content == "foo"


def test_marginal_relevance_avoids_rows_that_are_alike():
    query = np.array([1, 0, 0], np.float32)
    rows = np.array([[0.9, 0.1, 0], [0.9, 0.11, 0], [0.5, 0, 0.8], [0, 0, 0]], np.float32)
    assert marginal_relevance(query, rows, 2, 1.0) == [0, 1]
    assert marginal_relevance(query, rows[:3], 2, 0.3) == [0, 2]
    assert sorted(marginal_relevance(query, rows, 9, 0.5)) == [0, 1, 2, 3]


def test_langchains_indexing_keeps_the_store_up_to_date(store):
    records = InMemoryRecordManager("notes")
    records.create_schema()
    documents = [Document(page_content=text, metadata={"source": f"{text}.md"}) for text in ("foo", "bar")]
    options = {"record_manager": records, "vector_store": store, "cleanup": "full", "key_encoder": "sha256"}
    assert index(documents, **options)["num_added"] == 2
    changed = [documents[0], Document(page_content="baz", metadata={"source": "bar.md"})]
    assert index(changed, **options) == {"num_added": 1, "num_updated": 0, "num_skipped": 1, "num_deleted": 1}
    assert contents(store) == ["baz", "foo"]


@pytest.mark.parametrize(("metadata", "reason"), INVALID_METADATA)
def test_metadata_that_cannot_be_stored_is_refused_and_nothing_is_written(store, metadata, reason):
    with pytest.raises(InvalidRecord, match=f"metadata of 'b'.*{reason}"):
        store.add_texts(["foo", "bar"], [{}, metadata], ids=["a", "b"])
    assert contents(store) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": ["a", "b"], "ids": ["1"]}, "2 texts and 1 ids"),
        ({"texts": ["a"], "metadatas": []}, "1 texts and 0 metadatas"),
        ({"texts": "abc"}, "'abc' is a single string"),
        ({"texts": ["a"], "ids": "1"}, "'1' is a single string"),
        ({"texts": ["a"], "ids": [1]}, "1 is not a string"),
        ({"texts": ["a"], "ids": ["\ud83d"]}, "not Unicode"),
        ({"texts": ["a"], "batch": 3}, "no argument batch"),
    ],
)
def test_invalid_arguments_of_add_texts_are_refused(store, arguments, message):
    with pytest.raises(SettingsError, match=message):
        store.add_texts(**arguments)
    assert contents(store) == []


def test_invalid_arguments_of_a_search_are_refused(store):
    store.add_texts(["foo"])
    for search in (store.similarity_search, store.max_marginal_relevance_search):
        with pytest.raises(QueryError, match="k = 0"):
            search("foo", k=0)
    with pytest.raises(QueryError, match="lambda_mult = 2"):
        store.max_marginal_relevance_search("foo", lambda_mult=2)
    with pytest.raises(SettingsError, match="no argument score_threshold"):
        store.similarity_search("foo", score_threshold=0.5)
    with pytest.raises(SettingsError, match="'1' is a single string"):
        store.delete("1")


class UnreliableEmbeddings(Embeddings):
    """Gives vectors whose lengths and values a test can change."""

    def __init__(self) -> None:
        self.lengths: Iterator[int] = itertools.repeat(6)
        self.number = 1.0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[self.number] * next(self.lengths) for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def test_vectors_of_another_length_are_refused():
    embedding = UnreliableEmbeddings()
    with DocragVectorStore(embedding=embedding) as store:
        store.add_texts(["foo"])
        embedding.lengths = itertools.repeat(7)
        with pytest.raises(IndexMismatch, match="holds vectors of 6 numbers, the embeddings gave 7"):
            store.add_texts(["bar"])
        with pytest.raises(IndexMismatch, match="holds vectors of 6 numbers, the query's has 7"):
            store.similarity_search("foo")
        embedding.lengths = itertools.cycle([6, 7])
        with pytest.raises(InvalidRecord, match="2 vectors of 6 and 7 numbers for 2 texts"):
            store.add_texts(["bar", "baz"])
        embedding.lengths, embedding.number = itertools.repeat(6), float("nan")
        with pytest.raises(InvalidRecord, match=r"the vector of 'b'.*NaN"):
            store.add_texts(["bar"], ids=["b"])
        embedding.number = 1.0
        assert contents(store) == ["foo"]
