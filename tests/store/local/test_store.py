"""The embedded engine against plain numpy, and against the client's local mode with the same requests."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from docrag.errors import IndexMismatch, IndexNotFound, InvalidRecord, StoreError
from docrag.store.layout import Layout
from docrag.store.local import engine
from docrag.store.local import store as edge
from docrag.store.local.store import EdgeStore
from docrag.store.requests import (
    FieldIsEmpty,
    FieldMatch,
    FieldRange,
    HasId,
    PayloadFilter,
    Prefetch,
    QueryRequest,
)
from docrag.store.server.translate import to_filter
from docrag.types import PageRecord, SparseVector
from tests.store.local_mode import to_model

Make = Callable[[int], PageRecord]


@pytest.fixture(scope="module")
def read_only(
    tmp_path_factory: pytest.TempPathFactory, layout: Layout, records: list[PageRecord]
) -> Iterator[EdgeStore]:
    with EdgeStore.create(tmp_path_factory.mktemp("index") / "shard", layout) as store:
        store.upsert(records)
        yield store


@pytest.fixture
def store(tmp_path: Path, layout: Layout, records: list[PageRecord]) -> Iterator[EdgeStore]:
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        store.upsert(records)
        yield store


@pytest.fixture(scope="module")
def local(layout: Layout, records: list[PageRecord]) -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    client.create_collection(
        "pages",
        vectors_config={
            spec.name: models.VectorParams(size=spec.dim, distance="Dot", multivector_config=multi)
            if spec.kind == "multi"
            else models.VectorParams(size=spec.dim, distance="Cosine")
            for spec in layout.vectors
            if spec.kind != "sparse"
        },
        sparse_vectors_config={"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    client.upsert("pages", [local_point(record) for record in records])
    yield client
    client.close()


def local_point(record: PageRecord) -> models.PointStruct:
    vectors = {
        name: models.SparseVector(indices=list(vector.indices), values=list(vector.values))
        if isinstance(vector, SparseVector)
        else vector.tolist()
        for name, vector in record.vectors.items()
    }
    return models.PointStruct(id=record.id, vector=vectors, payload=dict(record.payload))


def value(key: str, value: str | int) -> PayloadFilter:
    return PayloadFilter(must=(FieldMatch(key, (value,)),))


DOCUMENT_3 = value("metadata.document_id", f"{3:064x}")
RNG = np.random.default_rng(99)
ROWS = RNG.normal(size=(4, 16)).astype(np.float32)
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
DENSE = RNG.normal(size=8).astype(np.float32)
TERMS = SparseVector((1, 5, 9, 13), (1.0, 1.0, 1.0, 1.0))
PREFETCH = (Prefetch(ROWS, "pooled", 8), Prefetch(TERMS, "bm25", 5), Prefetch(DENSE, "caption", 5))

FILTERS = {
    "value": DOCUMENT_3,
    "list value": value("metadata.sources", "/copy/3.pdf"),
    "integer": value("metadata.page", 2),
    "any string": PayloadFilter(must=(FieldMatch("metadata.file_name", ("1.pdf", "4.pdf")),)),
    "any integer": PayloadFilter(must=(FieldMatch("metadata.page", (1, 3)),)),
    "any of both types": PayloadFilter(must=(FieldMatch("metadata.page", ("1", 2, "2", 4)),)),
    "range": PayloadFilter(must=(FieldRange("metadata.page", gte=1, lt=3),)),
    "open range": PayloadFilter(must=(FieldRange("metadata.page", gt=1.5),)),
    "must not": PayloadFilter(must_not=(FieldMatch("metadata.page", (2,)),)),
    "should": PayloadFilter(should=(value("metadata.page", 2), DOCUMENT_3)),
    "all three": PayloadFilter(
        must=(FieldRange("metadata.page", lte=3),),
        should=(DOCUMENT_3, value("metadata.page", 1)),
        must_not=(FieldMatch("metadata.page", (0,)),),
    ),
    "empty": PayloadFilter(must=(FieldIsEmpty("metadata.page"),)),
    "not empty": PayloadFilter(must_not=(FieldIsEmpty("metadata.page"),)),
    "all": PayloadFilter(),
}

REQUESTS = {
    "late": QueryRequest(ROWS, "patches", 30),
    "dense": QueryRequest(DENSE, "caption", 9),
    "sparse": QueryRequest(TERMS, "bm25", 30),
    "two stages": QueryRequest(ROWS, "patches", 6, prefetch=PREFETCH, exact=True, ignore_quantization=True),
    "one prefetch": QueryRequest(ROWS, "patches", 6, prefetch=PREFETCH[:1]),
    "prefetch within a prefetch": QueryRequest(
        ROWS, "patches", 6, prefetch=(Prefetch(ROWS, "pooled", 4, prefetch=PREFETCH[2:]),)
    ),
    "filtered prefetch": QueryRequest(
        ROWS, "patches", 6, prefetch=(Prefetch(DENSE, "caption", 3, DOCUMENT_3),)
    ),
    **{f"filter: {name}": QueryRequest(ROWS, "patches", 30, filter) for name, filter in FILTERS.items()},
}


@pytest.mark.filterwarnings("ignore:Local mode performs exact")
@pytest.mark.parametrize("name", REQUESTS)
def test_it_answers_as_the_client_does(read_only: EdgeStore, local: QdrantClient, name: str):
    [found] = read_only.query([REQUESTS[name]])
    [expected] = local.query_batch_points("pages", [to_model(REQUESTS[name])])
    assert len(found) == len(expected.points)
    assert {hit.id: hit.score for hit in found} == pytest.approx(
        {str(point.id): point.score for point in expected.points}, abs=5e-3
    )
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)


def test_maxsim_and_cosine_are_those_of_numpy(read_only: EdgeStore, records: list[PageRecord]):
    late, dense = read_only.query([REQUESTS["late"], QueryRequest(DENSE, "caption", 30)])
    maxsim = {r.id: float((ROWS @ r.vectors["patches"].T).max(axis=1).sum()) for r in records}
    unit = DENSE / np.linalg.norm(DENSE)
    cosine = {r.id: float(r.vectors["caption"] @ unit) for r in records}
    # float16 keeps 11 bits of each number
    assert {hit.id: hit.score for hit in late} == pytest.approx(maxsim, abs=2e-3)
    assert {hit.id: hit.score for hit in dense} == pytest.approx(cosine, abs=1e-5)
    assert late[0].id == max(maxsim, key=lambda id: maxsim[id])


@pytest.mark.parametrize("name", FILTERS)
def test_filters_count_scroll_and_has_id_agree(read_only: EdgeStore, local: QdrantClient, name: str):
    expected = local.count("pages", count_filter=to_filter(FILTERS[name])).count
    found = [record.id for record in read_only.scroll(FILTERS[name])]
    assert read_only.count(FILTERS[name]) == len(found) == len(set(found)) == expected
    assert read_only.count(PayloadFilter(must=(HasId(tuple(found)),))) == expected


def test_several_requests_give_what_each_gives_alone(read_only: EdgeStore):
    requests = list(REQUESTS.values())
    alone = [read_only.query([request])[0] for request in requests]
    for one, many in zip(alone, read_only.query(requests), strict=True):
        assert {hit.id: hit.score for hit in one} == pytest.approx({hit.id: hit.score for hit in many})


def test_records_come_back_in_the_order_asked(read_only: EdgeStore, records: list[PageRecord]):
    unknown = "00000000-0000-0000-0000-000000000000"
    wanted = [records[4], records[1], records[20]]
    found = read_only.retrieve(
        [wanted[0].id, unknown, wanted[1].id, wanted[2].id], vectors=["patches", "bm25"]
    )
    assert [record.id for record in found] == [record.id for record in wanted]
    for got, given in zip(found, wanted, strict=True):
        assert got.payload == given.payload
        assert set(got.vectors) == {"patches", "bm25"}
        np.testing.assert_allclose(got.vectors["patches"], given.vectors["patches"], atol=1e-3)
        assert dict(zip(got.vectors["bm25"].indices, got.vectors["bm25"].values, strict=True)) == (
            pytest.approx(dict(zip(given.vectors["bm25"].indices, given.vectors["bm25"].values, strict=True)))
        )


def test_only_the_payload_asked_for_is_read(read_only: EdgeStore, records: list[PageRecord]):
    [whole] = read_only.retrieve([records[0].id])
    [part] = read_only.retrieve([records[0].id], payload=["image_url"])
    [nothing] = read_only.retrieve([records[0].id], payload=[])
    assert (whole.payload, whole.vectors) == (records[0].payload, {})
    assert part.payload == {"image_url": "http://localhost/0.jpg"}
    assert nothing.payload == {}
    assert {tuple(record.payload) for record in read_only.scroll(payload=["metadata"])} == {("metadata",)}


def test_scroll_goes_on_past_one_screen(read_only: EdgeStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(edge, "_SCROLL_SIZE", 7)
    assert len({record.id for record in read_only.scroll()}) == 30


def test_writing_twice_replaces(store: EdgeStore, record: Make):
    changed = dataclasses.replace(record(3), payload={**record(3).payload, "page_content": "new"})
    store.upsert([changed])
    assert store.count() == 30
    assert store.retrieve([changed.id])[0].payload["page_content"] == "new"


def test_payload_is_set_inside_the_named_object(store: EdgeStore, record: Make):
    store.set_payload({"sources": ["/moved.pdf"]}, DOCUMENT_3, key="metadata")
    [found] = store.retrieve([record(15).id])
    assert found.payload["metadata"] == record(15).payload["metadata"] | {"sources": ["/moved.pdf"]}
    assert store.count(value("metadata.sources", "/moved.pdf")) == 5


def test_delete_and_facet(store: EdgeStore):
    store.delete(DOCUMENT_3)
    assert store.count() == 25
    assert store.facet("metadata.file_name") == {f"{n}.pdf": 5 for n in (0, 1, 2, 4, 5)}
    assert store.facet("metadata.sources")["/copy/1.pdf"] == 5


def test_a_facet_of_a_field_without_index_is_an_error(read_only: EdgeStore):
    with pytest.raises(StoreError, match="index"):
        read_only.facet("metadata.caption")


def test_a_query_that_does_not_fit_is_an_error_in_the_engines_words(read_only: EdgeStore):
    with pytest.raises(StoreError, match="expected dim: 16, got 2"):
        read_only.query([QueryRequest(np.ones((1, 2), np.float32), "patches", 10)])


def test_a_batch_with_one_bad_record_writes_nothing(store: EdgeStore, record: Make):
    bad = dataclasses.replace(record(41), vectors={**record(41).vectors, "caption": np.ones(3, np.float32)})
    with pytest.raises(InvalidRecord):
        store.upsert([record(40), bad, record(42)])
    assert store.count() == 30


def test_what_was_written_is_there_after_closing(tmp_path: Path, layout: Layout, records: list[PageRecord]):
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        store.upsert(records)
        before = store.query(list(REQUESTS.values()))
    with EdgeStore.open(tmp_path / "shard", layout) as store:
        assert store.count() == 30
        again = store.query(list(REQUESTS.values()))
    assert [{hit.id for hit in hits} for hits in before] == [{hit.id for hit in hits} for hits in again]


def test_the_version_is_another_one_in_every_store_that_is_opened(tmp_path: Path, layout: Layout):
    """Another process may have changed the records in between."""
    EdgeStore.create(tmp_path / "shard", layout).close()
    versions = []
    for _ in range(2):
        with EdgeStore.open(tmp_path / "shard", layout) as store:
            versions.append(store.version())
    assert versions[0] != versions[1]


def test_optimize_gives_back_the_space_of_removed_pages(tmp_path: Path, layout: Layout, record: Make):
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        store.optimize()
        store.upsert([record(n) for n in range(300)])
        store.delete(PayloadFilter(must_not=(value("metadata.page", 2),)))
        before = store.query([REQUESTS["late"]])
        segments = {path.name for path in (tmp_path / "shard" / "segments").iterdir()}
        store.optimize()
        assert segments.isdisjoint(path.name for path in (tmp_path / "shard" / "segments").iterdir())
        assert store.count() == 60
        assert store.query([REQUESTS["late"]]) == before
        store.upsert([record(0)])
        assert store.count() == 61


def test_it_is_opened_anew_after_much_was_written(
    store: EdgeStore, record: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(edge, "RENEW_BYTES", 1000)
    stop, failures = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            if len(store.query([REQUESTS["two stages"]])[0]) != 6:
                failures.append("short answer")

    readers = [threading.Thread(target=ask) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(30, 36):
        store.upsert([record(number)])
        store.flush()
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert store.count() == 36


def test_nothing_works_after_close_but_closing_again(store: EdgeStore, record: Make):
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        store.count,
        store.flush,
        store.optimize,
        lambda: store.upsert([record(0)]),
        lambda: store.query([REQUESTS["late"]]),
        lambda: list(store.scroll()),
    ]
    for call in calls:
        with pytest.raises(StoreError, match="closed"):
            call()


def test_there_must_be_an_index_to_open(tmp_path: Path, layout: Layout):
    with pytest.raises(IndexNotFound):
        EdgeStore.open(tmp_path / "none", layout)
    (tmp_path / "empty").mkdir()
    with pytest.raises(IndexNotFound):
        EdgeStore.open(tmp_path / "empty", layout)
    assert list((tmp_path / "empty").iterdir()) == []


def test_another_layout_is_a_mismatch(tmp_path: Path, layout: Layout):
    EdgeStore.create(tmp_path / "shard", layout).close()
    for other in (
        Layout.for_dims(late=None, image=12, text=8),
        Layout.for_dims(late=16, image=12, text=9),
    ):
        with pytest.raises(IndexMismatch, match="other vectors"):
            EdgeStore.open(tmp_path / "shard", other)


def test_an_index_of_an_older_docrag_gets_the_indexes_that_it_lacks(
    tmp_path: Path,
    layout: Layout,
    records: list[PageRecord],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    with monkeypatch.context() as older:
        kept = {key: engine.PAYLOAD_INDEXES[key] for key in ("metadata.source", "metadata.page")}
        older.setattr(engine, "PAYLOAD_INDEXES", kept)
        with EdgeStore.create(tmp_path / "shard", layout) as store:
            store.upsert(records)
            with pytest.raises(StoreError):
                store.facet("metadata.words_from")
    with EdgeStore.open(tmp_path / "shard", layout) as store, caplog.at_level("INFO"):
        store.add_missing_indexes()
        assert store.facet("metadata.words_from") == {"text-layer": 24, "ocr": 6}
        assert "made payload indexes" in caplog.text
    with EdgeStore.open(tmp_path / "shard", layout) as store:
        caplog.clear()
        store.add_missing_indexes()
        assert caplog.text == ""
        assert sum(store.facet("metadata.title").values()) == 30


def test_create_keeps_what_is_there(tmp_path: Path, layout: Layout):
    (tmp_path / "file").write_text("mine")
    EdgeStore.create(tmp_path / "shard", layout).close()
    for path in (tmp_path, tmp_path / "file", tmp_path / "shard"):
        with pytest.raises(StoreError, match="exists already"):
            EdgeStore.create(path, layout)


def test_create_makes_a_half_made_index_again(tmp_path: Path, layout: Layout):
    temporary = tmp_path / ".shard.draft"
    (temporary / "segments").mkdir(parents=True)
    (temporary / "segments" / "half").write_text("made")
    with EdgeStore.create(tmp_path / "shard", layout) as store:
        assert store.count() == 0
    assert not temporary.exists()


def test_a_folder_that_was_removed_takes_nothing(tmp_path: Path, layout: Layout, records: list[PageRecord]):
    with EdgeStore.create(tmp_path / "index" / "shard", layout) as store:
        (tmp_path / "index").rename(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match="was removed"):
            store.upsert(records)
        (tmp_path / "elsewhere").rename(tmp_path / "index")


def test_threads_that_optimize_at_once_do_not_disturb_each_other(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch
):
    entered = threading.Event()
    leave = threading.Event()
    runs: list[int] = []

    def optimize(_: EdgeStore) -> None:
        runs.append(threading.get_ident())
        entered.set()
        assert leave.wait(20)

    monkeypatch.setattr(EdgeStore, "_optimize", optimize)
    first = threading.Thread(target=store.optimize)
    first.start()
    assert entered.wait(20)
    store.optimize()  # returns at once
    leave.set()
    first.join()
    assert runs == [first.ident]
    store.optimize()
    assert len(runs) == 2
