"""The requests of docs/qdrant-dashboard.md: Qdrant's OpenAPI describes them, and they find what is promised.

The dashboard itself makes requests of what is typed into its tabs. They are made here as the web UI 0.2.13
makes them: src/components/VisualizeChart/requestData.js, src/lib/graph-visualization-helpers.js and
src/components/Points/PointsFilter/helpers.js in its repository.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

from docrag import Index
from docrag.encode.models.bm25 import Bm25Encoder
from docrag.index.opening import layout_of
from docrag.store.layout import INTEGERS, KEYWORDS, Fingerprint
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.schema import TEXT
from docrag.store.server.store import ServerStore
from docrag.types import Hit
from tests.docs.pages import DOCS, Block, blocks_of
from tests.store.fake_qdrant import FakeQdrant
from tests.store.openapi import fault_of
from tests.store.qdrant_openapi import VERSIONS

PAGE = DOCS / "qdrant-dashboard.md"
CATERING = "skerry_lines_annual_report_2023.pdf"
VISUALIZE_KEYS = {"limit", "filter", "using", "color_by", "algorithm"}
GRAPH_KEYS = {"limit", "filter", "using", "sample", "tree"}
"""What the two tabs read of a request."""


@dataclass(frozen=True)
class Request:
    """A request to the server."""

    method: str
    path: str
    body: Any = None

    def fault(self, version: str) -> str:
        """What a version of Qdrant would not understand of it; empty where all is well."""
        content = json.dumps(self.body).encode() if self.body is not None else b""
        return fault_of(version, self.method, self.path, {}, content)

    def run(self, db: QdrantClient) -> Any:
        """What local mode answers."""
        name, _, action = self.path.removeprefix("/collections/").partition("/")
        kind, do = ACTIONS[action]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # local mode says that it is no server
            return do(db, name, TypeAdapter(kind).validate_python(self.body)) if kind else do(db, name)


def query(db: QdrantClient, name: str, body: models.QueryRequest) -> list[models.ScoredPoint]:
    """A query, with the terms of a text in place of the text: the server embeds it, local mode cannot."""
    vector = body.query
    if isinstance(vector, models.Document):
        assert vector.model == "qdrant/bm25"
        [terms] = Bm25Encoder().encode_queries([vector.text])
        vector = models.SparseVector(indices=list(terms.indices), values=list(terms.values))
    answer = db.query_points(
        name,
        vector,
        body.using,
        body.prefetch,
        body.filter,
        limit=body.limit,
        with_payload=body.with_payload,
        with_vectors=body.with_vector or False,
    )
    return answer.points


def scroll(db: QdrantClient, name: str, body: models.ScrollRequest) -> list[models.Record]:
    return db.scroll(
        name,
        body.filter,
        limit=body.limit,
        with_payload=body.with_payload,
        with_vectors=body.with_vector or False,
    )[0]


def pairs(db: QdrantClient, name: str, body: models.SearchMatrixRequest) -> list[models.SearchMatrixPair]:
    return db.search_matrix_pairs(name, body.filter, body.limit, body.sample, body.using).pairs


def facet(db: QdrantClient, name: str, body: models.FacetRequest) -> dict[str, int]:
    hits = db.facet(name, body.key, limit=body.limit or 10, exact=bool(body.exact)).hits
    return {str(hit.value): hit.count for hit in hits}


ACTIONS: dict[str, tuple[Any, Callable[..., Any]]] = {
    "": (None, lambda db, name: db.get_collection(name)),
    "points/query": (models.QueryRequest, query),
    "points/scroll": (models.ScrollRequest, scroll),
    "points/search/matrix/pairs": (models.SearchMatrixRequest, pairs),
    "points/count": (models.CountRequest, lambda db, name, body: db.count(name, body.filter).count),
    "facet": (models.FacetRequest, facet),
}


def section_of(block: Block) -> str:
    """The heading of the second level under which a block stands."""
    before = "\n".join(PAGE.read_text().splitlines()[: block.line])
    return re.findall(r"^## (.*)$", before, re.MULTILINE)[-1]


def heading_of(block: Block) -> str:
    """The nearest heading above a block."""
    before = "\n".join(PAGE.read_text().splitlines()[: block.line])
    return re.findall(r"^##+ (.*)$", before, re.MULTILINE)[-1]


def blocks(language: str, section: str) -> list[Block]:
    return [block for block in blocks_of(PAGE) if block.language == language and section_of(block) == section]


def console_request(block: Block) -> Request:
    """A request as the Console reads it: method and address in the first line, then a body."""
    head, _, body = block.text.partition("\n")
    method, path = head.split(" ")
    return Request(method, f"/{path}", json.loads(body) if body.strip() else None)


def visualize_request(options: dict[str, Any]) -> Request:
    """What the tab Visualize asks for: a scroll, or a query where colours follow one."""
    common = {
        "limit": options["limit"],
        "filter": options.get("filter"),
        "with_vector": [options["using"]],
        "with_payload": True,
    }
    colours = options.get("color_by") or {}
    if "query" in colours:
        body = {"query": colours["query"], **common, "using": options["using"]}
        return Request("POST", "/collections/reports/points/query", body)
    return Request("POST", "/collections/reports/points/scroll", common)


def graph_request(options: dict[str, Any]) -> Request:
    """What the tab Graph asks for first; `tree` is drawn by the browser."""
    body = {key: value for key, value in options.items() if key != "tree"}
    return Request("POST", "/collections/reports/points/search/matrix/pairs", body)


def filter_request(text: str) -> Request:
    """What the filter box asks for: values end at a blank, and their type is that of the field's index."""
    conditions = []
    for token in text.split():
        key, _, value = token.partition(":")
        assert key in INDEXED, f"the filter box suggests {key} only if it is indexed"
        match = {"text": value} if key == TEXT else {"value": int(value) if key in INTEGERS else value}
        conditions.append({"key": key, "match": match})
    body = {"filter": {"must": conditions}, "limit": 10, "with_payload": True, "with_vector": True}
    return Request("POST", "/collections/reports/points/scroll", body)


