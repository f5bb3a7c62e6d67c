"""Fixtures of the tests of haystack_docrag."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # before haystack is imported

from haystack_docrag import DocragRetriever

from docrag import Index
from docrag.demo import documents
from tests.samples import make_image


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of an index of the demo documents and a photograph; nobody has it open."""
    root = tmp_path_factory.mktemp("haystack")
    make_image(1).save(root / "photo.png")
    with Index.open(root / "index") as opened:
        assert not opened.ingest([documents(), root / "photo.png"]).failures
    return str(root / "index")


@pytest.fixture
def retriever(index: str) -> Iterator[DocragRetriever]:
    retriever = DocragRetriever(index, top_k=3)
    yield retriever
    retriever.close()
