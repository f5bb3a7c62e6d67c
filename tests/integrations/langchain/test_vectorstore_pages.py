"""DocragVectorStore with the pages of an index: it finds them by their captions and never changes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_docrag import DocragEmbeddings, DocragRetriever, DocragVectorStore

from docrag import Index, Settings
from docrag.errors import IndexMismatch, QueryError, StoreError
from tests.samples import APPLE, CLOCK, FERRY, write_pdf
from tests.store.fake_qdrant import FakeQdrant


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two documents with three pages in all."""
    folder = tmp_path_factory.mktemp("docs")
    write_pdf(folder / "ferry.pdf", FERRY, CLOCK)
    write_pdf(folder / "apple.pdf", APPLE)
    return folder


@pytest.fixture(scope="module")
def ingested(folder, tmp_path_factory) -> Path:
    """An index of the two documents, which nobody has open."""
    uri = tmp_path_factory.mktemp("index") / "index"
    with Index.open(uri, settings=Settings(workers=1)) as index:
        assert index.ingest(folder).pages == 3
    return uri


@pytest.fixture
def store(ingested) -> Iterator[DocragVectorStore]:
    with DocragVectorStore(ingested) as opened:
        yield opened


@pytest.mark.parametrize(
    ("question", "text"), [("boats to the islands", FERRY), ("pruning fruit trees", APPLE)]
)
def test_pages_are_found_with_the_model_of_the_index(store, question, text):
    [(best, score), *_] = store.similarity_search_with_score(question, k=3)
    assert text.split()[0] in best.page_content
    assert 0 < score < 1
    assert isinstance(store.embeddings, DocragEmbeddings)


def test_pages_are_the_same_documents_as_the_retrievers(ingested, store):
    pages = store.similarity_search("boats to the islands", k=3)
    assert len({page.id for page in pages}) == 3
    assert store.get_by_ids([page.id for page in pages]) == pages
    store.close()
    with DocragRetriever.from_index(ingested) as retriever:
        retrieved = {page.id: page for page in retriever.invoke("boats to the islands", k=3)}
    hit_keys = {"rank", "score", "scores", "regions"}
    for page in pages:
        document = retrieved[page.id]
        metadata = {key: value for key, value in document.metadata.items() if key not in hit_keys}
        assert page == Document(id=page.id, page_content=document.page_content, metadata=metadata)
        assert Path(page.metadata["image_path"]).is_file()


def test_filters_are_those_of_a_search(store):
    assert len(store.similarity_search("x", filter={"file_name": "ferry.pdf"})) == 2
    [second] = store.similarity_search("x", filter={"file_name": "ferry.pdf", "page": 2})
    assert second.metadata["page_label"] == "2"
    with pytest.raises(QueryError, match="page=0"):
        store.similarity_search("x", filter={"page": 0})


def test_marginal_relevance_and_score_threshold(store):
    pages = store.max_marginal_relevance_search("boats to the islands", k=2, fetch_k=3, lambda_mult=0.0)
    assert len({page.id for page in pages}) == 2
    retriever = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 1.0, "k": 3}
    )
    assert retriever.invoke("boats to the islands") == []


def test_unknown_ids_are_skipped(store):
    assert store.get_by_ids(["1", "../../etc/passwd", "6f3c1c0e-53a8-5d0b-9d0c-6c2f1c3a5e11"]) == []


async def test_pages_cannot_be_added_or_deleted(ingested, folder, store):
    [page, *_] = store.similarity_search("boats", k=3)
    message = r"index of pages, which a vector store only reads.*Index\.remove"
    for change in (lambda: store.add_texts(["x"]), lambda: store.delete([page.id]), store.delete):
        with pytest.raises(StoreError, match=message):
            change()
    with pytest.raises(StoreError, match=message):
        await store.aadd_documents([page])
    store.close()
    with Index.open(ingested, settings=Settings(workers=1)) as index:
        assert index.status().pages == 3
        assert {file.status for file in index.ingest(folder).files} == {"unchanged"}


def test_an_open_index_is_shared_and_stays_open(ingested):
    with Index.open(ingested) as index:
        with DocragVectorStore(index) as store:
            pages = store.similarity_search("boats to the islands", k=3)
            assert store.uri == str(ingested)
        assert [page.id for page in pages] == [
            page.id for page in DocragVectorStore(index).similarity_search("boats to the islands", k=3)
        ]
        with DocragVectorStore(ingested) as opened:
            assert opened.similarity_search("boats to the islands", k=3) == pages
        assert index.search("boats to the islands", k=1)[0].page_id == pages[0].id
    with pytest.raises(StoreError, match="closed"):
        store.similarity_search("boats")


def test_scores_are_those_of_a_cosine_search_of_the_index(ingested):
    question = "boats to the islands"
    with Index.open(ingested) as index:
        scored = DocragVectorStore(index).similarity_search_with_score(question, k=3)
        expected = {hit.page_id: hit.score for hit in index.search(question, k=3, mode="cosine")}
    assert {page.id: score for page, score in scored} == pytest.approx(expected, abs=1e-3)


def test_other_embeddings_are_refused(ingested):
    with pytest.raises(IndexMismatch, match=r"minilm.*DeterministicFakeEmbedding"):
        DocragVectorStore(ingested, DeterministicFakeEmbedding(size=384))
    with Index.open(ingested) as index:
        with pytest.raises(IndexMismatch, match=r"minilm.*DeterministicFakeEmbedding"):
            DocragVectorStore(index, DeterministicFakeEmbedding(size=384))
        assert DocragVectorStore(index, DocragEmbeddings()).similarity_search("boats", k=1)
    with DocragVectorStore(ingested, DocragEmbeddings()) as store:  # the refusal left it closed
        assert store.similarity_search("boats", k=1)


@pytest.mark.slow
def test_an_index_on_a_server(folder, ingested, tmp_path):
    question = "boats to the islands"
    with DocragVectorStore(ingested) as store:
        local = store.similarity_search_with_score(question, k=3)
    with FakeQdrant() as server:
        settings = Settings(index=server.uri, files=str(tmp_path / "files"), workers=1)
        with Index.open(settings=settings) as index:
            index.ingest(folder)
        with DocragVectorStore(server.uri, settings=settings) as store:
            remote = store.similarity_search_with_score(question, k=3)
            assert [page.id for page, _ in remote] == [page.id for page, _ in local]
            assert np.allclose([score for _, score in remote], [score for _, score in local], atol=1e-3)
            assert store.get_by_ids([remote[0][0].id]) == [remote[0][0]]
