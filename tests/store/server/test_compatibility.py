"""What others read of a docrag collection: langchain-qdrant, and the dashboard of Qdrant.

The points are those that an ingest made, carried by an export into the collection that docrag makes on a
server (here the client's local mode).
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from qdrant_client import QdrantClient, models

from docrag import Index, Settings
from docrag.encode.models.bm25 import Bm25Encoder
from docrag.encode.registry import text_encoder
from docrag.index.opening import layout_of
from docrag.operations.transfer import export_index
from docrag.store.archive import Archive
from docrag.store.layout import KEYWORDS, Fingerprint, Layout
from docrag.store.server.schema import DEFAULTS, payload_indexes
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord
from tests.samples import APPLE, CLOCK, FERRY, make_image, write_pdf
from tests.store.local_mode import local_connection

QUESTION = "When does the ferry leave?"
PICTURE = re.compile(r"\.(jpg|jpeg|png|webp|gif|svg)$")
"""What the dashboard's PointImage takes for a picture, of the path of an address (qdrant-web-ui 0.2.13)."""
BOTHERSOME = re.compile(r"[.\[\]]")
"""What lodash's `get`, by which the dashboard finds a vector, takes for a path (VisualizeChart/worker.js)."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Three documents, one of them a picture without words."""
    folder = tmp_path_factory.mktemp("documents")
    write_pdf(folder / "ferry.pdf", FERRY, "Page two: fares for cars, bicycles and foot passengers.")
    write_pdf(folder / "apple.pdf", APPLE, CLOCK)
    make_image(1).save(folder / "picture.png")
    settings = Settings(workers=1, ocr=False, image_base_url="http://localhost:8000/")
    where = tmp_path_factory.mktemp("index")
    with Index.open(where / "index", settings=settings) as opened:
        assert not opened.ingest(folder).failures
    export_index(str(where / "index"), where / "export")
    with Index.open(where / "index", settings=settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def archive(index: Index) -> Archive:
    return Archive(Path(index.status().uri).with_name("export"))


@pytest.fixture(scope="module")
def layout(archive: Archive) -> Layout:
    return layout_of(Fingerprint(archive.contents().fingerprint))


@pytest.fixture(scope="module")
def records(archive: Archive) -> list[PageRecord]:
    """The points, as they are stored."""
    parts = archive.contents().parts
    return [page.record for number, part in enumerate(parts) for page in archive.read_part(number, part)]


@pytest.fixture(scope="module")
def client(archive: Archive, layout: Layout, records: list[PageRecord]) -> Iterator[QdrantClient]:
    """A server that holds the collection "pages"."""
    connection = local_connection("pages")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # local mode says that it is no server
        store = ServerStore.create(connection, layout, Fingerprint(archive.contents().fingerprint))
        store.upsert(records)
    yield connection.client
    connection.client.close()


class Captions(Embeddings):
    """The encoder of captions, as LangChain calls one."""

    def __init__(self) -> None:
        self._encoder = text_encoder("minilm")

    def embed_query(self, text: str) -> list[float]:
        return self._encoder.encode_queries([text])[0].tolist()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._encoder.encode_passages(texts).tolist()


@pytest.fixture(scope="module")
def langchain(client: QdrantClient) -> Any:
    """The vector store, with all its own checks."""
    found = pytest.importorskip("langchain_qdrant", reason="langchain-qdrant is not installed")
    return found.QdrantVectorStore(client, "pages", Captions(), vector_name="caption")


def test_langchain_finds_what_docrag_finds(langchain: Any, index: Index):
    found = langchain.similarity_search_with_score(QUESTION, k=5)
    wanted = index.search(QUESTION, k=5, mode="cosine")
    assert [document.metadata["_id"] for document, _ in found] == [hit.page_id for hit in wanted]
    np.testing.assert_allclose([score for _, score in found], [hit.score for hit in wanted], atol=1e-3)
    for (document, _), hit in zip(found, wanted, strict=True):
        assert document.page_content == hit.text
        own = {key: value for key, value in document.metadata.items() if not key.startswith("_")}
        assert own == hit.metadata


def test_langchain_reads_pages_without_words(langchain: Any):
    documents = langchain.similarity_search("picture", k=5)
    assert len(documents) == 5
    assert all(isinstance(document.page_content, str) for document in documents)


def test_langchain_filters_by_metadata(langchain: Any):
    wanted = models.FieldCondition(key="metadata.file_name", match=models.MatchValue(value="apple.pdf"))
    documents = langchain.similarity_search(QUESTION, k=5, filter=models.Filter(must=[wanted]))
    assert {document.metadata["page_label"] for document in documents} == {"1", "2"}


def test_langchain_retrieves_and_reads_by_id(langchain: Any):
    [document] = langchain.as_retriever(search_kwargs={"k": 1}).invoke(QUESTION)
    assert (Path(document.metadata["source"]).name, document.metadata["page"]) == ("ferry.pdf", 0)
    assert langchain.get_by_ids([document.metadata["_id"]])[0].page_content == document.page_content


def test_langchain_searches_caption_and_terms_together(client: QdrantClient):
    found = pytest.importorskip("langchain_qdrant", reason="langchain-qdrant is not installed")
    terms = Bm25Encoder()

    class Terms(found.SparseEmbeddings):
        """The terms of a text, as langchain-qdrant asks for them."""

        def embed_query(self, text: str) -> Any:
            [vector] = terms.encode_queries([text])
            return found.sparse_embeddings.SparseVector(
                indices=list(vector.indices), values=list(vector.values)
            )

        def embed_documents(self, texts: list[str]) -> Any:
            return [self.embed_query(text) for text in texts]

    hybrid = found.QdrantVectorStore(
        client,
        "pages",
        Captions(),
        vector_name="caption",
        sparse_embedding=Terms(),
        sparse_vector_name="bm25",
        retrieval_mode=found.RetrievalMode.HYBRID,
    )
    assert "Clock repair" in hybrid.similarity_search("escapement wheel", k=1)[0].page_content


def test_the_dashboard_shows_the_picture_of_a_page(records: list[PageRecord]):
    for record in records:
        pictures = [value for value in record.payload.values() if is_picture(value)]
        metadata = record.payload["metadata"]
        assert pictures == [record.payload["image_url"]]
        page = f"{metadata['document_id']}/{metadata['page'] + 1}.jpg"
        assert pictures == [f"http://localhost:8000/pages/index/{page}?card=1"]


def is_picture(value: object) -> bool:
    """The dashboard's rule: a string at the top of the payload, an address, with the ending of a picture."""
    if not isinstance(value, str):
        return False
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and bool(parts.netloc) and bool(PICTURE.search(parts.path))


LAYOUTS = [(128, None), (128, 512), (None, 512), (None, None)]


@pytest.mark.parametrize(("late", "image"), LAYOUTS)
def test_the_dashboard_finds_vectors_by_their_names_and_can_draw_one(late: int | None, image: int | None):
    layout = Layout.for_dims(late=late, image=image, text=384)
    assert not [name for name in layout.names if BOTHERSOME.search(name)]
    assert "caption" in {spec.name for spec in layout.vectors if spec.kind == "dense"}


def test_every_point_has_all_dense_vectors(client: QdrantClient, layout: Layout, records: list[PageRecord]):
    dense = [spec.name for spec in layout.vectors if spec.kind == "dense"]
    assert dense
    points, _ = client.scroll("pages", limit=100, with_vectors=dense)
    assert len(points) == len(records) == 5
    for point in points:
        assert all(np.any(point.vector[name]) for name in dense)


def test_the_payload_is_readable(records: list[PageRecord]):
    for record in records:
        assert [*record.payload] == ["image_url", "page_of", "metadata", "page_content", "layout"]
        assert [*record.payload["metadata"]][:5] == [
            "file_name",
            "page_number",
            "title",
            "caption",
            "words_from",
        ]
        for key in ("title", "caption", "page_label", "source", "file_name"):
            assert isinstance(record.payload["metadata"][key], str)
        assert record.payload["metadata"]["caption"] or "picture" in record.payload["metadata"]["file_name"]
        text = json.dumps(record.payload)
        assert len(text) < 16_000
        assert "/9j/" not in text  # the beginning of a JPEG in base64


COLOURS = ["metadata.source", "metadata.file_name", "metadata.title", "metadata.words_from"]


@pytest.mark.parametrize("path", COLOURS)
def test_points_can_be_coloured_by(records: list[PageRecord], path: str):
    for record in records:
        assert isinstance(reduce(lambda found, key: found[key], path.split("."), record.payload), str)


def test_the_filter_box_can_complete_values(index: Index, archive: Archive):
    indexed = dict(payload_indexes(DEFAULTS))
    for key in KEYWORDS:
        assert indexed[key] == models.PayloadSchemaType.KEYWORD
    names = index._storage.store.facet("metadata.file_name")
    assert names == {"ferry.pdf": 2, "apple.pdf": 2, "picture.png": 1}
