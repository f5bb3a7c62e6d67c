"""What the tests of DocragVectorStore share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_docrag import DocragVectorStore

from docrag import Settings
from tests.store.fake_qdrant import FakeQdrant

FAKE = DeterministicFakeEmbedding(size=6)
Reopen = Callable[[], DocragVectorStore]


@pytest.fixture(params=["directory", "server"])
def reopen(request, tmp_path) -> Iterator[Reopen]:
    """Opens the same store each time; the server is qdrant-client's local mode behind Qdrant's routes."""
    if request.param == "directory":
        yield lambda: DocragVectorStore(tmp_path / "texts", FAKE)
        return
    with FakeQdrant() as server:
        settings = Settings(files=str(tmp_path / "files"))
        yield lambda: DocragVectorStore(server.uri, FAKE, settings=settings)


@pytest.fixture
def store(reopen) -> Iterator[DocragVectorStore]:
    with reopen() as opened:
        yield opened


def contents(store: DocragVectorStore, **arguments: object) -> list[str]:
    """The texts that a search finds, sorted."""
    return sorted(document.page_content for document in store.similarity_search("any", k=100, **arguments))
