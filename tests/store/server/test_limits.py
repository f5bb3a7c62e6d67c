"""The limits of a collection in strict mode, as clouds set them: requests fit, without a setting."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from qdrant_client import models

from docrag.errors import InvalidRecord, ServerRefused
from docrag.store.layout import Fingerprint, Layout
from docrag.store.requests import FieldMatch, HasId, PayloadFilter, Prefetch, QueryRequest
from docrag.store.server.address import Address
from docrag.store.server.connection import connect
from docrag.store.server.shared import SharedStore
from docrag.store.server.store import ServerStore
from docrag.types import PageRecord, SparseVector
from tests.store.fake_grpc import FakeGrpc
from tests.store.fake_qdrant import FakeQdrant
from tests.store.strict_mode import Rules

FINGERPRINT = Fingerprint({"layout": 1, "text": {}})
CLOUD = {
    "unindexed_filtering_retrieve": False,
    "unindexed_filtering_update": False,
    "max_payload_index_count": 100,
}
"""What Qdrant Cloud documents as its defaults."""
Limit = Callable[..., None]


@pytest.fixture(params=["rest", "grpc"])
def opened(request: pytest.FixtureRequest, layout: Layout) -> Iterator[tuple[ServerStore, Rules]]:
    """An empty index on a stand-in, and the rules of the stand-in."""
    with FakeQdrant() as fake, FakeGrpc(fake.db, rules=fake.rules) as service:
        port = service.port if request.param == "grpc" else None
        connection = connect(Address.parse(fake.uri), grpc_port=port, prefer_grpc=port is not None)
        with ServerStore.create(connection, layout, FINGERPRINT) as store:
            yield SharedStore.of(store, "this"), fake.rules


@pytest.fixture
def store(opened: tuple[ServerStore, Rules]) -> ServerStore:
    return opened[0]


@pytest.fixture
def limit(opened: tuple[ServerStore, Rules]) -> Limit:
    """Puts the collection in strict mode."""

    def set_limits(**settings: object) -> None:
        opened[1].strict = models.StrictModeConfig(enabled=True, **settings)

    return set_limits


@pytest.fixture
def filled(store: ServerStore, records: list[PageRecord]) -> ServerStore:
    store.upsert(records)
    return store


def late(record: PageRecord, k: int = 5) -> QueryRequest:
    """The stages of a search by late interaction."""
    patches = record.vectors["patches"]
    return QueryRequest(
        patches,
        "patches",
        k,
        prefetch=(
            Prefetch(patches, "pooled", 20, prefetch=(Prefetch(patches[:2], "pooled", 25),)),
            Prefetch(record.vectors["caption"], "caption", 10),
            Prefetch(record.vectors["bm25"], "bm25", 10),
        ),
    )


def signals(record: PageRecord, k: int = 5) -> list[QueryRequest]:
    """The queries of a hybrid search."""
    cosine = QueryRequest(record.vectors["caption"], "caption", k)
    return [late(record, k), cosine, QueryRequest(record.vectors["bm25"], "bm25", k)]


def ids(store: ServerStore, requests: list[QueryRequest]) -> list[list[str]]:
    return [[page.id for page in ranking] for ranking in store.query(requests)]


def test_the_defaults_of_a_cloud_change_nothing(filled: ServerStore, limit: Limit, records: list[PageRecord]):
    expected = ids(filled, signals(records[3]))
    limit(**CLOUD)
    filled.upsert(records[:3])
    in_file = PayloadFilter(must=(FieldMatch("metadata.file_name", ("0.pdf",)),))
    assert ids(filled, signals(records[3])) == expected
    assert filled.count(in_file) == 5
    assert sum(filled.facet("metadata.document_id").values()) == len(records)
    filled.set_payload({"title": "A"}, in_file, key="metadata")
    filled.delete(in_file)
    assert filled.count() == len(records) - 5


@pytest.mark.parametrize("change", [False, True])
def test_a_field_without_an_index_is_named_with_what_to_do(filled: ServerStore, limit: Limit, change: bool):
    limit(**CLOUD)
    by_customer = PayloadFilter(must=(FieldMatch("metadata.customer", ("a",)),))
    request = partial(filled.set_payload, {"x": 1}) if change else filled.count
    with pytest.raises(ServerRefused, match="Index required but not found") as caught:
        request(by_customer)
    assert "strict mode, which refuses a filter on customer without an index" in caught.value.hint
    assert "docrag ingest" in caught.value.hint
    assert "too old" not in caught.value.hint


def test_a_facet_over_more_values_than_may_be_asked_for(filled: ServerStore, limit: Limit):
    expected = filled.facet("metadata.document_id")
    sources = filled.facet("metadata.sources")
    for most in (100, 6, 3):
        limit(max_query_limit=most)
        assert filled.facet("metadata.document_id") == expected
        assert filled.facet("metadata.sources") == sources
    assert len(expected) == 6


def test_pages_are_scrolled_and_counted_in_steps(
    filled: ServerStore, limit: Limit, records: list[PageRecord]
):
    limit(max_query_limit=7, search_allow_exact=False)
    found = Counter(record.id for record in filled.scroll())
    assert found == Counter(record.id for record in records)
    assert filled.count() == len(records)
    assert filled.count(PayloadFilter(must=(FieldMatch("metadata.file_name", ("0.pdf",)),))) == 5
    assert sum(filled.facet("metadata.document_id").values()) == len(records)


def test_a_query_for_more_pages_than_are_given_at_once(
    filled: ServerStore, limit: Limit, records: list[PageRecord]
):
    queries = [request for request in signals(records[3], k=23) if not request.prefetch]
    expected = ids(filled, queries)
    limit(max_query_limit=5)
    assert ids(filled, queries) == expected
    assert len(expected[0]) == 23
    found = ids(filled, signals(records[3], k=8))
    assert found[0][0] == records[3].id
    assert len(found[0]) >= 5


@pytest.mark.parametrize("most", [1, 2])
def test_searches_are_sent_in_smaller_batches(
    filled: ServerStore, limit: Limit, records: list[PageRecord], most: int
):
    expected = ids(filled, signals(records[3]))
    limit(search_max_batchsize=most)
    assert ids(filled, signals(records[3])) == expected


def test_pages_are_written_in_smaller_batches(store: ServerStore, limit: Limit, records: list[PageRecord]):
    limit(upsert_max_batchsize=4)
    store.upsert(records)
    assert {record.id for record in store.scroll()} == {record.id for record in records}


def test_where_no_page_may_be_compared_without_an_index(
    filled: ServerStore, limit: Limit, records: list[PageRecord]
):
    every_page = QueryRequest(records[3].vectors["patches"], "patches", 30, exact=True)
    exact = ids(filled, [every_page])
    others = ids(filled, signals(records[3])[1:])
    limit(search_allow_exact=False)
    assert ids(filled, [every_page]) == exact
    assert ids(filled, signals(records[3], k=30)) == [exact[0], *ids(filled, signals(records[3], k=30)[1:])]
    assert ids(filled, signals(records[3])[1:]) == others


def test_in_a_large_collection_the_indexed_vectors_propose(
    filled: ServerStore, limit: Limit, records: list[PageRecord]
):
    limit(search_allow_exact=False, max_query_limit=20)  # fewer than the 30 pages of the collection
    [found] = ids(filled, [late(records[3], k=20)])
    proposals = [replace(request, limit=10) for request in signals(records[3])[1:]]
    assert set(found) == {id for ranking in ids(filled, proposals) for id in ranking}
    assert found[0] == records[3].id
    every_page = QueryRequest(records[3].vectors["patches"], "patches", 5)
    with pytest.raises(ServerRefused, match="global vector indexing is disabled") as caught:
        filled.query([every_page])
    assert "search_allow_exact" in caught.value.hint
    assert "--mode text" in caught.value.hint


def test_a_filter_with_many_values_is_split(filled: ServerStore, limit: Limit, records: list[PageRecord]):
    chosen = tuple(record.id for record in records[:10])
    names = tuple(f"{number}.pdf" for number in range(4))
    in_files = PayloadFilter(must=(FieldMatch("metadata.file_name", names),))
    not_in_files = PayloadFilter(must_not=(FieldMatch("metadata.file_name", names),))
    limit(condition_max_size=3)
    assert filled.count(in_files) == 20
    assert filled.count(not_in_files) == 10
    [found] = filled.query([replace(signals(records[3], 30)[1], filter=in_files)])
    assert len(found) == 20
    filled.set_payload({"seen": "yes"}, PayloadFilter(must=(HasId(chosen),)))
    filled.delete(PayloadFilter(must=(HasId(chosen),)))
    assert filled.count() == 20
    limit(condition_max_size=3, filter_max_conditions=2)
    with pytest.raises(ServerRefused, match="Filter condition limit") as caught:
        filled.count(PayloadFilter(must=(HasId(chosen),)))
    assert "filter_max_conditions" in caught.value.hint


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("kind", ["multi", "sparse"])
def test_a_page_over_the_limit_of_a_vector_is_named(
    store: ServerStore, limit: Limit, records: list[PageRecord], kind: str, known: bool
):
    large = records[4].vectors | {
        "patches": np.tile(records[4].vectors["patches"], (3, 1)),
        "bm25": SparseVector(tuple(range(50)), (1.0,) * 50),
    }
    batch = [*records[:4], replace(records[4], vectors=large), *records[5:8]]
    settings = {
        "multi": {"multivector_config": {"patches": models.StrictModeMultivector(max_vectors=12)}},
        "sparse": {"sparse_config": {"bm25": models.StrictModeSparse(max_length=20)}},
    }[kind]
    limit(**settings)
    for _ in range(1 + known):  # it is refused by the server first, then before it is sent
        with pytest.raises(InvalidRecord) as caught:
            store.upsert(batch)
        assert re.match(
            r"page 5 of /docs/0.pdf: (patches has \d+ vectors|bm25 has 50 terms)", caught.value.message
        )
        assert "in the strict mode of the collection" in caught.value.hint
    store.upsert([record for record in batch if record.id != records[4].id])
    assert store.count() == 7


def test_a_page_over_a_limit_is_named_once_other_limits_are_known(
    store: ServerStore, limit: Limit, records: list[PageRecord]
):
    """The first batch is refused because of its size; the large page comes with the second one."""
    store._uploader.max_bytes = sum(store.connection.wire.pack(record).size for record in records[:4]) + 1
    large = records[6].vectors | {"patches": np.tile(records[6].vectors["patches"], (3, 1))}
    batch = [*records[:6], replace(records[6], vectors=large)]
    limit(
        upsert_max_batchsize=3,
        multivector_config={"patches": models.StrictModeMultivector(max_vectors=12)},
    )
    with pytest.raises(InvalidRecord, match=r"page 2 of /docs/1\.pdf: patches has"):
        store.upsert(batch)


def test_a_full_collection_says_so(filled: ServerStore, limit: Limit, records: list[PageRecord]):
    limit(max_points_count=30)
    with pytest.raises(ServerRefused, match="Max points count limit of 30 reached") as caught:
        filled.upsert(records)
    assert "allows 30 pages (max_points_count)" in caught.value.hint


@pytest.mark.parametrize("most", [3, 6])
def test_the_payload_indexes_that_docrag_needs_come_first(layout: Layout, most: int):
    with FakeQdrant() as fake:
        fake.rules.strict = models.StrictModeConfig(enabled=True, max_payload_index_count=most)
        connection = connect(Address.parse(fake.uri))
        if most < 4:
            with pytest.raises(ServerRefused, match="maximum number of payload indices") as caught:
                ServerStore.create(connection, layout, FINGERPRINT)
            assert "max_payload_index_count" in caught.value.hint
        else:
            assert ServerStore.create(connection, layout, FINGERPRINT).count() == 0
            assert len(fake.rules.indexed) == most
            assert {"metadata.document_id", "metadata.sources", "held_by"} < fake.rules.indexed.keys()
        connection.close()


def test_limits_that_are_tightened_meanwhile_are_read_again(
    filled: ServerStore, limit: Limit, records: list[PageRecord]
):
    for most in (20, 10, 5):
        limit(upsert_max_batchsize=most, max_query_limit=most)
        filled.upsert(records)
        assert len(list(filled.scroll())) == len(records)


def test_a_refusal_that_no_limit_explains_is_told(filled: ServerStore, limit: Limit):
    with pytest.raises(ServerRefused, match="400"):
        filled.query([QueryRequest(np.ones(3, np.float32), "nothing", 5)])