INDEXED = {*KEYWORDS, *INTEGERS, TEXT}
CONSOLE = blocks("http", "Console")
VISUALIZE = [json.loads(block.text) for block in blocks("json", "Visualize")]
GRAPH = [json.loads(block.text) for block in blocks("json", "Graph")]
FILTERS = blocks("text", "Pages and their pictures")[0].text.splitlines()
REQUESTS = [
    *map(console_request, CONSOLE),
    *map(visualize_request, VISUALIZE),
    *map(graph_request, GRAPH),
    *map(filter_request, FILTERS),
]


@pytest.fixture(scope="module")
def collection(demo_index: Index) -> Iterator[QdrantClient]:
    """The demo's documents in a collection as docrag makes it, in local mode."""
    fingerprint = Fingerprint(demo_index.fingerprint | {"layout": 1, "datatype": "float16"})
    layout = layout_of(fingerprint)
    stored = demo_index._storage.store
    ids = [record.id for record in stored.scroll(payload=[])]
    with FakeQdrant() as server:
        connection = connect(Address.parse(server.uri))
        with ServerStore.create(connection, layout, fingerprint) as store:
            store.upsert(stored.retrieve(ids, vectors=sorted(layout.names)))
        yield server.db


def pages(points: list[Any]) -> list[str]:
    return [str(point.id) for point in points]


def console(heading: str) -> list[Request]:
    return [console_request(block) for block in CONSOLE if heading_of(block) == heading]


def page_id_of(index: Index, file_name: str, page: int) -> str:
    hit: Hit
    [hit] = index.search("catering", k=1, filter={"file_name": file_name, "page": page})
    return hit.page_id


def test_the_page_has_requests_of_every_kind():
    assert (len(CONSOLE), len(VISUALIZE), len(GRAPH), len(FILTERS)) == (8, 3, 1, 3)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("request_of_page", REQUESTS, ids=str)
def test_qdrant_understands_every_request(request_of_page: Request, version: str):
    assert request_of_page.fault(version) == ""


def test_the_check_finds_what_qdrant_would_not_understand():
    [request] = console("Search the text")
    for change in ({"novelty": 1}, {"limit": "5"}, {"query": {"text": "catering"}}, {"using": 3}):
        assert Request(request.method, request.path, {**request.body, **change}).fault(VERSIONS[-1])


