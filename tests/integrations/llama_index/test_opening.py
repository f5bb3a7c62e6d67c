"""LlamaIndex retrievers that open an index themselves, and close it again."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from llama_index_docrag import DocragRetriever

from docrag import Index
from docrag.errors import DocumentError, IndexNotFound, NotFound, QueryError
from tests.integrations.llama_index.helpers import files_and_pages
from tests.processes import is_held
from tests.samples import APPLE, FERRY, write_pdf


@pytest.mark.slow
def test_a_folder_is_ingested_and_its_index_opened_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    docs = tmp_path / "docs"
    write_pdf(docs / "ferry.pdf", FERRY)
    write_pdf(docs / "apple.pdf", APPLE)
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 no")
    with (
        caplog.at_level(logging.INFO, "llama_index_docrag"),
        pytest.warns(UserWarning, match=r"broken\.pdf"),
    ):
        retriever = DocragRetriever.from_folder(docs, index=tmp_path / "index", k=1)
    assert f"the index is up to date with {docs}" in caplog.messages
    with retriever:
        assert files_and_pages(retriever.retrieve("When does the ferry leave?")) == [("ferry.pdf", 1)]
        with DocragRetriever.from_index(tmp_path / "index", k=1) as second:
            assert files_and_pages(second.retrieve("storing apples")) == [("apple.pdf", 1)]
        assert files_and_pages(retriever.retrieve("storing apples")) == [("apple.pdf", 1)]
    with DocragRetriever.from_index(tmp_path / "index", k=1) as retriever:
        assert files_and_pages(retriever.retrieve("storing apples")) == [("apple.pdf", 1)]


def test_an_index_that_was_passed_in_stays_open(demo_index: Index):
    with DocragRetriever(demo_index, k=1) as retriever:
        assert len(retriever.retrieve("ferry")) == 1
    assert len(retriever.retrieve("ferry")) == 1


def test_a_failure_to_open_leaves_nothing_open(tmp_path: Path):
    with pytest.raises(IndexNotFound):
        DocragRetriever.from_index(tmp_path / "none")
    with pytest.raises(NotFound):
        DocragRetriever.from_folder(tmp_path / "none", index=tmp_path / "index")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DocumentError, match=str(tmp_path / "empty")):
        DocragRetriever.from_folder(tmp_path / "empty", index=tmp_path / "index")
    assert not is_held(tmp_path / "index")
    with pytest.raises(QueryError):
        DocragRetriever.from_index(tmp_path / "index", k=0)
    assert not is_held(tmp_path / "index")
