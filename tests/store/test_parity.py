"""One suite for every store: the same pages, queries and filters give what float32 in numpy gives.

The stores: edge; the server's, over the client's local mode, over REST and over gRPC to servers on this
machine that keep the points in local mode; and, where DOCRAG_TEST_QDRANT_URL names one, a real server, by
REST and, where it answers, by gRPC (tests/store/engines.py).
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from docrag.errors import InvalidRecord, StoreError
from docrag.search import query as query_module
from docrag.search.filters import AllOf, AnyOf, Between, Filter, Is, Not, metadata_filter
from docrag.search.stages import Stages
from docrag.store.base import Store
from docrag.store.layout import KEYWORDS, Layout
from docrag.store.local import store as edge
from docrag.store.requests import FieldMatch, PayloadFilter, Prefetch, QueryRequest
from docrag.store.server import store as server
from docrag.types import MODES, PageRecord, ScoredId, SparseVector, Vector
from tests.store.engines import OPENERS
from tests.store.oracle import Oracle

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact", "ignore:Payload indexes have no")

Make = Callable[[int], PageRecord]
TOLERANCE = 1e-3
"""Of the best score."""


@pytest.fixture(scope="module", params=OPENERS)
def read_only(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    layout: Layout,
    records: list[PageRecord],
) -> Iterator[Store]:
    with OPENERS[request.param](tmp_path_factory.mktemp("index"), layout) as store:
        store.upsert(records)
        store.flush()
        yield store


@pytest.fixture(params=OPENERS)
def store(
    request: pytest.FixtureRequest, tmp_path: Path, layout: Layout, records: list[PageRecord]
) -> Iterator[Store]:
    with OPENERS[request.param](tmp_path, layout) as store:
        store.upsert(records)
        store.flush()
        yield store


@pytest.fixture(scope="module")
def oracle(records: list[PageRecord]) -> Oracle:
    return Oracle(records)


def query_vectors(seed: int, image: bool = True) -> dict[str, Vector]:
    rng = np.random.default_rng(1000 + seed)
    vectors: dict[str, Vector] = {
        "patches": rng.normal(size=(9, 16)).astype(np.float32) / 4,
        "caption": rng.normal(size=8).astype(np.float32),
        "bm25": SparseVector(tuple(int(t) for t in rng.choice(40, 5, replace=False)), (1.0,) * 5),
    }
    return vectors | ({"image": rng.normal(size=12).astype(np.float32)} if image else {})


FILTERS: dict[str, dict[str, str | int] | None] = {
    "all": None,
    "document": {"document_id": f"{3:064x}"},
    "source": {"source": "/copy/3.pdf"},
    "page": {"page": "3"},
    "file and page": {"file_name": "2.pdf", "page": 1},
    "number or text": {"total": "7"},
}


STAGES = {
    "wide": Stages(),
    "narrow": Stages({"pooled": 6, "bm25": 4, "caption": 3, "image": 3}),
    "sieved": Stages({"pooled": 5, "bm25": 3}, sieve=9),
}


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stages", STAGES)
def test_every_mode_and_filter_answers_as_numpy_does(
    read_only: Store,
    oracle: Oracle,
    mode: str,
    filter: str,
    stages: str,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(query_module, "DEPTH", 5)
    monkeypatch.setattr(Stages, "for_fusion", lambda stages: stages)
    for seed in range(3):
        vectors = query_vectors(seed, image=seed > 0)
        asked = query_module.plan_queries(mode, vectors, FILTERS[filter], k=3, stages=STAGES[stages])
        answers = read_only.query(list(asked.values()))
        for request, found in zip(asked.values(), answers, strict=True):
            assert_same(found, oracle.answer(request))


def test_a_prefetch_without_a_vector_gives_every_page(read_only: Store):
    """Where strict mode refuses to compare all pages without an index, a server is asked so."""
    vector = query_vectors(1)["patches"]
    plain = QueryRequest(vector, "patches", 5, exact=True)
    of_every_page = replace(plain, exact=False, prefetch=(Prefetch(None, "", 100),))
    in_file = PayloadFilter(must=(FieldMatch("metadata.file_name", ("2.pdf",)),))
    filtered = [replace(request, filter=in_file) for request in (plain, of_every_page)]
    expected, found, expected_in_file, found_in_file = read_only.query([plain, of_every_page, *filtered])
    assert_same(found, expected)
    assert_same(found_in_file, expected_in_file)
    assert len(found_in_file) == 5


@pytest.mark.parametrize("using", ["patches", "caption", "bm25"])
def test_an_offset_leaves_out_the_nearest_pages(read_only: Store, using: str):
    whole = QueryRequest(query_vectors(1)[using], using, 9, exact=True)
    pages, rest = read_only.query([whole, replace(whole, limit=5, offset=4)])
    assert_same(rest, pages[4:])


SELECTIONS = {
    "any of": ({"file_name": ["1.pdf", "3.pdf"]}, lambda m: m["file_name"] in ("1.pdf", "3.pdf")),
    "any source": (
        {"source": ["/copy/3.pdf", "/docs/2.pdf"]},
        lambda m: m["file_name"] in ("3.pdf", "2.pdf"),
    ),
    "any page": ({"page": [1, "4"]}, lambda m: m["page"] in (0, 3)),
    "text or number": (
        {"page": ["2"], "file_name": ["2.pdf", "17"]},
        lambda m: m["file_name"] == "2.pdf" and m["page"] == 1,
    ),
    "not": (Not(Is("file_name", ("2.pdf",))), lambda m: m["file_name"] != "2.pdf"),
    "not any": (Not(Is("page", (1, 2))), lambda m: m["page"] > 1),
    "from": (Between(key="page", gte=4), lambda m: m["page"] >= 3),
    "between": (Between(key="page", gt=1, lt=4), lambda m: 0 < m["page"] < 3),
    "either": (
        AnyOf(
            (Is("file_name", ("1.pdf",)), AllOf((Is("file_name", ("2.pdf",)), Between(key="page", lte=2))))
        ),
        lambda m: m["file_name"] == "1.pdf" or (m["file_name"] == "2.pdf" and m["page"] < 2),
    ),
    "not all": (
        Not(AllOf((Is("file_name", ("1.pdf",)), Between(key="page", lte=2)))),
        lambda m: not (m["file_name"] == "1.pdf" and m["page"] < 2),
    ),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_filter_selects_what_it_says(read_only: Store, records: list[PageRecord], name: str):
    wanted, holds = SELECTIONS[name]
    found = {record.id for record in read_only.scroll(metadata_filter(wanted), payload=["metadata.page"])}
    assert found == {record.id for record in records if holds(record.payload["metadata"])}
    assert 0 < len(found) < len(records)


def assert_same(found: list[ScoredId], expected: list[ScoredId]) -> None:
    assert [page.id for page in found] == [page.id for page in expected]
    best = max((abs(page.score) for page in expected), default=1.0)
    assert [page.score for page in found] == pytest.approx(
        [page.score for page in expected], abs=TOLERANCE * max(1.0, best)
    )


def field(key: str, value: str | int) -> PayloadFilter:
    return PayloadFilter(must=(FieldMatch(f"metadata.{key}", (value,)),))


DOCUMENT_3 = field("document_id", f"{3:064x}")


def test_several_requests_give_what_each_gives_alone(read_only: Store):
    requests = [
        request
        for mode in ("late", "cosine", "text")
        for request in query_module.plan_queries(mode, query_vectors(1), None).values()
    ]
    for request, found in zip(requests, read_only.query(requests), strict=True):
        assert_same(found, read_only.query([request])[0])
    assert read_only.query([]) == []


def test_retrieve_keeps_the_order_and_leaves_out_what_is_not_there(
    read_only: Store, records: list[PageRecord]
):
    ids = [records[n].id for n in (20, 3, 11)]
    found = read_only.retrieve([ids[0], str(uuid.uuid4()), *ids[1:]], vectors=["patches", "bm25"])
    assert [record.id for record in found] == ids
    for record, number in zip(found, (20, 3, 11), strict=True):
        assert record.payload == records[number].payload
        assert set(record.vectors) == {"patches", "bm25"}
        np.testing.assert_allclose(
            record.vectors["patches"], records[number].vectors["patches"], atol=TOLERANCE
        )
        was, now = records[number].vectors["bm25"], record.vectors["bm25"]
        assert dict(zip(now.indices, now.values, strict=True)) == pytest.approx(
            dict(zip(was.indices, was.values, strict=True))
        )
    assert read_only.retrieve([]) == []


def test_many_pages_are_read_with_their_vectors(
    read_only: Store, records: list[PageRecord], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "_RETRIEVE_SIZE", 4)
    ids = [record.id for record in records]
    assert [record.id for record in read_only.retrieve(ids, vectors=["caption"])] == ids


def test_payload_can_be_read_in_parts(read_only: Store, records: list[PageRecord]):
    [part] = read_only.retrieve([records[7].id], payload=["metadata.page", "image_url"])
    assert part.payload == {"metadata": {"page": 2}, "image_url": "http://localhost/7.jpg"}
    [nothing] = read_only.retrieve([records[7].id], payload=[])
    assert nothing.payload == {}


def test_scroll_and_count_agree(read_only: Store, records: list[PageRecord], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "_SCROLL_SIZE", 7)
    monkeypatch.setattr(edge, "_SCROLL_SIZE", 7)
    assert {record.id for record in read_only.scroll()} == {record.id for record in records}
    found = list(read_only.scroll(DOCUMENT_3, payload=["metadata.page"]))
    assert sorted(record.payload["metadata"]["page"] for record in found) == [0, 1, 2, 3, 4]
    assert (read_only.count(), read_only.count(DOCUMENT_3)) == (30, 5)


def test_writing_twice_replaces(store: Store, record: Make):
    changed = dataclasses.replace(record(3), payload={**record(3).payload, "page_content": "new ü"})
    store.upsert([changed, record(4)])
    store.flush()
    assert store.count() == 30
    assert store.retrieve([changed.id])[0].payload["page_content"] == "new ü"


def test_payload_is_set_inside_the_named_object(store: Store, record: Make):
    store.set_payload({"sources": ["/moved.pdf"], "source": "/moved.pdf"}, DOCUMENT_3, key="metadata")
    [found] = store.retrieve([record(15).id])
    moved = {"sources": ["/moved.pdf"], "source": "/moved.pdf"}
    assert found.payload == record(15).payload | {"metadata": record(15).payload["metadata"] | moved}
    assert store.count(field("sources", "/moved.pdf")) == 5
    assert store.count(field("source", "/docs/2.pdf")) == 5


def test_payloads_of_single_pages_are_set_in_few_requests(
    store: Store, records: list[PageRecord], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "_UPDATES_SIZE", 4)
    before = {found.id: found.payload for found in store.scroll()}
    urls = {
        record.id: {"image_url": f"http://here/{number}.jpg"} for number, record in enumerate(records[:9])
    }
    gone = "00000000-0000-5000-8000-000000000000"
    store.set_payloads({gone: {"image_url": "http://here/none.jpg"}, **urls})
    store.flush()
    assert {found.id: found.payload for found in store.scroll()} == {
        id: {**payload, **urls.get(id, {})} for id, payload in before.items()
    }
    store.set_payloads({})


def test_delete_and_facet(store: Store):
    store.delete(DOCUMENT_3)
    assert store.count() == 25
    assert store.facet("metadata.file_name") == {f"{n}.pdf": 5 for n in (0, 1, 2, 4, 5)}
    assert store.facet("metadata.sources")["/copy/1.pdf"] == 5
    store.delete(DOCUMENT_3)
    assert store.count() == 25


@pytest.mark.parametrize("key", KEYWORDS[:-1])  # the pages of these tests have no labels
def test_every_keyword_is_counted(read_only: Store, key: str):
    assert sum(read_only.facet(key).values()) >= 30


def test_missing_indexes_are_made_where_none_is_missing(store: Store):
    store.add_missing_indexes()
    store.add_missing_indexes()
    assert store.facet("metadata.words_from") == {"text-layer": 24, "ocr": 6}


@pytest.mark.parametrize(
    ("filter", "pages"),
    [
        ({"page_number": 3}, 6),
        ({"page": 3, "file_name": "3.pdf"}, 1),
        ({"words_from": "text-layer"}, 24),
        ({"words_from": "text layer"}, 24),
        ({"words_from": "ocr"}, 6),
        ({"total_pages": "5", "title": "Title 3"}, 5),
    ],
)
def test_filters_find_what_an_older_docrag_wrote(store: Store, record: Make, filter: Filter, pages: int):
    assert store.count(metadata_filter(filter)) == pages
    store.upsert([older(record(number)) for number in range(15, 20)])
    assert store.count(metadata_filter(filter)) == pages


def older(record: PageRecord) -> PageRecord:
    metadata = {key: value for key, value in record.payload["metadata"].items() if key != "page_number"}
    if metadata["words_from"] == "text-layer":
        metadata["words_from"] = "text layer"
    return dataclasses.replace(record, payload={**record.payload, "metadata": metadata})


def test_the_version_tells_of_every_write_or_is_not_known(store: Store, record: Make):
    """Another machine may change a collection on a server at any time, so nothing is known of that."""
    writes: list[Callable[[], object]] = [
        lambda: store.upsert([record(50)]),
        lambda: store.set_payload({"source": "/moved.pdf"}, DOCUMENT_3, key="metadata"),
        lambda: store.set_payloads({record(0).id: {"image_url": "http://here/0.jpg"}}),
        lambda: store.delete(DOCUMENT_3),
    ]
    versions = [store.version()]
    for write in writes:
        write()
        store.count()
        versions += [store.version(), store.version()]
    if isinstance(store, edge.EdgeStore):
        assert versions[1::2] == versions[2::2]
        assert len(set(versions)) == 1 + len(writes)
    else:
        assert set(versions) == {None}


def test_a_batch_with_one_bad_record_writes_nothing(store: Store, record: Make):
    bad = dataclasses.replace(record(41), vectors={**record(41).vectors, "caption": np.ones(3, np.float32)})
    with pytest.raises(InvalidRecord, match="caption"):
        store.upsert([record(40), bad, record(42)])
    assert store.count() == 30


def test_a_page_without_words_is_written_and_found_by_its_picture(store: Store, record: Make):
    page = record(50)
    wordless = {**page.vectors, "bm25": SparseVector((), ())}
    store.upsert([dataclasses.replace(page, vectors=wordless, payload=page.payload | {"page_content": ""})])
    [found] = store.retrieve([page.id], vectors=["bm25"])
    assert (found.payload["page_content"], found.vectors.get("bm25", SparseVector((), ()))) == (
        "",
        SparseVector((), ()),
    )
    asked = query_module.plan_queries("late", {"patches": page.vectors["patches"]}, None)
    assert store.query(list(asked.values()))[0][0].id == page.id


def test_nothing_at_all_can_be_written(store: Store):
    store.upsert([])
    store.optimize()
    assert store.count() == 30


def test_nothing_works_after_close_but_closing_again(store: Store, record: Make):
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        store.count,
        store.flush,
        store.optimize,
        lambda: store.upsert([record(0)]),
        lambda: store.query(list(query_module.plan_queries("text", query_vectors(0), None).values())),
        lambda: list(store.scroll()),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="closed"):
            call()


@pytest.mark.parametrize(
    ("vectors", "payload"),
    [((), ("metadata.page",)), (("patches",), None), (("caption", "bm25"), ()), ((), None)],
)
def test_a_query_brings_what_reading_its_pages_gives(
    read_only: Store, vectors: tuple[str, ...], payload: tuple[str, ...] | None
):
    asked = query_module.plan_queries("hybrid", query_vectors(1, image=True), None, k=3)
    plain = read_only.query(list(asked.values()))
    found = read_only.query(list(asked.values()), vectors=vectors, payload=payload)
    assert all(page.record is None for pages in plain for page in pages)
    for pages, expected_pages in zip(found, plain, strict=True):
        # The client's local mode adds in another order when it does the same again.
        assert {page.id: page.score for page in pages} == pytest.approx(
            {page.id: page.score for page in expected_pages}, rel=1e-5
        )
        read = read_only.retrieve([page.id for page in pages], vectors=vectors, payload=payload)
        for page, expected in zip(pages, read, strict=True):
            assert_same_record(page.record, expected)


def assert_same_record(found: PageRecord | None, expected: PageRecord) -> None:
    assert found is not None
    assert (found.id, found.payload, set(found.vectors)) == (
        expected.id,
        expected.payload,
        set(expected.vectors),
    )
    for name, vector in expected.vectors.items():
        if isinstance(vector, SparseVector):
            assert found.vectors[name] == vector
        else:
            np.testing.assert_array_equal(found.vectors[name], vector)