def test_the_tabs_know_every_key_and_are_never_without_a_vector_that_they_can_draw():
    for known, requests in ((VISUALIZE_KEYS, VISUALIZE), (GRAPH_KEYS, GRAPH)):
        for options in requests:
            assert set(options) <= known
            assert options["using"] == "caption"
            assert options["limit"] <= 500


def test_every_field_that_is_filtered_or_counted_is_indexed():
    for request in REQUESTS:
        body = request.body or {}
        conditions = (body.get("filter") or {}).get("must", [])
        keys = {condition["key"] for condition in conditions} | ({body["key"]} if "key" in body else set())
        assert keys <= INDEXED


def test_text_search_finds_the_pages_of_docrags_text_mode(collection: QdrantClient, demo_index: Index):
    [request] = console("Search the text")
    found = request.run(collection)
    expected = demo_index.search(request.body["query"]["text"], k=5, mode="text")
    assert {point.id: point.score for point in found} == pytest.approx(
        {hit.page_id: hit.score for hit in expected}, rel=1e-3
    )
    assert found[0].payload["page_of"] == f"{CATERING}, page 3 of 5"
    assert found[0].payload["image_url"].endswith(".jpg?card=1")


def test_a_page_is_found_by_file_and_number(collection: QdrantClient, demo_index: Index):
    [request] = console("Get a page by file and number")
    [page] = request.run(collection)
    assert page.id == page_id_of(demo_index, CATERING, 3)
    assert page.payload["metadata"]["page"] == 2


def test_similar_pages_are_found_by_caption_and_in_two_stages(collection: QdrantClient, demo_index: Index):
    page = page_id_of(demo_index, CATERING, 3)
    for request in console("Find similar pages"):
        assert request.body["query"] == page
        found = request.run(collection)
        assert page not in pages(found)
        assert len(found) == 10
        assert found[0].payload["page_of"]


def test_pages_are_counted(collection: QdrantClient, demo_index: Index):
    by_file, by_words, holding_a_word = (request.run(collection) for request in console("Count pages"))
    expected = {Path(document.file).name: document.pages for document in demo_index.documents()}
    assert by_file == expected
    assert sum(by_words.values()) == sum(expected.values())
    assert set(by_words) <= {"text-layer", "ocr", "none"}
    texts = [page.text.lower() for page in demo_index.pages(list(map(str, all_ids(collection))))]
    assert holding_a_word == sum("catering" in re.findall(r"\w+", text) for text in texts) > 0


def all_ids(db: QdrantClient) -> list[Any]:
    return [record.id for record in db.scroll("reports", limit=1000)[0]]


def test_the_collection_says_what_it_was_built_with(collection: QdrantClient):
    [request] = console("What the collection was built with")
    metadata = request.run(collection).config.metadata
    assert metadata["docrag"]["fingerprint"]["text"]["dim"] == 384


def test_a_chart_has_a_dot_for_every_page_with_what_its_colour_follows(collection: QdrantClient):
    by_file, by_likeness, by_words = VISUALIZE
    dots = visualize_request(by_file).run(collection)
    files = set(by_file["filter"]["must"][0]["match"]["any"])
    assert {dot.payload["metadata"]["file_name"] for dot in dots} == files
    for options in (by_likeness, by_words):
        dots = visualize_request(options).run(collection)
        assert len(dots) >= len(all_ids(collection)) - 1  # a query leaves out the page that it is made of
        assert all(len(dot.vector["caption"]) == 384 for dot in dots)
    field = by_words["color_by"]["payload"].partition(".")[2]
    assert {dot.payload["metadata"][field] for dot in dots} <= {"text-layer", "ocr", "none"}


def test_a_graph_has_links(collection: QdrantClient):
    [options] = GRAPH
    links = graph_request(options).run(collection)
    assert len(links) > len(all_ids(collection))
    assert all(link.a != link.b for link in links)


def test_the_filter_box_finds_pages(collection: QdrantClient):
    one_page, by_word, by_words_from = (filter_request(text).run(collection) for text in FILTERS)
    assert [point.payload["page_of"] for point in one_page] == [f"{CATERING}, page 3 of 5"]
    assert by_word
    assert {point.payload["metadata"]["file_name"] for point in by_words_from} == {"scan_20240212.pdf"}
